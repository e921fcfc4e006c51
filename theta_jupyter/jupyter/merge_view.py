"""What the merge view in the browser asks, and the answers, ready for JSON.

It holds nothing: what is in conflict stands in Git's index, and what was chosen in a file beside it. So a view of a
kernel that was restarted, a second one, and a terminal all see the same merge.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from theta_jupyter.errors import RequestError
from theta_jupyter.merges.base import installed
from theta_jupyter.merges.plan import Rule, escape
from theta_jupyter.results import finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from theta_jupyter.conflicts import Named
    from theta_jupyter.merge_state import MergeState
    from theta_jupyter.merges.preview import Preview, Row
    from theta_jupyter.merging import Merge
    from theta_jupyter.storage.pool import Progress

__all__ = ["MergeView"]


class MergeView:
    """A merge that is being looked at.

    Attributes
    ----------
    questions
        By name. Those in ``long`` take ``progress`` besides.
    changing
        Those after which other views should ask again.
    """

    long = frozenset({"finish", "preview"})
    changing = frozenset({"abort", "choose", "edit", "finish", "undo"})

    def __init__(self, merge: Merge) -> None:
        self.merge = merge
        self.questions: Mapping[str, Callable[..., Any]] = {
            "abort": self.abort,
            "choose": self.choose,
            "edit": self.edit,
            "file": self.file,
            "finish": self.finish,
            "merge": self.state,
            "preview": self.preview,
            "settled": self.settled,
            "strategies": self.strategies,
            "undo": self.undo,
        }

    def state(self) -> dict[str, Any]:
        """Where the merge stands."""
        return _state(self.merge.state())

    def strategies(self) -> list[dict[str, Any]]:
        """Ways to merge, ours and others'."""
        return [{**strategy.to_dict(), "name": name} for name, strategy in installed().items()]

    def file(self, path: str) -> dict[str, Any]:
        """Tensors of a file that are in conflict."""
        return {"rows": _rows(self.merge.rows(path))}

    def settled(self, path: str) -> dict[str, Any]:
        """Tensors of a file that settled by themselves."""
        return {"rows": _rows(self.merge.rows(path, settled=True))}

    def preview(
        self, path: str, name: str, strategy: str, parameters: dict[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """A tensor, read, and what a strategy makes of it."""
        progress("reading", 0, 1)
        return _preview(self.merge.preview(path, name, strategy, parameters))

    def choose(self, rules: list[dict[str, Any]]) -> dict[str, Any]:
        """Add rules to the plan, to be taken back as one."""
        return self._change(partial(self.merge.choose, *map(_rule, rules)))

    def edit(self, index: int, rule: dict[str, Any] | None) -> dict[str, Any]:
        """Change a rule of the plan, or take it out."""
        return self._change(partial(self.merge.edit, index, _rule(rule) if rule else None))

    def undo(self) -> dict[str, Any]:
        """Take the last choice back."""
        return self._change(self.merge.undo)

    def finish(self, message: str, progress: Progress) -> dict[str, Any]:
        """Compute what was chosen, and end the merge."""
        return _state(self.merge.finish(message, progress))

    def abort(self) -> dict[str, Any]:
        """Give up."""
        return _state(self.merge.abort())

    def _change(self, change: Callable[[], MergeState]) -> dict[str, Any]:
        """Change the plan, and tell which rows are not as they were."""
        before = {path: {row.name: row for row in self.merge.rows(path)} for path in self.merge.conflicts()}
        state = change()
        changed = {
            file.path: [row for row in self.merge.rows(file.path) if row != before[file.path].get(row.name)]
            for file in state.files
            if file.path in before
        }
        rows = [{"path": path, "rows": _rows(found)} for path, found in changed.items() if found]
        return {"state": _state(state), "rows": rows}


def _state(state: MergeState) -> dict[str, Any]:
    now = state.situation
    return {
        "revision": state.revision,
        "kind": now.kind,
        "title": now.title,
        "ours": _named(now.ours),
        "theirs": _named(now.theirs),
        "base": _named(now.base) if now.base else None,
        "message": now.message,
        "files": [{**msgspec.to_builtins(file), "settled": dict(file.settled)} for file in state.files],
        "others": list(state.others),
        "rules": [{"parameters": {}, "file": "", **rule.to_dict()} for rule in state.plan.rules],
        "can_undo": state.can_undo,
        "left": state.left,
        "outcome": state.outcome,
    }


def _named(version: Named) -> dict[str, str]:
    return {"name": version.name, "subject": version.subject, "commit": version.commit[:7]}


def _rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [_row(row) for row in rows]


def _row(row: Row) -> dict[str, Any]:
    built: dict[str, Any] = finite({**row.to_dict(), "glob": escape(row.name)})
    return built


def _preview(found: Preview) -> dict[str, Any]:
    table = found.table()
    return {
        "row": _row(found.row),
        "facts": found.facts(),
        "table": {"columns": list(table.columns), "rows": [list(row) for row in table.rows]},
        "figures": [{"title": title, "figure": finite(spec)} for title, spec in found.specs()],
        "remarks": list(found.notes()),
    }


def _rule(given: dict[str, Any]) -> Rule:
    try:
        made = Rule(given["tensors"], given["strategy"], given.get("parameters") or {}, given.get("file") or "")
    except (KeyError, TypeError, AttributeError):
        raise RequestError("the view sent no rule") from None
    if not all(isinstance(text, str) for text in (made.tensors, made.strategy, made.file)):
        raise RequestError("the view sent no rule")
    return made
