"""Compare two manifests, tensor by tensor.

The first answer comes from the manifests alone: which tensors were added, removed, renamed, reshaped, recast or
changed, and, from their sketches, about how much. No weight is read for it, however large the model. :func:`measure`
gives the exact answer for one tensor from its two versions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from theta_jupyter.dtypes import DTYPES, nbytes, to_array, to_floats
from theta_jupyter.storage.sketch import distance, fixed_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from theta_jupyter.storage.manifest import Manifest, Record

__all__ = ["Exact", "Status", "TensorDiff", "compare", "measure", "overall", "with_exact"]

Status = Literal["", "A", "M", "D", "R", "S", "T"]
"""Unchanged, added, changed, deleted, renamed, reshaped, recast (another dtype)."""

_BLOCK = 1 << 20


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

    @property
    def relative(self) -> float | None:
        """The size of the change over the size of what was: ``|new - old| / |old|``."""
        return None if self.l2 is None or self.norm is None else _ratio(self.l2, self.norm)


@dataclass(frozen=True, slots=True)
class Exact:
    """Two versions of a tensor, measured.

    Values that are not finite in either version count in ``changed`` only.
    """

    norm: float
    l2: float
    largest: float
    cosine: float | None
    changed: float


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
            found.append(_alone(name, record, "A"))
    gone = before.keys() - after.keys() - set(renamed.values())
    found += [_alone(name, before[name], "D") for name in gone]
    return tuple(sorted(found, key=lambda diff: diff.name.encode()))


def measure(old: memoryview, new: memoryview, dtype: str, old_dtype: str = "") -> Exact:
    """Measure the change between the bytes of two versions with equally many values.

    Sums are in double precision, block by block; values are scaled by a power of two, so that none overflows.
    """
    with fixed_arithmetic():
        a, b = to_floats(old, old_dtype or dtype), to_floats(new, dtype)
        scale = max(_scale(a), _scale(b)) or 1.0
        squares = differences = products = others = largest = 0.0
        for start in range(0, b.size, _BLOCK):
            x, y = (part[start : start + _BLOCK].astype(np.float64) for part in (a, b))
            finite = np.isfinite(x) & np.isfinite(y)
            x, y = np.where(finite, x, 0.0) / scale, np.where(finite, y, 0.0) / scale
            difference = y - x
            squares += float(np.sum(x * x))
            others += float(np.sum(y * y))
            products += float(np.sum(x * y))
            differences += float(np.sum(difference * difference))
            largest = max(largest, float(np.max(np.abs(difference))))
        changed = _changed(old, new, dtype) if old_dtype in {"", dtype} else _unlike(a, b)
    lengths = math.sqrt(squares) * math.sqrt(others)
    cosine = max(-1.0, min(1.0, products / lengths)) if lengths else None
    return Exact(scale * math.sqrt(squares), scale * math.sqrt(differences), scale * largest, cosine, changed)


def with_exact(diffs: Iterable[TensorDiff], read: Callable[[TensorDiff], Exact | None]) -> tuple[TensorDiff, ...]:
    """Replace estimates by what ``read`` measures, where it gives something."""
    found = []
    for diff in diffs:
        exact = read(diff)
        if exact is None:
            found.append(diff)
        else:
            found.append(
                replace(
                    diff,
                    norm=exact.norm,
                    l2=exact.l2,
                    estimated=False,
                    largest=exact.largest,
                    cosine=exact.cosine,
                    changed=exact.changed,
                )
            )
    return tuple(found)


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
        _alone(name, b, status),
        old_name=source if source != name else "",
        old_shape=a.shape if a.shape != b.shape else None,
        old_dtype=a.dtype if a.dtype != b.dtype else "",
        # What is known of a storage is known of a tensor that is all of it.
        norm=before.norm if nbytes(a.dtype, a.shape) == before.nbytes else None,
    )
    if unchanged:
        return replace(diff, l2=0.0)
    whole = diff.norm is not None and nbytes(b.dtype, b.shape) == after.nbytes
    if alike and whole and before.sketch and after.sketch:
        return replace(diff, l2=distance(before.sketch, after.sketch), estimated=True)
    return diff


def _ratio(change: float, norm: float) -> float:
    return change / norm if norm else (math.inf if change else 0.0)


def _scale(values: npt.NDArray[np.floating[Any]]) -> float:
    """A power of two near the largest value, where squares might overflow or vanish; only doubles reach that far."""
    if values.dtype != np.float64 or not values.size:
        return 0.0
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    return 2.0 ** (math.frexp(largest)[1] - 1) if largest else 0.0


def _changed(old: memoryview, new: memoryview, dtype: str) -> float:
    """The share of values whose bits differ."""
    a, b = (_bits(data, dtype) for data in (old, new))
    blocks = range(0, len(b), _BLOCK)
    return sum(int((a[i : i + _BLOCK] != b[i : i + _BLOCK]).any(axis=1).sum()) for i in blocks) / max(1, len(b))


def _unlike(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The share of values that differ, across types."""
    return int(np.count_nonzero((a != b) & ~(np.isnan(a) & np.isnan(b)))) / max(1, b.size)


def _bits(data: memoryview, dtype: str) -> npt.NDArray[np.uint8]:
    """The bytes of each value, a row a value; one of fewer than 8 bits has a byte of its own."""
    bits = DTYPES[dtype].bits
    if bits < 8:
        return to_array(data, dtype, (len(data) * 8 // bits,)).view(np.uint8).reshape(-1, 1)
    return np.frombuffer(data, np.uint8).reshape(-1, bits // 8)


def _alone(name: str, record: Record, status: Status) -> TensorDiff:
    own = record.nodes[-1].place.stored if record.nodes else 0
    return TensorDiff(
        name, status, record.shape, record.dtype, math.prod(record.shape), update=record.update, stored=own
    )


def _renamed(old: Manifest | None, new: Manifest | None) -> dict[str, str]:
    """Old name by new name, of tensors that moved with their value unchanged."""
    if old is None or new is None:
        return {}
    gone: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for name, record in old.records.items():
        if name not in new.records and record.blake3 and record.nbytes:
            gone.setdefault((record.blake3, record.dtype, record.shape), []).append(name)
    found = {}
    for name, record in new.records.items():
        if name not in old.records and gone.get((record.blake3, record.dtype, record.shape)):
            found[name] = gone[record.blake3, record.dtype, record.shape].pop(0)
    return found
