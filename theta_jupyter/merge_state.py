"""Where a merge stands, as it is told: what is going on, what is left, what was chosen, what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from theta_jupyter.git.worktree import shown
from theta_jupyter.merges.plan import Plan
from theta_jupyter.results import Result, Table, finite, relative_text

if TYPE_CHECKING:
    from theta_jupyter.conflicts import Situation
    from theta_jupyter.merges.preview import Row
    from theta_jupyter.merging import Merge

SHOWN = 5
"""Remarks that are told."""

__all__ = ["Conflicts", "FileState", "MergeState"]


@dataclass(frozen=True)
class FileState:
    """Where a file stands.

    Parameters
    ----------
    path
        From the top.
    conflicts, left
        Tensors that did not settle by themselves, and those of them that nobody has decided yet.
    settled
        How many did, by class.
    whole
        Whether nothing can be mixed: the file is ours or theirs.
    notes
        What to know.
    """

    path: str
    conflicts: int
    left: int
    settled: tuple[tuple[str, int], ...] = ()
    whole: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MergeState(Result):
    """Where a merge stands.

    Parameters
    ----------
    situation
        What is going on.
    files
        Models in conflict.
    others
        Other files in conflict.
    plan
        What was chosen.
    revision, can_undo
        Of the choices.
    outcome
        Once it has ended: what happened.
    remarks
        What was done to tensors whose versions had different sizes.
    stopped
        Whether a command was to finish the merge and could not.
    merge
        The merge itself, to go on with.
    """

    situation: Situation
    files: tuple[FileState, ...] = ()
    others: tuple[str, ...] = ()
    plan: Plan = field(default_factory=Plan)
    revision: int = 0
    can_undo: bool = False
    outcome: str = ""
    remarks: tuple[str, ...] = ()
    stopped: bool = False
    merge: Merge | None = field(default=None, repr=False, compare=False)

    @property
    def left(self) -> int:
        """Tensors nobody has decided yet."""
        return sum(file.left for file in self.files)

    @property
    def exit_status(self) -> int:
        """As Git's: 1 if it waits for somebody to decide."""
        return int(self.stopped)

    def headline(self) -> str:
        """What is going on, and what is left."""
        if not self.situation.kind:
            return self.outcome or "no merge is in progress"
        total = sum(file.conflicts for file in self.files)
        count = f"{self.left} of {total} conflict{'s' * (total != 1)} left" if self.files else "no model is in conflict"
        return f"{self.situation.title}: {count}"

    def table(self) -> Table:
        """A line a file."""
        rows = tuple(
            (f.path, f"{f.left} of {f.conflicts}", ", ".join(f"{n} {k}" for k, n in f.settled)) for f in self.files
        )
        return Table(("model", ">left", "settled by themselves"), rows)

    def notes(self) -> tuple[str, ...]:
        """The sides, the rules, and the next step."""
        if not self.situation.kind:
            more = len(self.remarks) - SHOWN
            return (*self.remarks[:SHOWN], *((f"and {more} more like these",) if more > 0 else ()))
        now = self.situation
        sides = [f"{side}: {v.name}  {v.subject}".rstrip() for side, v in (("ours", now.ours), ("theirs", now.theirs))]
        notes = [*([self.outcome] if self.outcome else []), *sides]
        notes += [f"{f.path}: {note}" for f in self.files for note in f.notes]
        notes += [f"rule {n}: {rule.described()}" for n, rule in enumerate(self.plan.rules, 1)]
        notes += [f"also in conflict, to be edited by hand: {shown(path)}" for path in self.others]
        if self.plan.rules and not self.files:
            notes.append("these rules were not applied: what was in conflict has been staged without them")
            notes.append("bring it back: git checkout -m -- PATH; or take the rules back: git theta merge --undo")
        elif self.left:
            notes.append('decide with: git theta resolve "encoder.*" --strategy ties   (or ours, theirs, linear, ...)')
        elif not self.others:
            notes.append("all is decided; finish with: git theta merge --continue   (or --abort)")
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """All but the merge itself."""
        built: dict[str, Any] = msgspec.to_builtins(self.situation)
        files = [{**msgspec.to_builtins(file), "settled": dict(file.settled)} for file in self.files]
        return {
            **built,
            "files": files,
            "others": list(self.others),
            "left": self.left,
            **self.plan.to_dict(),
            "outcome": self.outcome,
            "remarks": list(self.remarks),
        }

    def _records(self) -> tuple[Any, ...]:
        return self.files


@dataclass(frozen=True)
class Conflicts(Result):
    """Tensors in conflict.

    Parameters
    ----------
    title
        What is going on.
    rows
        By file.
    merge
        The merge itself, to go on with.
    """

    title: str
    rows: tuple[tuple[str, tuple[Row, ...]], ...]
    merge: Merge | None = field(default=None, repr=False, compare=False)

    def headline(self) -> str:
        """How many, and how many are left."""
        rows = [row for _, found in self.rows for row in found]
        left = sum(not row.strategy for row in rows)
        return f"{self.title}: {left} of {len(rows)} conflict{'s' * (len(rows) != 1)} left"

    def table(self) -> Table:
        """A line a tensor."""
        several = len(self.rows) > 1
        lines = tuple(
            (
                *((path,) if several else ()),
                row.name,
                row.kind,
                _shapes(row),
                *_standing(row),
                row.call() or f"? {row.remark}".rstrip(),
            )
            for path, rows in self.rows
            for row in rows
        )
        names = ("tensor", "class", "shape", ">ours", ">theirs", ">angle", ">signs agree", "strategy")
        return Table(("file", *names) if several else names, lines)

    def notes(self) -> tuple[str, ...]:
        """What the columns mean, and the next step."""
        notes = ["ours, theirs: change relative to the base; angle between the two changes; ~ estimated"]
        if any(not row.strategy for _, rows in self.rows for row in rows):
            notes.append('decide with: git theta resolve "encoder.*" --strategy ties   (or ours, theirs, linear, ...)')
        else:
            notes.append("all is decided; finish with: git theta merge --continue")
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """A list of tensors for each file."""
        found: dict[str, Any] = {path: [finite(row.to_dict()) for row in rows] for path, rows in self.rows}
        return {"title": self.title, "files": found}

    def _records(self) -> tuple[Any, ...]:
        return tuple(row for _, rows in self.rows for row in rows)


def _shapes(row: Row) -> str:
    if row.ours_shape is not None and row.theirs_shape is not None:
        return f"{' x '.join(map(str, row.ours_shape))} / {' x '.join(map(str, row.theirs_shape))}"
    return " x ".join(map(str, row.shape))


def _standing(row: Row) -> tuple[str, str, str, str]:
    s = row.standing
    mark = "~" if s.estimated else ""
    return (
        "" if s.ours is None else relative_text(s.ours, estimated=s.estimated),
        "" if s.theirs is None else relative_text(s.theirs, estimated=s.estimated),
        "" if s.angle is None else f"{mark}{s.angle:.0f}°",
        "" if s.signs is None else f"{mark}{100 * s.signs:.0f} %",
    )
