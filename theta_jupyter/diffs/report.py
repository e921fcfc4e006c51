"""A diff as a result: the same story in a terminal, in a notebook and for a script."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from theta_jupyter.diffs import figures
from theta_jupyter.diffs.compare import TensorDiff, overall
from theta_jupyter.diffs.grid import Grid, fold
from theta_jupyter.diffs.shades import shaded
from theta_jupyter.errors import RequestError
from theta_jupyter.results import Result, Table, count_text, plain, relative_text, short, size_text
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.detail import Detail
    from theta_jupyter.diffs.pair import Pair

__all__ = ["Diff", "FileDiff", "Kind", "schema"]

Kind = Literal["heatmap", "norms"]
"""Change by block and kind; tensors by the size of their change."""

TOP = 10
"""Tensors listed; the rest is counted."""
ESTIMATED = "~ is estimated from the manifests, without reading a weight"
_KINDS = {"A": "added", "M": "changed", "D": "removed", "R": "renamed", "S": "reshaped", "T": "recast"}


@dataclass(frozen=True)
class FileDiff(Result):
    """One checkpoint in two versions.

    Parameters
    ----------
    path
        From the top of the repository.
    status
        A added, M changed, D deleted, or empty.
    old, new
        What was compared: refs, ``index``, ``work tree``.
    tensors
        Every tensor of either version.
    stored
        Bytes of the objects that the new version needs and the old one does not.
    size
        Bytes of the new file.
    opaque
        Whether the file is kept whole, because no plug-in understood it.
    remarks
        What else to know of this comparison; a sentence each.
    """

    path: str
    status: str
    old: str
    new: str
    tensors: tuple[TensorDiff, ...]
    stored: int = 0
    size: int = 0
    opaque: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[TensorDiff, ...]:
        """Tensors that are not the same, the most changed first."""
        return tuple(sorted((diff for diff in self.tensors if diff.status), key=_rank))

    def headline(self) -> str:
        """Which file, between what, and how much of it changed."""
        return f"{self.path}   {self.old} → {self.new}"

    def facts(self) -> tuple[str, ...]:
        """The change in a few words each."""
        # A model in memory, or a file that is not tracked, stores nothing.
        stores = (f"stores {size_text(self.stored)} of {size_text(self.size)}",) if self.size else ()
        if self.opaque:
            return ("kept whole: not a format any plug-in knows", *stores)
        changed = self.changed
        if self.status in {"A", "D"}:
            tensors = f"{len(changed)} tensor{'s' * (len(changed) != 1)}"
            parameters = f"{count_text(sum(diff.size for diff in changed))} parameters"
            if self.status == "D":
                return (f"removed: {tensors}", parameters)
            return (f"new: {tensors}", parameters, *stores)
        if not changed:
            # A file that stores nothing was compared by its tensors alone.
            rest = "; the rest of the file did" if self.status and self.size else ""
            return (f"no tensor changed{rest}",)
        counts = [f"{sum(d.status == k for d in changed)} {word}" for k, word in _KINDS.items() if k != "M"]
        others = ", ".join(text for text in counts if not text.startswith("0 "))
        values = sum(diff.size for diff in changed)
        total = sum(diff.size for diff in self.tensors)
        relative, estimated = overall(diff for diff in self.tensors if diff.status in {"", "M", "R", "T"})
        parts = [
            f"{len(changed)} of {len(self.tensors)} tensors changed" + (f" ({others})" if others else ""),
            f"{count_text(values)} of {count_text(total)} parameters",
        ]
        strange = sum(bool(diff.not_finite) for diff in changed)
        if strange:
            parts.append(f"{strange} tensor{'s' * (strange != 1)} with NaN or infinite values")
        if relative is not None:
            parts.append(f"relative change {relative_text(relative, estimated=estimated)}")
        return (*parts, *stores)

    def table(self, top: int = TOP) -> Table:
        """The tensors that changed most."""
        rows = [_row(diff) for diff in (() if self.opaque else self.changed[:top])]
        used = [i for i in range(len(_COLUMNS)) if i < 5 or any(row[i] for row in rows)]
        return Table(tuple(_COLUMNS[i] for i in used), tuple(tuple(row[i] for i in used) for row in rows))

    def notes(self) -> tuple[str, ...]:
        """How many more there are, and what ~ means."""
        changed = self.changed
        notes = list(self.remarks)
        if len(changed) > TOP and not self.opaque:
            notes.append(f"and {len(changed) - TOP} more")
        if any(diff.estimated for diff in changed):
            notes.append(f"{ESTIMATED}; --exact measures")
        return tuple(notes)

    def grid(self) -> Grid:
        """Relative change by block and kind."""
        return fold(self.tensors)

    def spec(self, kind: Kind = "heatmap") -> figures.Spec | None:
        """A figure as plotly describes it; None where it would say nothing, as of a file that is new or gone."""
        if not (self.changed and self.status == "M" and not self.opaque):
            return None
        if kind == "heatmap":
            return figures.heatmap(self.grid())
        return figures.norms(self.tensors) if any(diff.relative for diff in self.changed) else None

    def figure(self, kind: Kind = "heatmap") -> go.Figure:
        """A figure in plotly: the heatmap of relative change, or the histogram of tensors by change (``"norms"``).

        Raises
        ------
        RequestError
            If nothing changed that could be drawn.
        """
        return figures.to_plotly(self._drawn(kind), self.path)

    def plot(self, kind: Kind = "heatmap") -> Figure:
        """The same figure in matplotlib."""
        from theta_jupyter.diffs.plots import draw

        return draw([self._drawn(kind)], [plain(self.path)])

    def text(self) -> str:
        """Summary, a small heatmap in shades, and the most changed tensors."""
        table = self.table()
        parts = [plain(self.headline()), "  " + "   ".join(self.facts())]
        if self.spec():
            parts.append("\n".join(f"  {line}" for line in self.shades()))
        if table.rows:
            parts += ["  " + line for line in table.text().split("\n")]
        return "\n".join([*parts, *("  " + plain(note) for note in self.notes())])

    def shades(self) -> list[str]:
        """The heatmap as lines of text, a character a cell."""
        return shaded(self.grid())

    def html(self) -> str:
        """Summary, the heatmap as a picture, and the most changed tensors."""
        parts = [
            f'<div style="margin:4px 0"><strong>{html.escape(plain(self.headline()))}</strong></div>',
            f"<div>{' &nbsp;·&nbsp; '.join(html.escape(plain(fact)) for fact in self.facts())}</div>",
        ]
        spec = self.spec()
        if spec:
            from theta_jupyter.diffs.plots import draw, image

            parts.append(image(draw([spec]), f"Heatmap of relative change by block and kind for {plain(self.path)}"))
        if self.table().rows:
            parts.append(self.table().html())
        parts += [f'<div style="opacity:0.8">{html.escape(plain(note))}</div>' for note in self.notes()]
        return "".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Everything; tensors carry their relative change as well."""
        built = super().to_dict()
        for record, diff in zip(built["tensors"], self.tensors, strict=True):
            relative = diff.relative
            record["relative"] = relative if relative is not None and math.isfinite(relative) else None
        return built

    def _drawn(self, kind: Kind) -> figures.Spec:
        spec = self.spec(kind)
        if spec is None:
            raise RequestError(f"there is no picture of {self.path}: {self.facts()[0]}")
        return spec

    def _records(self) -> tuple[Any, ...]:
        return tuple(self.to_dict()["tensors"])


@dataclass(frozen=True)
class Diff(Result):
    """Every tracked checkpoint that differs between two versions of a repository.

    Parameters
    ----------
    old, new
        What was compared.
    files
        Those that differ.
    subject
        What the new version was committed as, if it is a commit.
    pairs
        By path, what exact answers are read from; not part of the data.
    versions
        The two versions as a repository knows them, for whoever compares them again: ids of commits, empty for the work
        tree (and, as the old one, for nothing), ``:`` for the index. None if they are something else. Not part of the
        data either.
    """

    old: str
    new: str
    files: tuple[FileDiff, ...]
    subject: str = ""
    pairs: Mapping[str, Pair] = field(default_factory=dict, repr=False, compare=False)
    versions: tuple[str, str] | None = field(default=None, repr=False, compare=False)

    def headline(self) -> str:
        """How many files differ."""
        if not self.files:
            what = "tensor" if self.pairs else "tracked model"
            return f"no {what} differs between {self.old} and {self.new}"
        return f"{len(self.files)} tracked model{'s' * (len(self.files) > 1)} differ{'s' * (len(self.files) == 1)}"

    def file(self, path: str = "") -> FileDiff:
        """The diff of one file; the first, if none is named.

        Raises
        ------
        RequestError
            If it is not among those that differ.
        """
        for file in self.files:
            if path in {"", file.path}:
                return file
        raise RequestError(f"{path} does not differ" if path and self.files else self.headline())

    def detail(self, tensor: str, path: str = "") -> Detail:
        """Look at one tensor closely: exact numbers, histograms, singular values.

        Parameters
        ----------
        tensor
            Its name in the new version, or in the old one if it was deleted.
        path
            The file; the first, if none is named.

        Raises
        ------
        RequestError
            If there is no such tensor, or nothing left to read it from.
        """
        file = self.file(path)
        for diff in file.tensors:
            if diff.name == tensor:
                return self._pair(file).detail(diff)
        raise RequestError(f"{file.path} has no tensor {tensor!r}", hint="names are in .to_pandas()")

    def exact(
        self,
        tensors: Collection[str] | None = None,
        path: str = "",
        progress: Progress = silent,
        executor: Executor | None = None,
    ) -> Diff:
        """The same diff, measured instead of estimated.

        Parameters
        ----------
        tensors
            Names of those to measure; all that changed, if None.
        path
            The file; all, if none is named.
        executor
            Where to read and measure; None for threads of this process.
        """
        if path:
            self.file(path)
        diff = self
        for file in self.files:
            if path in {"", file.path}:
                measured = self._pair(file).measured(file.tensors, tensors, progress, executor)
                diff = diff.taking(file.path, {tensor.name: tensor for tensor in measured})
        return diff

    def taking(self, path: str, tensors: Mapping[str, TensorDiff]) -> Diff:
        """The same diff with these tensors of a file in place of their namesakes, once they are measured."""
        files = tuple(
            replace(file, tensors=tuple(tensors.get(tensor.name, tensor) for tensor in file.tensors))
            if file.path == path
            else file
            for file in self.files
        )
        return replace(self, files=files)

    def text(self) -> str:
        """Each file in turn."""
        return "\n\n".join(file.text() for file in self.files) or super().text()

    def html(self) -> str:
        """Each file in turn."""
        return "<hr>".join(file.html() for file in self.files) or super().html()

    def markdown(self) -> str:
        """Each file in turn, as Markdown."""
        from theta_jupyter.diffs.pages import markdown

        return markdown(self)

    def report(self, target: str | Path) -> Path:
        """Write the diff to a file: a page that needs nothing else (``.html``), Markdown (``.md``), JSON or text.

        A picture named in Markdown is written beside it.

        Raises
        ------
        RequestError
            If the ending is another.
        """
        from theta_jupyter.diffs.pages import write

        return write(self, target)

    def figure(self, kind: Kind = "heatmap", path: str = "") -> go.Figure:
        """A figure of a file in plotly; see :meth:`FileDiff.figure`."""
        return self.file(path).figure(kind)

    def plot(self, kind: Kind = "heatmap", path: str = "") -> Figure:
        """A figure of a file in matplotlib; see :meth:`FileDiff.figure`."""
        return self.file(path).plot(kind)

    def to_dict(self) -> dict[str, Any]:
        """Everything."""
        files = [file.to_dict() for file in self.files]
        return {"old": self.old, "new": self.new, "subject": self.subject, "files": files}

    def _pair(self, file: FileDiff) -> Pair:
        if file.path not in self.pairs:
            raise RequestError(f"the versions of {file.path} are no longer at hand", hint="compare again")
        return self.pairs[file.path]

    def _records(self) -> tuple[Any, ...]:
        return tuple({"path": file.path, **row} for file in self.files for row in file.to_dict()["tensors"])


def schema() -> dict[str, Any]:
    """The JSON schema of what :meth:`Diff.to_dict` gives; docs/diff.schema.json is a copy."""
    _, parts = msgspec.json.schema_components([FileDiff], ref_template="#/$defs/{name}")
    tensor = parts["TensorDiff"]
    tensor["properties"]["relative"] = {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "default": None,
        "description": "l2 / norm; null if it is not known, or infinite",
    }
    for part in parts.values():
        part["description"] = part.get("description", "").partition("\n")[0]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "theta diff",
        "type": "object",
        "properties": {
            "old": {"type": "string"},
            "new": {"type": "string"},
            "subject": {"type": "string", "default": ""},
            "files": {"type": "array", "items": {"$ref": "#/$defs/FileDiff"}},
        },
        "required": ["old", "new", "files"],
        "$defs": parts,
    }


_COLUMNS = ("", "tensor", "dtype", "shape", ">relative", ">largest", ">values", "stored as", ">stored")


def _row(diff: TensorDiff) -> tuple[str, ...]:
    shape = "x".join(map(str, diff.shape)) or "scalar"
    if diff.old_shape is not None:
        shape = f"{'x'.join(map(str, diff.old_shape)) or 'scalar'} → {shape}"
    known = diff.status not in {"A", "D", "S"}
    kept = bool(diff.update) and diff.status != "D"
    return (
        diff.status,
        " → ".join(short(part, 80) for part in (diff.old_name, diff.name) if part),
        f"{diff.old_dtype} → {diff.dtype}" if diff.old_dtype else diff.dtype,
        shape,
        _relative(diff) if known else "",
        "" if diff.largest is None else f"{diff.largest:.2g}",
        "" if diff.changed is None else f"{100 * diff.changed:.3g} %",
        diff.update if kept else "",
        size_text(diff.stored) if kept else "",
    )


def _relative(diff: TensorDiff) -> str:
    if diff.not_finite and diff.status:
        return f"{count_text(diff.not_finite)} not finite"
    return relative_text(diff.relative, estimated=diff.estimated)


def _rank(diff: TensorDiff) -> tuple[float, str]:
    relative = diff.relative
    # What has become NaN is the news, whatever else is.
    first = diff.not_finite or diff.status in {"A", "D", "S"}
    return -(math.inf if first else relative if relative is not None else 0.0), diff.name
