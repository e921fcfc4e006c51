"""A three-way merge of manifests: what settles itself, and what is left.

Each tensor is in one class. What only one side changed, and what both changed alike, settles itself; a tensor that both
changed, both added differently, or one deleted and the other changed, is a conflict. The structure of the file (the
header: everything that is not a tensor) is treated the same way, as one thing. Only manifests are looked at, no weight
is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from theta_jupyter.storage.manifest import Manifest, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STRUCTURE", "Class", "Merged", "Side", "classify", "merge"]

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
"""Stands for the header among the names of conflicts; no tensor can be called this."""


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
        Names still undecided, and :data:`STRUCTURE` if both sides changed that.
    """

    manifest: Manifest
    classes: Mapping[str, Class]
    conflicts: tuple[str, ...]


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


def merge(base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: Side = "ours") -> Merged:
    """Merge two manifests over their common ancestor.

    Parameters
    ----------
    base
        None if both sides added the file.
    prefer
        The side that undecided tensors are taken from, so that the result is always a whole file.
    """
    sides: dict[Side, Manifest | None] = {"base": base, "ours": ours, "theirs": theirs}
    names = sorted({name for side in sides.values() if side for name in side.records}, key=str.encode)
    of = {side: manifest.records if manifest else {} for side, manifest in sides.items()}
    classes = {name: classify(of["base"].get(name), of["ours"].get(name), of["theirs"].get(name)) for name in names}
    conflicts = tuple(name for name, kind in classes.items() if kind in CONFLICTS)
    winner: dict[Class, Side] = {"theirs only": "theirs"}

    structure = _structure(base, ours, theirs)
    if structure is None or (base is None and prefer == "base"):
        whole = sides[prefer] or ours
        return Merged(whole, classes, (STRUCTURE, *conflicts) if structure is None else conflicts)
    records: dict[str, Record] = {}
    for name in names:
        side: Side = prefer if classes[name] in CONFLICTS else winner.get(classes[name], "ours")
        record = of[side].get(name)
        if record is not None:
            records[name] = record
    merged = Manifest(structure.header, records)
    if not _consistent(merged, structure):
        # A conflict about which tensors there are: undecided, so one side's file as a whole.
        return Merged(sides[prefer] or ours, classes, conflicts or (STRUCTURE,))
    return Merged(merged, classes, conflicts)


def same(a: Record | None, b: Record | None) -> bool:
    """Whether two records are of one tensor with one value, however they are stored."""
    if a is None or b is None:
        return a is b
    return _identity(a) == _identity(b)


def _identity(record: Record) -> tuple[object, ...]:
    return (record.blake3, *_geometry(record))


def _structure(base: Manifest | None, ours: Manifest, theirs: Manifest) -> Manifest | None:
    """The side whose structure the result has, or None if both changed it."""
    if ours.header.blake3 == theirs.header.blake3:
        return ours
    if base is None:
        return None
    if base.header.blake3 == ours.header.blake3:
        return theirs
    return ours if base.header.blake3 == theirs.header.blake3 else None


def _consistent(merged: Manifest, structure: Manifest) -> bool:
    """Whether the records are those of the structure: the same names, lying alike; only values may differ."""
    expected = structure.records
    return set(merged.records) == set(expected) and all(
        _geometry(record) == _geometry(expected[name]) for name, record in merged.records.items()
    )


def _geometry(record: Record) -> tuple[object, ...]:
    r = record
    return (r.dtype, r.shape, r.offset, r.stride, r.storage, r.of)
