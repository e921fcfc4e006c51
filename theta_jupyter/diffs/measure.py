"""The exact change of one tensor, from the bytes of its two versions.

What is measured is one pass over both, block by block, in double precision: the size of the change, its largest value,
the angle, how many values changed at all. Histograms and singular values, which cost more and are looked at one tensor
at a time, are in :mod:`theta_jupyter.diffs.detail`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.dtypes import DTYPES, to_array, to_floats
from theta_jupyter.storage.sketch import fixed_arithmetic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

__all__ = ["Exact", "measure"]

_BLOCK = 1 << 15
"""Values at a time: they stay in a processor's own cache."""
_PIECE = 1 << 13

_DOUBLE = frozenset({"F64", "C128"})
"""Types whose squares and products may overflow or vanish in double precision."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Two versions of a tensor, measured.

    Parameters
    ----------
    norm
        L2 norm of the old version.
    l2, largest
        L2 norm, and largest magnitude, of the difference.
    cosine
        Of the angle between the versions; None if one of them is zero.
    changed
        Share of values whose bits differ; across types, whose values do.
    flips
        Share of values that went from one side of zero to the other.

    Values that are not finite in either version count in ``changed`` only.
    """

    norm: float
    l2: float
    largest: float
    cosine: float | None
    changed: float
    flips: float = 0.0


def measure(old: memoryview, new: memoryview, dtype: str, old_dtype: str = "") -> Exact:
    """Measure the change between the bytes of two versions with equally many values.

    Sums are in double precision, block by block; values are scaled by a power of two, so that none overflows.
    """
    old_dtype = old_dtype or dtype
    words = max(DTYPES[kind].words for kind in (old_dtype, dtype))
    with fixed_arithmetic():
        scale = max(_scale(old, old_dtype), _scale(new, dtype)) or 1.0
        double = not {old_dtype, dtype}.isdisjoint(_DOUBLE)
        squares = differences = products = others = largest = 0.0
        flips = changed = 0
        x, y, difference = (np.empty(_BLOCK * words) for _ in range(3))
        for one, two in _blocks(old, new, old_dtype, dtype):
            a, b = _paired(to_floats(one, old_dtype), to_floats(two, dtype))
            changed += _changed(one, two, dtype) if old_dtype == dtype else _unlike(a, b, words)
            x, y, difference = x[: a.size], y[: a.size], difference[: a.size]
            x[:], y[:] = a, b
            if scale != 1.0:
                x /= scale
                y /= scale
            np.subtract(y, x, out=difference)
            total = _square(difference)
            if not math.isfinite(total):  # Scaled, no sum overflows: there is a value that is not finite.
                finite = np.isfinite(x) & np.isfinite(y)
                x[~finite] = y[~finite] = 0.0
                np.subtract(y, x, out=difference)
                total = _square(difference)
            differences += total
            squares += _square(x)
            others += _square(y)
            largest = max(largest, float(difference.max()), -float(difference.min()))
            np.multiply(x, y, out=difference)
            products += float(difference.sum())
            flips += _flips(a, b) if double else int(np.count_nonzero(difference < 0))
    count = max(1, len(new) * 8 // DTYPES[dtype].bits)
    lengths = math.sqrt(squares) * math.sqrt(others)
    cosine = max(-1.0, min(1.0, products / lengths)) if lengths else None
    sizes = (scale * math.sqrt(squares), scale * math.sqrt(differences), scale * largest)
    return Exact(*sizes, cosine, changed / count, flips / (count * words))


def _blocks(old: memoryview, new: memoryview, old_dtype: str, dtype: str) -> Iterator[tuple[memoryview, memoryview]]:
    """Both versions, cut at the same values."""
    a, b = (_BLOCK * DTYPES[kind].bits // 8 for kind in (old_dtype, dtype))
    for index in range(-(-len(new) // b)):
        yield old[index * a : (index + 1) * a], new[index * b : (index + 1) * b]


def _square(values: npt.NDArray[np.float64]) -> float:
    """The sum of the squares. It need not have the same bits everywhere, so BLAS may add it up.

    In pieces: given more, BLAS would start threads of its own beside ours, which costs more than it gains.
    """
    whole = len(values) // _PIECE * _PIECE
    pieces = values[:whole].reshape(-1, 1, _PIECE)
    rest = values[whole:]
    return float(np.sum(pieces @ pieces.transpose(0, 2, 1))) + float(np.dot(rest, rest))


def _scale(data: memoryview, dtype: str) -> float:
    """A power of two near the largest value, where squares might overflow or vanish; only doubles reach that far."""
    if dtype not in _DOUBLE or not len(data):
        return 0.0
    values = to_floats(data, dtype)
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    return 2.0 ** (math.frexp(largest)[1] - 1) if largest else 0.0


def _flips(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    """How many values changed sides, also where their product is too small for a double."""
    return int(np.count_nonzero((np.sign(a) * np.sign(b) < 0) & np.isfinite(a) & np.isfinite(b)))


def _changed(old: memoryview, new: memoryview, dtype: str) -> int:
    """How many values have other bits."""
    bits = DTYPES[dtype].bits
    if bits < 8:
        a, b = (to_array(data, dtype, (len(data) * 8 // bits,)).view(np.uint8) for data in (old, new))
        return int(np.count_nonzero(a != b))
    words = np.dtype(f"u{min(8, bits // 8)}")
    unlike = np.frombuffer(old, words) != np.frombuffer(new, words)
    return int(np.count_nonzero(unlike.reshape(-1, 2).any(axis=1) if bits > 64 else unlike))


def _unlike(a: npt.NDArray[Any], b: npt.NDArray[Any], words: int) -> int:
    """How many values of so many numbers differ, across types."""
    unlike = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return int(np.count_nonzero(unlike.reshape(-1, words).any(axis=1)))


def _paired(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Numbers that stand for the same places; a real number beside a complex one has an imaginary part of zero."""
    if a.size == b.size:
        return a, b
    first, second = (
        side if side.size == max(a.size, b.size) else np.stack([side, np.zeros_like(side)], axis=1).reshape(-1)
        for side in (a, b)
    )
    return first, second
