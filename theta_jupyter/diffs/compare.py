"""Compare two manifests, tensor by tensor.

The first answer comes from the manifests alone: which tensors were added, removed, renamed, reshaped, recast or
changed, and, from their sketches, about how much. No weight is read for it, however large the model. What is measured
afterwards (:mod:`theta_jupyter.diffs.measure`) takes the place of an estimate with :func:`with_exact`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from theta_jupyter.dtypes import nbytes
from theta_jupyter.storage.sketch import distance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from theta_jupyter.diffs.measure import Exact
    from theta_jupyter.storage.manifest import Manifest, Record

__all__ = ["Status", "TensorDiff", "compare", "overall", "with_exact"]

Status = Literal["", "A", "M", "D", "R", "S", "T"]
"""Unchanged, added, changed, deleted, renamed, reshaped, recast (another dtype)."""

ALIKE = 0.3
"""A tensor that came and one that went, of one shape and type, are one that was renamed and changed if the change is
about at most this much of its norm; two tensors that have nothing to do with each other are 1.4 apart."""
PAIRS = 1 << 22
"""Candidates for renaming that are compared at most, by shape and type: a limit for models made of alike tensors."""


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """One tensor in two versions.

    Parameters
    ----------
    name
        In the new version, or in the old one if it was deleted.
    status
        See :data:`Status`.
    shape, dtype
        In the new version, or the old one if it was deleted.
    size
        Number of values.
    old_name, old_shape, old_dtype
        Where they differ; else empty or None.
    norm
        L2 norm of the old version.
    l2
        L2 norm of the difference; None where it is not known or makes no sense.
    estimated
        Whether ``l2`` comes from sketches (standard error about 9 %).
    largest
        Largest magnitude of a difference; None until measured.
    cosine
        Of the angle between the two versions; None until measured.
    changed
        Share of values whose bits differ; None until measured.
    update
        How the new version is stored.
    stored
        Bytes it takes, of its own.
    not_finite
        How many values of the new version are NaN or infinite: no other number here says so.
    """

    name: str
    status: Status
    shape: tuple[int, ...]
    dtype: str
    size: int
    old_name: str = ""
    old_shape: tuple[int, ...] | None = None
    old_dtype: str = ""
    norm: float | None = None
    l2: float | None = None
    estimated: bool = False
    largest: float | None = None
    cosine: float | None = None
    changed: float | None = None
    update: str = ""
    stored: int = 0
    not_finite: int = 0

    @property
    def relative(self) -> float | None:
        """The size of the change over the size of what was: ``|new - old| / |old|``; infinite if that was zero."""
        return None if self.l2 is None or self.norm is None else _ratio(self.l2, self.norm)


def compare(old: Manifest | None, new: Manifest | None) -> tuple[TensorDiff, ...]:
    """Compare two versions of a file; None where there is none.

    Returns
    -------
    tuple of TensorDiff
        One for every tensor of either, sorted by name, unchanged ones included.
    """
    before = dict(old.records) if old else {}
    after = dict(new.records) if new else {}
    renamed = _renamed(old, new)
    found = []
    for name, record in after.items():
        source = renamed.get(name, name)
        if source in before and old and new:
            found.append(_pair(source, name, old, new))
        else:
            found.append(_alone(name, record, "A", new))
    gone = before.keys() - after.keys() - set(renamed.values())
    found += [_alone(name, before[name], "D", old) for name in gone]
    return tuple(sorted(found, key=lambda diff: diff.name.encode()))


def with_exact(diffs: Iterable[TensorDiff], exacts: Mapping[str, Exact]) -> tuple[TensorDiff, ...]:
    """Replace estimates by what was measured, by name.

    A tensor that only lies otherwise in its file, with every value the same, turns out to be unchanged.
    """
    return tuple(_with(diff, exacts[diff.name]) if diff.name in exacts else diff for diff in diffs)


def _with(diff: TensorDiff, exact: Exact) -> TensorDiff:
    same = diff.status == "M" and exact.changed == 0
    return replace(
        diff,
        status="" if same else diff.status,
        norm=exact.norm,
        l2=exact.l2,
        estimated=False,
        largest=exact.largest,
        cosine=exact.cosine,
        changed=exact.changed,
    )


def overall(diffs: Iterable[TensorDiff]) -> tuple[float | None, bool]:
    """The relative change of many tensors as one vector, or None if it is not known; and whether it is estimated."""
    group = list(diffs)
    known = [diff for diff in group if diff.relative is not None]
    unknown = any(diff.status and diff.relative is None for diff in group)
    estimated = unknown or any(diff.estimated for diff in known)
    if not known or (unknown and not any(diff.status for diff in known)):
        return None, estimated
    # Unlike a sum of squares, hypot does not overflow.
    l2 = math.hypot(*(diff.l2 or 0.0 for diff in known))
    norm = math.hypot(*(diff.norm or 0.0 for diff in known))
    return _ratio(l2, norm), estimated


def _pair(source: str, name: str, old: Manifest, new: Manifest) -> TensorDiff:
    a, b = old.records[source], new.records[name]
    before, after = old.owner(source), new.owner(name)
    alike = (a.offset, a.stride, a.shape) == (b.offset, b.stride, b.shape)
    unchanged = before.blake3 == after.blake3 and alike and a.dtype == b.dtype
    status: Status = "" if unchanged else "M"
    if a.shape != b.shape:
        status = "S"
    elif a.dtype != b.dtype:
        status = "T"
    elif source != name:
        status = "R"
    diff = replace(
        _alone(name, b, status, new),
        old_name=source if source != name else "",
        old_shape=a.shape if a.shape != b.shape else None,
        old_dtype=a.dtype if a.dtype != b.dtype else "",
        norm=before.norm if nbytes(a.dtype, a.shape) == before.nbytes else None,
    )
    if unchanged:
        return replace(diff, l2=0.0)
    whole = diff.norm is not None and nbytes(b.dtype, b.shape) == after.nbytes
    if alike and whole and before.sketch and after.sketch:
        return replace(diff, l2=distance(before.sketch, after.sketch), estimated=True)
    return diff


def _ratio(change: float, norm: float) -> float | None:
    if math.isinf(norm):
        return None  # Both may be beyond what a number can say.
    return change / norm if norm else (math.inf if change else 0.0)


def _alone(name: str, record: Record, status: Status, manifest: Manifest | None) -> TensorDiff:
    own = record.nodes[-1].place.stored if record.nodes else 0
    # What was only surveyed is not stored, nor is a tensor without values.
    owner = manifest.owner(name) if manifest else record
    update = record.update if manifest and owner.nodes else ""
    size = math.prod(record.shape)
    # What is known of a storage is known of a tensor that is all of it.
    covers = status != "D" and nbytes(record.dtype, record.shape) == owner.nbytes
    strange = owner.not_finite if covers else 0
    return TensorDiff(name, status, record.shape, record.dtype, size, update=update, stored=own, not_finite=strange)


def _renamed(old: Manifest | None, new: Manifest | None) -> dict[str, str]:
    """Old name by new name, of tensors that moved: first those of the same value, then those of nearly the same."""
    if old is None or new is None:
        return {}
    gone: dict[tuple[object, ...], list[str]] = {}
    for name in old.records:
        if name not in new.records and old.owner(name).nbytes:
            gone.setdefault(_value(old, name), []).append(name)
    found = {}
    for name in new.records:
        if name not in old.records and gone.get(_value(new, name)):
            found[name] = gone[_value(new, name)].pop(0)
    left = {name: old.records[name] for names in gone.values() for name in names}
    come = {name: r for name, r in new.records.items() if name not in old.records and name not in found}
    return found | _resembling(left, come)


def _value(manifest: Manifest, name: str) -> tuple[object, ...]:
    """What two tensors share that are the same bit for bit."""
    record = manifest.records[name]
    return manifest.owner(name).blake3, record.dtype, record.shape, record.offset, record.stride


def _resembling(gone: Mapping[str, Record], come: Mapping[str, Record]) -> dict[str, str]:
    """Old name by new name, where the sketches of two tensors of one kind are each other's nearest, and near."""
    kinds: dict[tuple[str, tuple[int, ...]], tuple[list[str], list[str]]] = {}
    for side, records in enumerate((gone, come)):
        for name, record in records.items():
            # A sketch is of a storage; only a tensor that is all of it is what the sketch says.
            if record.sketch and record.norm and record.stride is None and record.storage is None:
                kinds.setdefault((record.dtype, record.shape), ([], []))[side].append(name)
    found = {}
    for before, after in kinds.values():
        if not before or not after or len(before) * len(after) > PAIRS:
            continue
        a = np.array([gone[name].sketch for name in before], np.float64)
        b = np.array([come[name].sketch for name in after], np.float64)
        # In blocks: all differences at once may not fit in memory.
        far = np.array([np.sqrt(np.square(b - row).sum(axis=1)) for row in a])
        far /= np.array([gone[name].norm for name in before])[:, None]
        nearest, reverse = far.argmin(axis=1), far.argmin(axis=0)
        for row, column in enumerate(nearest):
            if reverse[column] == row and far[row, column] <= ALIKE:
                found[after[column]] = before[row]
    return found
