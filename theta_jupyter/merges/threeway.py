"""A three-way merge of manifests: what settles itself, and what is left.

First it is found out which tensors are one, because a side may have renamed it. Then each tensor is in one class. What
only one side changed, and what both changed alike, settles itself. Name and value are changed apart: what one side
renamed and the other trained has the new name and the new value. A tensor that both changed, both added differently, or
one deleted and the other changed, is a conflict. What came out is put into a structure, everything that is not a tensor
(:mod:`theta_jupyter.merges.structure`), which is merged as one thing. Where none can be found, and in a file that no
plug-in understood, nothing can be mixed: then the result is one side's file as a whole, and says so. No weight is read.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from theta_jupyter.diffs.compare import compare
from theta_jupyter.merges.structure import Side, assemble, changed, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.storage.manifest import Manifest, Record
    from theta_jupyter.storage.objects import ObjectStore

__all__ = ["CONFLICTS", "STRUCTURE", "Class", "Merged", "Side", "Versions", "classify", "listed", "match", "merge"]

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
class Versions:
    """What one tensor is called on each side; None where it is not."""

    base: str | None
    ours: str | None
    theirs: str | None

    def on(self, side: Side) -> str | None:
        """Its name on one side."""
        return {"base": self.base, "ours": self.ours, "theirs": self.theirs}[side]

    def renamed(self, side: Side) -> bool:
        """Whether a side gave it another name."""
        return None not in {self.base, self.on(side)} and self.on(side) != self.base

    def result(self, prefer: Side) -> str:
        """Its name in the result: the new one, or the preferred side's if there are two."""
        new = {name for name in (self.ours, self.theirs) if name and name != self.base}
        return new.pop() if len(new) == 1 else self.on(prefer) or self.base or ""


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge.

    Parameters
    ----------
    manifest
        Valid; where nothing was decided it has what the preferred side has.
    classes
        Of every tensor that is on any side, by the name it has in the result, or would have; sorted.
    conflicts
        Names still undecided, after :data:`STRUCTURE` if that is.
    versions
        What each is called on the sides, by the same names.
    whole
        The manifest is that of the preferred side, and has nothing of the other; only with a conflict.
    lost
        If so, the tensors that the other side changed otherwise.
    """

    manifest: Manifest
    classes: Mapping[str, Class]
    conflicts: tuple[str, ...]
    versions: Mapping[str, Versions]
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
    """Say what happened to one tensor, whatever it is called; None where a side does not have it."""
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


def merge(
    base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: Side = "ours", store: ObjectStore | None = None
) -> Merged:
    """Merge two manifests over their common ancestor.

    Parameters
    ----------
    base
        None if both sides added the file.
    prefer
        The side that what is undecided is taken from, name and value, so that the result is always a whole file.
    store
        Needed where both sides changed the structure; see :func:`~theta_jupyter.merges.structure.assemble`.

    Raises
    ------
    ThetaError
        If the store is damaged, or cannot be written to; never without one.
    """
    if base is None and prefer == "base":
        prefer = "ours"
    sides: dict[Side, Manifest | None] = {"base": base, "ours": ours, "theirs": theirs}
    versions = match(base, ours, theirs, prefer)
    of = {side: _called(manifest, side, versions) for side, manifest in sides.items()}
    classes = {
        name: _class(known, classify(of["base"].get(name), of["ours"].get(name), of["theirs"].get(name)))
        for name, known in versions.items()
    }
    conflicts = tuple(name for name, kind in classes.items() if kind in CONFLICTS)
    preferred = sides[prefer] or ours

    if any(side.opaque for side in sides.values() if side):
        settled = changed(base, ours, theirs, _everything)
        if settled is not None:
            return Merged(settled, classes, (), versions)
    else:
        taken: dict[Class, Side] = {"theirs only": "theirs", **dict.fromkeys(CONFLICTS, prefer)}
        chosen = {name: of[taken.get(kind, "ours")].get(name) for name, kind in classes.items()}
        records = {name: record for name, record in chosen.items() if record is not None}
        whole = assemble(records, base, ours, theirs, prefer, store)
        if whole is not None:
            header = (STRUCTURE,) if whole.undecided else ()
            return Merged(whole.manifest, classes, (*header, *conflicts), versions)
    lost = tuple(name for name, kind in classes.items() if _is_lost(versions[name], kind, prefer))
    return Merged(preferred, classes, (STRUCTURE, *conflicts), versions, whole=True, lost=lost)


def match(base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: Side = "ours") -> dict[str, Versions]:
    """Find out which tensors of the three versions are one; by the name it has in the result, sorted."""
    to_ours, to_theirs = _renamed(base, ours), _renamed(base, theirs)
    before, here, there = (version.records if version else {} for version in (base, ours, theirs))
    # If the other side has something else of that name, nobody can say what it should be.
    ours_of = {old: new for old, new in to_ours.items() if new not in there or to_theirs.get(old) == new}
    theirs_of = {old: new for old, new in to_theirs.items() if new not in here or to_ours.get(old) == new}

    def name_in(records: Mapping[str, Record], name: str) -> str | None:
        return name if name in records else None

    found = [
        Versions(name, name_in(here, ours_of.get(name, name)), name_in(there, theirs_of.get(name, name)))
        for name in before
    ]
    added = (here.keys() - ours_of.values()) | (there.keys() - theirs_of.values())
    found += [Versions(None, name_in(here, name), name_in(there, name)) for name in added - before.keys()]
    named = {one.result(prefer): one for one in found}
    return dict(sorted(named.items(), key=lambda item: item[0].encode()))


def _called(manifest: Manifest | None, side: Side, versions: Mapping[str, Versions]) -> dict[str, Record]:
    """The tensors of a side, by the names they have in the result."""
    if manifest is None:
        return {}
    named = {one.on(side): name for name, one in versions.items()}
    return {
        named[own]: msgspec.structs.replace(record, of=named[record.of]) if record.of else record
        for own, record in manifest.records.items()
    }


def _class(one: Versions, kind: Class) -> Class:
    """The class of a tensor, by what happened to its value and to its name."""
    ours, theirs = one.renamed("ours"), one.renamed("theirs")
    if (ours and one.theirs is None) or (theirs and one.ours is None):
        return "deleted and changed"
    if ours and theirs and one.ours != one.theirs:
        return kind if kind in CONFLICTS else "both changed"
    if kind == "unchanged" and (ours or theirs):
        return "same on both" if ours and theirs else "ours only" if ours else "theirs only"
    return kind


def _is_lost(one: Versions, kind: Class, kept: Side) -> bool:
    """Whether a side's file as a whole lacks something of the others."""
    sides: tuple[Side, ...] = ("ours", "theirs")
    renamed = any(one.renamed(side) and one.on(side) != one.on(kept) for side in sides)
    return renamed or kind not in {"unchanged", "same on both", f"{kept} only"}


def _everything(manifest: Manifest) -> object:
    return manifest.header.blake3, {name: record.blake3 for name, record in manifest.records.items()}


def _renamed(base: Manifest | None, side: Manifest) -> dict[str, str]:
    """New name by old of the tensors that a side renamed.

    Zeros are everywhere: that a constant went in one place and came in another says nothing, nor do values of which
    there are several. Such a tensor was renamed if others, which can be told apart, were renamed in the same way.
    """
    if base is None or base.opaque or side.opaque:
        return {}
    gone, come = base.records.keys() - side.records.keys(), side.records.keys() - base.records.keys()
    if not gone or not come:
        return {}
    pairs = {diff.old_name: diff.name for diff in compare(base, side) if diff.status == "R"}
    before = Counter(base.owner(name).blake3 for name in gone)
    after = Counter(side.owner(name).blake3 for name in come)

    def telling(old: str, new: str) -> bool:
        a, b = base.owner(old), side.owner(new)
        return a.blake3 != b.blake3 or (before[a.blake3] == after[a.blake3] == 1 and not _constant(a))

    edits = {_edit(old, new) for old, new in pairs.items() if telling(old, new)}
    return {old: new for old, new in pairs.items() if telling(old, new) or _edit(old, new) in edits}


def _constant(record: Record) -> bool:
    """Whether all values of a tensor are of one magnitude."""
    alike = record.largest * math.sqrt(math.prod(record.shape))
    return record.norm is not None and math.isclose(record.norm, alike, rel_tol=1e-6)


def _edit(old: str, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is done to a name, part by part, to make another of it."""
    a, b = re.split("[./]", old), re.split("[./]", new)
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
    while a and b and a[0] == b[0]:
        del a[0], b[0]
    return tuple(a), tuple(b)
