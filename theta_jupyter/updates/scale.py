"""Rows, columns or all values were multiplied: IA3 (Liu et al., NeurIPS 2022) folded into the weights, a weight decay.

A factor must be within the interval that rounding leaves for every value it was applied to, so that it is found exactly
or not at all. Parameters: the axis (0 rows, 1 columns, 2 all), and the factors, as float32 where that is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.dtypes import DTYPES, from_floats, to_floats
from theta_jupyter.errors import IntegrityError
from theta_jupyter.updates.matrices import sides
from theta_jupyter.updates.parameters import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from theta_jupyter.updates.base import Tensor

__all__ = ["fit", "parameters_of", "predict"]

_ROWS, _COLUMNS, _ALL = 0, 1, 2
_SAMPLE = 24
"""Rows and columns looked at before all are."""
_BLOCK = 1 << 18


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Apply to floats of the same type and shape, most rows or columns of which have one factor."""
    kind = DTYPES[new.dtype]
    if len(bases) != 1 or bases[0][1:] != new[1:] or not kind.is_float or kind.words == 2 or kind.bits < 8:
        return None
    rows, columns = sides(new.shape)
    if rows * columns < 2:
        return None
    old, values = _matrix(bases[0], rows, columns), _matrix(new, rows, columns)
    for axis, count in ((_ALL, 1), (_ROWS, rows), (_COLUMNS, columns)):
        if axis != _ALL and rows * columns < 8 * count:
            continue  # As many factors as values explain anything.
        if _explains(axis, old, values, new.dtype, sample=True):
            factors = _factors(axis, old, values, new.dtype)[0]
            return None if np.all(factors == 1) else parameters_of(axis, factors)
    return None


def parameters_of(axis: int, factors: npt.NDArray[Any]) -> bytes:
    """Write down factors of rows (0), columns (1) or all (2)."""
    single = factors.astype("<f4")
    return pack(np.array(axis, "u1"), single if np.array_equal(single, factors) else factors.astype("<f8"))


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:
    """Multiply the base, in double precision, and round once."""
    rows, columns = sides(shape)
    try:
        axis, factors = unpack(parameters, ["u1", "f4"], 8 * max(rows, columns))
    except IntegrityError:
        axis, factors = unpack(parameters, ["u1", "f8"], 8 * max(rows, columns))
    counts = {_ROWS: rows, _COLUMNS: columns, _ALL: 1}
    if axis.shape or int(axis) not in counts or factors.shape != (counts[int(axis)],):
        raise IntegrityError("factors do not fit the tensor")
    wide = factors.astype(np.float64)
    if int(axis) == _ROWS:
        wide = wide[:, None]
    old, step = _matrix(bases[0], rows, columns), max(1, _BLOCK // columns)
    return memoryview(
        b"".join(
            from_floats(
                (old[start : start + step] * (wide[start : start + step] if int(axis) == _ROWS else wide)), dtype
            )
            for start in range(0, rows, step)
        )
    )


def _matrix(tensor: Tensor, rows: int, columns: int) -> npt.NDArray[Any]:
    return to_floats(tensor.data, tensor.dtype).reshape(rows, columns)


def _explains(axis: int, old: npt.NDArray[Any], new: npt.NDArray[Any], dtype: str, *, sample: bool) -> bool:
    """Whether factors explain most of some rows or columns, or a sample of all values."""
    if sample and axis == _ROWS:
        chosen = np.linspace(0, len(old) - 1, _SAMPLE).astype(np.intp)
        old, new = old[chosen], new[chosen]
    elif sample and axis == _COLUMNS:
        chosen = np.linspace(0, old.shape[1] - 1, _SAMPLE).astype(np.intp)
        old, new = old[:, chosen], new[:, chosen]
    elif sample:
        step = old.size >> 12 | 1  # Odd, so that it does not fall on one column again and again.
        old, new = old.reshape(1, -1)[:, ::step], new.reshape(1, -1)[:, ::step]
    factors, sound = _factors(axis, old, new, dtype)
    return bool(np.mean(sound) > 0.75 and np.any(factors != 1))


def _factors(
    axis: int, old: npt.NDArray[Any], new: npt.NDArray[Any], dtype: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The factor of each row, each column, or all values; and whether one explains them.

    A float32 value is chosen where the interval has one, because factors are trained in it.
    """
    step = max(1, _BLOCK // max(1, old.shape[1]))
    bounds = [_bounds(axis, old[i : i + step], new[i : i + step], dtype) for i in range(0, len(old), step)]
    lows, highs = ([pair[side] for pair in bounds] for side in (0, 1))
    if axis == _ROWS:
        low, high = np.concatenate(lows), np.concatenate(highs)
    else:
        low, high = np.max(lows, axis=0), np.min(highs, axis=0)
    with np.errstate(all="ignore"):
        middle = (low + high) / 2
        single = middle.astype(np.float32).astype(np.float64)
        # The bounds are themselves a little off, by rounding in double precision.
        sound = (low <= high + np.abs(high) * 1e-12) & np.isfinite(low)
    factor = np.where((single >= low) & (single <= high), single, middle)
    return np.atleast_1d(np.where(sound & np.isfinite(factor), factor, 1.0)), np.atleast_1d(sound)


def _bounds(
    axis: int, old: npt.NDArray[Any], new: npt.NDArray[Any], dtype: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Between what the factor of each row, each column, or all values must be."""
    across: Any = {_ROWS: 1, _COLUMNS: 0, _ALL: None}[axis]
    kind = DTYPES[dtype]
    with np.errstate(all="ignore"):
        before, after = old.astype(np.float64), new.astype(np.float64)
        ratio = after / before
        # Rounding moves a value by half a unit in its last place at most; a subnormal one by more, so it says nothing.
        told = (np.abs(after) >= kind.smallest) & np.isfinite(ratio) & (np.abs(before) >= kind.smallest)
        slack = np.abs(ratio) * 2.0 ** -(kind.mantissa + 1)
        low = np.max(np.where(told, ratio - slack, -np.inf), axis=across)
        high = np.min(np.where(told, ratio + slack, np.inf), axis=across)
    return low, high
