"""A linear combination of stored tensors: an average, task arithmetic, a moving average of weights.

Coefficients are fitted on a sample, and taken to be what somebody would have typed where that fits as well. A merge is
computed in one of a few ways, which differ in where they round; the one that the sample shows is written down, so that
a merge of stored versions is usually predicted with no value wrong. (Wortsman et al., "Model soups", ICML 2022; Ilharco
et al., "Editing models with task arithmetic", ICLR 2023.)

Parameters: the form, the precision, and a coefficient for each base.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from theta_jupyter.dtypes import DTYPES, from_floats, to_floats
from theta_jupyter.errors import IntegrityError
from theta_jupyter.updates.blas import one_thread
from theta_jupyter.updates.parameters import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from theta_jupyter.updates.base import Tensor

    Floats = npt.NDArray[np.floating[Any]]

__all__ = ["choose", "fit", "predict"]

_SUM, _FUSED, _CHANGES, _CHANGES_ONCE, _MEAN = range(5)
"""Forms: coefficients times bases, added up; the same, each product and its sum rounded once; the first base, and
coefficients times what the others differ from it; the same, with one coefficient for the sum of the differences; the
sum of the bases, divided by their number."""
_DOUBLE, _SINGLE, _OWN = range(3)
"""Where to round: nowhere but at the end, to float32 after every operation, or to the tensor's own type."""
_MOST = 4
"""Bases combined at most."""
_SAMPLE = 1 << 13
_CLOSE = 0.9
"""Share of sampled values that must be close."""
_BETTER = 0.85
"""Another choice of bases, or one more of them, must bring the error down to this share."""
_NEAR = 3.0
"""Units in the last place that count as close: what rounding after every operation may do."""
_BLOCK = 1 << 17


def choose(bases: Sequence[Tensor], new: Tensor) -> Sequence[int] | None:
    """Find the fewest bases of which the tensor is a combination."""
    kind = DTYPES[new.dtype]
    if len(bases) < 2 or not kind.is_float or kind.bits < 8:
        return None
    target = _sample(new)
    rows = [_sample(base) for base in bases]
    unit = _units(target, new.dtype)
    best: tuple[float, tuple[int, ...] | None] = (math.inf, None)
    for count in range(2, min(_MOST, len(bases)) + 1):
        for chosen in combinations(range(len(bases)), count):
            found = _solve([rows[index] for index in chosen], target, unit)
            if found is None or found.close < _CLOSE or np.any(np.abs(found.coefficients) < 1e-6):
                continue
            if found.error < _BETTER * best[0]:
                best = found.error, chosen
    return best[1]


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Find coefficients, and how the combination was computed."""
    kind = DTYPES[new.dtype]
    alike = all(base[1:] == new[1:] for base in bases)
    if len(bases) < 2 or len(bases) > _MOST or not alike or not kind.is_float or kind.bits < 8:
        return None
    target, rows = _sample(new), [_sample(base) for base in bases]
    found = _solve(rows, target, _units(target, new.dtype))
    if found is None or found.close < _CLOSE:
        return None
    wanted = np.frombuffer(from_floats(target, new.dtype), f"<u{kind.word_bytes}")
    best: tuple[int, bytes] | None = None
    for order, recipe in _recipes(found, new.dtype):
        guess = _evaluate(*recipe, [rows[index] for index in order], new.dtype)
        wrong = int(np.count_nonzero(np.frombuffer(guess, wanted.dtype) != wanted))
        if best is None or wrong < best[0]:
            form, precision, coefficients = recipe
            body = np.array([form, precision, *order], "u1"), np.array(coefficients, "<f8")
            best = wrong, pack(*body)
        if best[0] == 0:
            break
    return best and best[1]


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:  # noqa: ARG001 - the shape of an update
    """Combine the bases, elementwise and in a fixed order."""
    codes, coefficients = unpack(parameters, ["u1", "f8"], 1 << 10)
    if codes.ndim != 1 or codes.size != 2 + len(bases) or coefficients.shape != (len(bases),):
        raise IntegrityError("coefficients do not fit the bases")
    form, precision, *order = codes.tolist()
    if sorted(order) != list(range(len(bases))) or form > _MEAN or precision > _OWN:
        raise IntegrityError("the combination is of no kind that is known")
    if any(base.dtype != dtype or len(base.data) != len(bases[0].data) for base in bases):
        raise IntegrityError("bases that are combined must be alike")
    step = _BLOCK * DTYPES[dtype].word_bytes * DTYPES[dtype].words
    parts = []
    for start in range(0, len(bases[0].data), step):
        rows = [to_floats(bases[index].data[start : start + step], dtype) for index in order]
        parts.append(_evaluate(form, precision, coefficients.tolist(), rows, dtype))
    return memoryview(b"".join(parts))


def _sample(tensor: Tensor) -> Floats:
    values = to_floats(tensor.data, tensor.dtype)
    return values[:: values.size // _SAMPLE | 1]  # Odd, so that it does not fall on one column again and again.


def _units(values: Floats, dtype: str) -> npt.NDArray[np.float64]:
    """The unit in the last place of each value."""
    kind = DTYPES[dtype]
    with np.errstate(all="ignore"):
        _, exponents = np.frexp(np.maximum(np.abs(values.astype(np.float64)), kind.smallest))
    units: npt.NDArray[np.float64] = np.ldexp(1.0, exponents - 1 - kind.mantissa)
    # A value next to zero may be the difference of two that are not, and knows no better than they.
    return np.maximum(units, np.median(units) / 64)


class _Solution(NamedTuple):
    """Coefficients by least squares.

    Parameters
    ----------
    close
        Share of the values that they bring close.
    error
        How far off the values are, in units in the last place, on average.
    doubt
        How much the coefficients may be off.
    """

    coefficients: npt.NDArray[np.float64]
    close: float
    error: float
    doubt: float


def _solve(rows: Sequence[Floats], target: Floats, unit: npt.NDArray[np.float64]) -> _Solution | None:
    """Fit coefficients to a sample."""
    matrix, wanted = np.array(rows, np.float64), target.astype(np.float64)
    finite = np.isfinite(matrix).all(axis=0) & np.isfinite(wanted)
    if np.count_nonzero(finite) < 4 * len(rows):
        return None
    matrix, wanted, unit = matrix[:, finite], wanted[finite], unit[finite]
    # Weighted, so that what is small and precise counts as much as what is large and rounded.
    weighted = matrix / unit
    try:
        with one_thread():
            found = np.linalg.lstsq(weighted.T, wanted / unit, rcond=1e-12)[0].astype(np.float64)
    except np.linalg.LinAlgError:
        return None
    errors = np.abs(found @ weighted - wanted / unit)
    # Without the outliers, of which a single one says much too much.
    kept = errors <= 4 * np.median(errors) + 1
    with one_thread():
        weakest = float(np.linalg.svd(weighted[:, kept], compute_uv=False)[-1])
    doubt = 5 * float(np.std(errors[kept])) / weakest if weakest > 0 else 1.0
    return _Solution(found, float(np.mean(errors <= _NEAR)), float(np.mean(errors[kept])), doubt)


def _recipes(found: _Solution, dtype: str) -> Iterator[tuple[tuple[int, ...], tuple[int, int, list[float]]]]:
    """Ways in which somebody may have computed it, the likeliest first: an order of the bases, and the rest."""
    precisions = [_SINGLE, _DOUBLE] if dtype != "F64" else [_DOUBLE]
    precisions += [_OWN] if DTYPES[dtype].word_bytes < 4 else []
    plain = tuple(range(len(found.coefficients)))
    for coefficients in _typed(found.coefficients, found.doubt):
        equal = len(set(coefficients)) == 1
        whole = abs(sum(coefficients) - 1) < 1e-9
        for precision in precisions:
            for order in permutations(plain):
                ordered = [coefficients[index] for index in order]
                if equal and abs(ordered[0] * len(ordered) - 1) < 1e-9:
                    yield order, (_MEAN, precision, ordered)
                if whole:
                    yield order, (_CHANGES, precision, ordered)
                    if len(ordered) > 2 and len(set(ordered[1:])) == 1:
                        yield order, (_CHANGES_ONCE, precision, ordered)
                yield order, (_SUM, precision, ordered)
                if precision != _DOUBLE:
                    yield order, (_FUSED, precision, ordered)


def _typed(found: npt.NDArray[np.float64], doubt: float) -> Iterator[list[float]]:
    """Coefficients as somebody may have typed them, and as they were found."""
    seen = set()
    off = min(max(2e-4, doubt), 0.02)
    for digits in (1, 2, 3, 4, 5, 6):
        rounded = tuple(round(float(value), digits) for value in found)
        if np.allclose(rounded, found, rtol=0, atol=off) and rounded not in seen:
            seen.add(rounded)
            yield list(rounded)
    fractions = tuple(float(Fraction(float(value)).limit_denominator(12)) for value in found)
    if np.allclose(fractions, found, rtol=0, atol=off) and fractions not in seen:
        yield list(fractions)
    yield [float(value) for value in found]


def _evaluate(form: int, precision: int, coefficients: Sequence[float], rows: Sequence[Floats], dtype: str) -> bytes:
    """Compute a combination as a recipe says, and round it to the type."""
    real: Any = np.float64 if precision == _DOUBLE or dtype in {"F64", "C128"} else np.float32
    factors = [real(value) for value in coefficients]
    r = _rounding(precision, dtype)
    first, *others = (row.astype(real, copy=False) for row in rows)
    if form == _MEAN:
        total = first
        for row in others:
            total = r(total + row)
        return from_floats(total / real(len(rows)), dtype)
    if form == _CHANGES:
        total = first
        for factor, row in zip(factors[1:], others, strict=True):
            total = r(total + r(factor * r(row - first)))
        return from_floats(total, dtype)
    if form == _CHANGES_ONCE:
        total = np.zeros_like(first)
        for row in others:
            total = r(total + r(row - first))
        return from_floats(r(first + r(factors[1] * total)), dtype)
    total = r(factors[0] * first)
    for factor, row in zip(factors[1:], others, strict=True):
        if form == _FUSED:
            # A product of two float32 is exact in double precision.
            total = r((total.astype(np.float64) + np.float64(factor) * row.astype(np.float64)).astype(real))
        else:
            total = r(total + r(factor * row))
    return from_floats(total, dtype)


def _rounding(precision: int, dtype: str) -> Callable[[Floats], Floats]:
    if precision != _OWN:
        return lambda values: values
    return lambda values: to_floats(from_floats(values, dtype), dtype)
