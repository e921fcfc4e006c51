"""What the views in the browser ask of a diff, and the answers, ready for JSON.

The same questions come over the kernel's comm from a widget and, one day, over REST from a panel. An answer never holds
a weight: names, numbers, and figures as plotly describes them. What was measured once stays measured.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from theta_jupyter.diffs.grid import places
from theta_jupyter.diffs.report import ESTIMATED
from theta_jupyter.results import finite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.diffs.report import Diff, FileDiff

__all__ = ["DiffView"]


class DiffView:
    """A diff that is being looked at.

    Questions may come on any thread, one while another is answered: with JupyterLab 4.6 and ipykernel 7, messages of a
    comm arrive beside the cell that runs.
    """

    def __init__(self, diff: Diff) -> None:
        self._diff = diff
        self._lock = threading.Lock()
        self._places = {file.path: places(tensor.name for tensor in file.tensors) for file in diff.files}
        self.questions: Mapping[str, Callable[..., Any]] = {
            "diff": self.overview,
            "file": self.file,
            "figures": self.figures,
            "measure": self.measure,
            "tensor": self.tensor,
        }

    @property
    def diff(self) -> Diff:
        """As it is known now: tensors that somebody looked at are measured."""
        return self._diff

    def overview(self) -> dict[str, Any]:
        """Which files differ."""
        diff = self._diff
        return {
            "old": diff.old,
            "new": diff.new,
            "subject": diff.subject,
            "files": [_info(file) for file in diff.files],
        }

    def file(self, path: str) -> dict[str, Any]:
        """Everything about a file: its tensors, its figures."""
        file = self._diff.file(path)
        tensors = [self._row(file, tensor) for tensor in file.tensors]
        return {**self.figures(path), "tensors": tensors}

    def figures(self, path: str) -> dict[str, Any]:
        """Summary and figures of a file, with what has been measured by now."""
        file = self._diff.file(path)
        return {**_info(file), "heatmap": file.spec("heatmap"), "norms": file.spec("norms")}

    def measure(self, path: str, names: list[str]) -> dict[str, Any]:
        """Measure these tensors."""
        measured = self._diff.exact(names, path).file(path)
        wanted = set(names)
        self._keep(path, {tensor.name: tensor for tensor in measured.tensors if tensor.name in wanted})
        file = self._diff.file(path)
        return {"tensors": [self._row(file, tensor) for tensor in file.tensors if tensor.name in wanted]}

    def tensor(self, path: str, name: str) -> dict[str, Any]:
        """Look at one tensor closely."""
        detail = self._diff.detail(name, path)
        self._keep(path, {name: detail.tensor})
        return {
            "tensor": self._row(self._diff.file(path), detail.tensor),
            "facts": detail.findings(),
            "figures": [{"title": title, "figure": finite(spec)} for title, spec in detail.specs()],
        }

    def _keep(self, path: str, measured: Mapping[str, TensorDiff]) -> None:
        """Take over what was measured; the reading before it was done without the lock."""
        with self._lock:
            self._diff = self._diff.taking(path, measured)

    def _row(self, file: FileDiff, tensor: TensorDiff) -> dict[str, Any]:
        row, column = self._places[file.path][tensor.name]
        built = finite(msgspec.to_builtins(tensor))
        return {**built, "relative": finite(tensor.relative), "row": row, "column": column}


def _info(file: FileDiff) -> dict[str, Any]:
    return {
        "path": file.path,
        "status": file.status,
        "old": file.old,
        "new": file.new,
        "opaque": file.opaque,
        "facts": file.facts(),
        # The others are for a page of text: a table has all tensors, and a button that measures.
        "notes": [*file.remarks, *([ESTIMATED] if any(tensor.estimated for tensor in file.tensors) else [])],
    }
