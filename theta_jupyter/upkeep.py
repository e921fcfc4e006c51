"""What ``du``, ``gc`` and ``fsck`` answer: what is stored, what was deleted, what is damaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from theta_jupyter.results import Result, Table, short, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TICK", "Amount", "Checked", "Collected", "Fault", "Loss", "Problem", "Usage", "Use"]

TICK = 2
"""Seconds that the clock of a file system may be behind."""
_DAY = 24 * 3600
_TOLD = 5
"""Objects, names and remarks that are told of each kind; the others are counted."""


@dataclass(frozen=True)
class Amount:
    """Some objects, or other files.

    Parameters
    ----------
    count, size
        How many, and how many bytes in all.
    """

    count: int = 0
    size: int = 0

    def __add__(self, size: int) -> Amount:
        return Amount(self.count + 1, self.size + size)


@dataclass(frozen=True)
class Collected(Result):
    """What was deleted, and what stays.

    Parameters
    ----------
    deleted
        Objects that nothing needs; with ``dry_run``, those that would have been.
    leftovers
        Bytes of files left by processes that are gone; with ``dry_run``, not looked for.
    needed
        Objects that are needed.
    recent
        Objects that nothing needs yet, or any more, but that were written or used within the grace period.
    spared
        Objects that came into use just then.
    grace
        In days.
    cache
        Bytes of the cache, which can be deleted at any time.
    dry_run
        Whether nothing was done.
    """

    deleted: Amount
    leftovers: int
    needed: Amount
    recent: Amount
    spared: int
    grace: float
    cache: int
    dry_run: bool = False

    def headline(self) -> str:
        """What was freed."""
        if not (self.deleted.count or self.leftovers):
            return "nothing to delete"
        return f"{'would free' if self.dry_run else 'freed'} {size_text(self.deleted.size + self.leftovers)}"

    def table(self) -> Table:
        """What became of all there is."""
        rows = [
            ("to be deleted" if self.dry_run else "deleted", self.deleted, "nothing needs them"),
            ("recent", self.recent, f"nothing needs them, but they were in use {_since(self.grace)}"),
            ("needed", self.needed, ""),
        ]
        lines = [(what, str(of.count), size_text(of.size), why) for what, of, why in rows if of.count]
        if self.leftovers:
            lines.append(("leftovers", "", size_text(self.leftovers), "of commands that were killed; deleted"))
        return Table(("", ">objects", ">size", ""), tuple(lines))

    def notes(self) -> tuple[str, ...]:
        """What to know, and what to do next."""
        notes = []
        if self.spared:
            notes.append(f"{self.spared} more came into use meanwhile, and stay")
        if self.dry_run and self.deleted.count:
            notes.append("nothing was deleted; do it with: git theta gc")
        if self.cache:
            notes.append(f"the cache, theta/cache in Git's folder, has {size_text(self.cache)}; it may be deleted too")
        return tuple(notes)


Problem = Literal["damaged", "missing"]


@dataclass(frozen=True)
class Fault:
    """An object that is not as it should be.

    Parameters
    ----------
    object
        Its id.
    problem
        ``damaged``: its bytes do not have its id as their hash; ``missing``: it is needed, and not here.
    path
        Where it lies, or should, from the current folder.
    needed
        Whether something needs it.
    remotes
        Those that should have it.
    """

    object: str
    problem: Problem
    path: str
    needed: bool
    remotes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loss:
    """A version of a file that cannot be rebuilt as it was.

    Parameters
    ----------
    path
        From the top of the repository; empty where nothing in the history is called by one, as behind a tag.
    commit, subject
        The commit that made it; empty if it stands in no commit, but in an index.
    tensors
        Those that are lost, by name; empty if they all are, because the rest of the file is.
    count
        How many tensors the version has; 0 if that cannot be read.
    reason
        Of the first.
    """

    path: str
    commit: str
    subject: str
    tensors: tuple[str, ...]
    count: int
    reason: str

    @property
    def where(self) -> str:
        """The commit, as people call it."""
        return self.commit[:7] or "index"


@dataclass(frozen=True)
class Checked(Result):
    """What was found.

    Parameters
    ----------
    objects, size
        How many objects are here, and their bytes; all have been looked at.
    unneeded
        How many of them nothing needs that was looked at.
    versions
        Versions of files that there are.
    whole
        Those that can be rebuilt.
    elsewhere
        Those of which some weights are not here, but should be on a remote.
    tensors
        How many different tensors were rebuilt; none in a quick check.
    faults, losses
        What is wrong with objects, and what that means.
    standing
        By path, of files with losses: the newest commit that made a version that stands.
    unchecked
        What could not be judged, and why.
    """

    objects: int
    size: int
    unneeded: int
    versions: int
    whole: int
    elsewhere: int
    tensors: int
    faults: tuple[Fault, ...] = ()
    losses: tuple[Loss, ...] = ()
    standing: Mapping[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """1 if an object is damaged, or anything is lost."""
        return int(bool(self.losses) or any(fault.problem == "damaged" for fault in self.faults))

    def headline(self) -> str:
        """Whether all is well."""
        looked = f"{_many(self.objects, 'object')} ({size_text(self.size)})"
        if not self.exit_status:
            rebuilt = f", {_many(self.tensors, 'tensor')}" if self.tensors else ""
            return f"all is well: {_many(self.versions, 'version')}{rebuilt}, {looked} checked"
        lost = {(loss.path, loss.commit) for loss in self.losses}
        if not lost:
            return f"nothing is lost, but an object is damaged: {looked} checked"
        return f"{_many(len(lost), 'version')} of {self.versions} cannot be rebuilt: {looked} checked"

    def table(self) -> Table:
        """A line a version that is lost, or has lost tensors."""
        rows = []
        for loss in self.losses:
            names = ", ".join(short(name, 40) for name in loss.tensors[:_TOLD])
            more = len(loss.tensors) - _TOLD
            lost = f"{len(loss.tensors) or 'all'} of {loss.count}" if loss.count else "all"
            rows.append(
                (loss.where, loss.path, lost, f"{names}{f', and {more} more' if more > 0 else ''}", loss.reason)
            )
        return Table(("commit", "model", ">lost", "tensors", "because"), tuple(rows))

    def notes(self) -> tuple[str, ...]:
        """What stands, and how to get back what does not."""
        notes = []
        if self.losses:
            notes.append(f"{self.whole} of {_many(self.versions, 'version')} can be rebuilt")
            notes += [f"{path}: the newest that can is of {commit[:7]}" for path, commit in self.standing.items()]
        notes += self._ways_back("damaged")
        if self.losses:
            notes += self._ways_back("missing")
        if self.elsewhere:
            notes.append(
                f"of {_many(self.elsewhere, 'version')} some weights are not here, but should be on a remote: "
                "they come at checkout, and those of HEAD with: git theta fetch"
            )
        if self.unneeded:
            notes.append(
                f"{_many(self.unneeded, 'object')} not needed by what was checked; see: git theta gc --dry-run"
            )
        return (*notes, *_some(self.unchecked))

    def _ways_back(self, problem: Problem) -> list[str]:
        """Objects with a problem, by where they may come from."""
        notes = []
        found = [fault for fault in self.faults if fault.problem == problem]
        for remote in sorted({"".join(fault.remotes[:1]) for fault in found}, reverse=True):
            those = [fault for fault in found if "".join(fault.remotes[:1]) == remote]
            notes += _some([f"{problem}: {fault.path}{'' if fault.needed else ', not needed'}" for fault in those])
            if remote:
                first = "delete what is damaged, then: " if problem == "damaged" else ""
                notes.append(
                    f"{remote} should have that: {first}git theta fetch, "
                    "or for an older version: git theta checkout COMMIT -- PATH"
                )
            elif any(fault.needed for fault in those):
                notes.append("no remote is known to have that: copy it from another clone, or from a backup")
        return notes

    def _records(self) -> tuple[Any, ...]:
        return self.losses


@dataclass(frozen=True)
class Use:
    """What a version, a branch or a tensor takes; all in bytes.

    Parameters
    ----------
    name
        Id of the commit, name of the branch, or of the tensor; empty for what of a file is not tensors.
    title
        Subject of the commit that it is, or that the branch is at; path of the file that the tensor is in.
    models
        Paths of the files.
    versions
        How many versions of files are meant.
    stored
        What came with it. Of a version: what no older one has. Of a branch: what no other branch or tag has, so what
        would be free without it. Of a tensor: what was stored for it, over all versions.
    needed
        What must be fetched to have it: the version, all versions of the branch, or the newest version of the tensor.
    shared
        The part of ``needed`` that others need as well.
    whole
        What whole files would take, one for each version.
    """

    name: str
    title: str
    models: tuple[str, ...]
    versions: int
    stored: int
    needed: int
    shared: int
    whole: int


@dataclass(frozen=True)
class Usage(Result):
    """What takes how much.

    Parameters
    ----------
    by
        What is listed.
    uses
        A line each: versions the newest first, branches by name, tensors the largest first.
    more
        How many there are besides.
    versions, whole
        How many different versions of files there are in all that was looked at, and what they would take as files.
    needed, absent
        Bytes of the objects that these need; and the part of it that is not here.
    objects, disk
        How many objects are here, needed by these or not, and their bytes.
    cache
        Bytes of the cache.
    """

    by: Literal["version", "branch", "tensor"]
    uses: tuple[Use, ...]
    more: int
    versions: int
    whole: int
    needed: int
    absent: int
    objects: int
    disk: int
    cache: int

    @property
    def ratio(self) -> float | None:
        """What is stored, as a share of what whole files would take."""
        return self.needed / self.whole if self.whole else None

    def headline(self) -> str:
        """What all of it takes, and would take."""
        if self.ratio is None:
            return "no version of a model is here"
        return (
            f"{_many(self.versions, 'version')} in {size_text(self.needed)} "
            f"instead of {size_text(self.whole)} ({100 * self.ratio:.0f} %)"
        )

    def table(self) -> Table:
        """A line each."""
        numbers = (">stored", ">needed", ">shared", ">as files")
        heads = {
            "version": ("commit", "subject", "models", *numbers),
            "branch": ("branch", "subject", ">versions", *numbers),
            "tensor": ("tensor", "model", ">versions", *numbers),
        }
        rows = []
        for use in self.uses:
            name = {"version": use.name[:7], "branch": use.name, "tensor": use.name or "(not tensors)"}[self.by]
            third = ", ".join(use.models) if self.by == "version" else str(use.versions)
            sizes = (size_text(size) for size in (use.stored, use.needed, use.shared, use.whole))
            rows.append((name, use.title, third, *sizes))
        return Table(heads[self.by], tuple(rows))

    def notes(self) -> tuple[str, ...]:
        """What the numbers mean, and what else is here."""
        meaning = {
            "version": "stored: new with this version; shared: also needed by other versions of the list",
            "branch": "stored: needed by no other branch or tag; shared: needed by others as well",
            "tensor": "stored: over all versions; needed: for the newest; shared: also used by other tensors",
        }
        notes = [meaning[self.by]] if self.uses else []
        if self.more:
            notes.append(f"and {self.more} more: -n {len(self.uses) + self.more}")
        if self.absent:
            notes.append(f"{size_text(self.absent)} of that is not here; it comes when it is checked out")
        other = self.disk - (self.needed - self.absent)
        notes.append(f"on this disk: {_many(self.objects, 'object')}, {size_text(self.disk)}")
        if other > 0:
            notes[-1] += f"; {size_text(other)} is of other versions or needed by none: git theta gc --dry-run"
        if self.cache:
            notes.append(f"the cache has {size_text(self.cache)}")
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """With the ratio."""
        return {**super().to_dict(), "ratio": self.ratio}

    def _records(self) -> tuple[Any, ...]:
        return self.uses


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _some(lines: Sequence[str]) -> list[str]:
    """The first of them, and how many more there are."""
    more = len(lines) - _TOLD
    return [*lines[:_TOLD], *([f"and {more} more like these"] if more > 0 else [])]


def _since(days: float) -> str:
    return f"in the last {days:g} day{'s' * (days != 1)}" if days * _DAY > TICK else "just now"
