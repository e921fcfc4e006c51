"""A three-way merge of manifests: what settles itself, and what is left.

Each tensor is in one class. What only one side changed, and what both changed alike, settles itself; a tensor that both
changed, both added differently, or one deleted and the other changed, is a conflict. The structure of the file (the
header: everything that is not a tensor) is treated the same way, as one thing. Where the tensors of one side do not fit
into the structure of the other, and in a file that no plug-in understood, nothing can be mixed: then the result is one
side's file as a whole, and says so. Only manifests are looked at, no weight is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from theta_jupyter.storage.manifest import Manifest, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["STRUCTURE", "Class", "Merged", "Side", "classify", "listed", "merge"]

Side = Literal["base", "ours", "theirs"]
Class = Literal[
    "unchanged",
    "ours only",
    "theirs only",
    "same on both",
    "both changed",
    "added by both",
    "deleted and changed",
    "reshaped",
]
CONFLICTS: frozenset[Class] = frozenset({"both changed", "added by both", "deleted and changed", "reshaped"})
STRUCTURE = "(structure)"
"""Stands for the header among the names of conflicts; it is the first."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge.

    Parameters
    ----------
    manifest
        Valid; where nothing was decided it has what the preferred side has.
    classes
        Of every tensor that is on any side, by name, sorted.
    conflicts
        Names still undecided, after :data:`STRUCTURE` if that is.
    whole
        The manifest is that of the preferred side, and has nothing of the other; only with a conflict.
    lost
        If so, the tensors that the other side changed otherwise.
    """

    manifest: Manifest
    classes: Mapping[str, Class]
    conflicts: tuple[str, ...]
    whole: bool = False
    lost: tuple[str, ...] = ()

    @property
    def undecided(self) -> tuple[str, ...]:
        """The conflicts that are tensors."""
        return self.conflicts[self.conflicts[:1] == (STRUCTURE,) :]

    def without(self, side: Side) -> str:
        """Say what a file taken as a whole lacks of this side."""
        if not self.lost:
            return f"the structure of {side} is not in it"
        changes = "1 change of {} is" if len(self.lost) == 1 else f"{len(self.lost)} changes of {{}} are"
        return f"{changes.format(side)} not in it: {listed(self.lost)}"


def classify(base: Record | None, ours: Record | None, theirs: Record | None) -> Class:
    """Say what happened to one tensor; None where a side does not have it."""
    if same(ours, theirs):
        return "unchanged" if same(ours, base) else "same on both"
    if same(base, ours):
        return "theirs only"
    if same(base, theirs):
        return "ours only"
    if ours is None or theirs is None:
        return "deleted and changed"
    if base is None:
        return "added by both"
    return "both changed" if ours.shape == theirs.shape and ours.dtype == theirs.dtype else "reshaped"


def listed(names: Sequence[str]) -> str:
    """Write down the first few names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def merge(base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: Side = "ours") -> Merged:
    """Merge two manifests over their common ancestor.

    Parameters
    ----------
    base
        None if both sides added the file.
    prefer
        The side that what is undecided is taken from, so that the result is always a whole file.
    """
    if base is None and prefer == "base":
        prefer = "ours"
    sides: dict[Side, Manifest | None] = {"base": base, "ours": ours, "theirs": theirs}
    names = sorted({name for side in sides.values() if side for name in side.records}, key=str.encode)
    of = {side: manifest.records if manifest else {} for side, manifest in sides.items()}
    classes = {name: classify(of["base"].get(name), of["ours"].get(name), of["theirs"].get(name)) for name in names}
    conflicts = tuple(name for name, kind in classes.items() if kind in CONFLICTS)
    winner: dict[Class, Side] = {"theirs only": "theirs"}
    preferred = sides[prefer] or ours

    if any(side.opaque for side in sides.values() if side):
        # Who knows what belongs together in it? A mixture of its chunks may be no file of its kind.
        settled = _changed(base, ours, theirs, _everything)
        if settled is not None:
            return Merged(settled, classes, ())
    else:
        structure = _changed(base, ours, theirs, _structure)
        fitting = structure or (preferred if _alike(ours, theirs) else None)
        records: dict[str, Record] = {}
        for name in names:
            side: Side = prefer if classes[name] in CONFLICTS else winner.get(classes[name], "ours")
            record = of[side].get(name)
            if record is not None:
                records[name] = record
        if fitting is not None and _alike(fitting, Manifest(fitting.header, records)):
            header = () if structure else (STRUCTURE,)
            return Merged(Manifest(fitting.header, records), classes, (*header, *conflicts))
    kept = {"unchanged", "same on both", f"{prefer} only"}
    lost = tuple(name for name, kind in classes.items() if kind not in kept)
    return Merged(preferred, classes, (STRUCTURE, *conflicts), whole=True, lost=lost)


def same(a: Record | None, b: Record | None) -> bool:
    """Whether two records are of one tensor with one value, however they are stored."""
    if a is None or b is None:
        return a is b
    return _identity(a) == _identity(b)


def _identity(record: Record) -> tuple[object, ...]:
    return (record.blake3, *_geometry(record))


def _changed(
    base: Manifest | None, ours: Manifest, theirs: Manifest, aspect: Callable[[Manifest], object]
) -> Manifest | None:
    """The side whose aspect the result has, or None if both changed it."""
    if aspect(ours) == aspect(theirs):
        return ours
    if base is None:
        return None
    if aspect(base) == aspect(ours):
        return theirs
    return ours if aspect(base) == aspect(theirs) else None


def _structure(manifest: Manifest) -> object:
    return manifest.header.blake3


def _everything(manifest: Manifest) -> object:
    return manifest.header.blake3, {name: _identity(record) for name, record in manifest.records.items()}


def _alike(a: Manifest, b: Manifest) -> bool:
    """Whether records of one fit the structure of the other: the same names, lying alike; only values may differ."""
    return a.records.keys() == b.records.keys() and all(
        _geometry(record) == _geometry(b.records[name]) for name, record in a.records.items()
    )


def _geometry(record: Record) -> tuple[object, ...]:
    r = record
    return (r.dtype, r.shape, r.offset, r.stride, r.storage, r.of)
