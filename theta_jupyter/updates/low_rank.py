"""The change is a product of two thin matrices: LoRA (Hu et al., ICLR 2022) folded into the weights.

Nobody need say so. The difference of a few rows shows whether few directions explain all of it but what rounding adds;
only then the difference as a whole is looked at, by a randomised range finder (Halko, Martinsson & Tropp, SIAM Review
2011), some rows at a time, so that it is never in memory.

A product of float matrices is not the same on every machine. So the factors are integers, of 22 to 26 bits for float32:
all products and sums stay below 2^53, exact in double precision in whatever order they are added. Parameters: the
exponent of their common scale, and the factors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.dtypes import DTYPES, from_floats, to_floats
from theta_jupyter.errors import IntegrityError
from theta_jupyter.updates.blas import one_thread
from theta_jupyter.updates.matrices import sides
from theta_jupyter.updates.parameters import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from theta_jupyter.updates.base import Tensor

    Matrix = npt.NDArray[np.floating[Any]]

__all__ = ["MAX_RANK", "fit", "parameters_of", "predict"]

MAX_RANK = 512
"""Beyond it factors would have too few bits; and a dense update is smaller."""

_ROWS = 192
"""Rows of the difference that are looked at first."""
_EXTRA = 8
"""Directions tried beyond those that are expected."""
_BLOCK = 1 << 20
"""Values of the difference in memory at once."""
_LEFT_OVER = 9.0
"""What directions do not explain may be so many times what rounding does."""
_GAP = 2.0
"""Directions end where the next explains so many times less; if nowhere, where noise begins."""
_SHARE = 0.5
"""What directions explain is at least this share of the change: rounding to few bits has directions, too."""
_ABOVE = 1.15
"""A direction counts if it is so many times the largest that noise would have."""


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Apply to floats of the same type and shape, whose difference is of low rank but for rounding."""
    kind = DTYPES[new.dtype]
    if len(bases) != 1 or bases[0][1:] != new[1:] or not kind.is_float or kind.words == 2 or kind.bits < 8:
        return None
    change = _Change(bases[0], new)
    if min(change.rows, change.columns) < 16:
        return None
    with np.errstate(all="ignore"), one_thread():
        rank = _expected(change)
        if rank is None:
            return None
        factors = _factors(change, rank)
    return parameters_of(*factors, new.dtype) if factors else None


def parameters_of(left: Matrix, right: Matrix, dtype: str) -> bytes | None:
    """Write down factors, whose product is the change, as integers of as many bits as the type can tell.

    Parameters
    ----------
    left, right
        Of shape (rows, rank) and (rank, columns).

    Returns
    -------
    bytes or None
        None if the rank is too high, or a number is not finite.
    """
    # As precise as can be multiplied exactly; what is rounded to fewer bits than that needs no more than 15.
    bits = (52 - (left.shape[1] - 1).bit_length()) // 2 if DTYPES[dtype].word_bytes >= 4 else 14
    if left.shape[1] > MAX_RANK or not (np.isfinite(left).all() and np.isfinite(right).all()):
        return None
    left, right = _balanced(left.astype(np.float64), right.astype(np.float64))
    scales, whole = [], []
    for factor in (left, right):
        largest = float(np.max(np.abs(factor), initial=0))
        scale = bits - math.frexp(largest)[1] if largest else 0
        scales.append(scale)
        whole.append(np.rint(np.ldexp(factor, scale)).astype("<i4" if bits > 15 else "<i2"))
    return pack(np.array(-sum(scales), "<i4"), *whole)


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:
    """Add the product to the base, in double precision, and round once."""
    rows, columns = sides(shape)
    limit = 4 * MAX_RANK * (rows + columns)
    try:
        scale, left, right = unpack(parameters, ["i4", "i4", "i4"], limit)
    except IntegrityError:
        scale, left, right = unpack(parameters, ["i4", "i2", "i2"], limit)
    if scale.shape or left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise IntegrityError("factors do not fit each other")
    if (left.shape[0], right.shape[1]) != (rows, columns) or left.shape[1] > MAX_RANK or bases[0][1:] != (dtype, shape):
        raise IntegrityError("factors do not fit the tensor")
    if left.shape[1] * _largest(left) * _largest(right) > 1 << 53 or abs(int(scale)) > 1 << 12:
        raise IntegrityError("factors are too large to be multiplied exactly")
    wide, step = right.astype(np.float64), max(1, (_BLOCK // 4) // columns)
    width = DTYPES[dtype].word_bytes * columns
    parts = []
    with one_thread():
        for start in range(0, rows, step):
            product = left[start : start + step].astype(np.float64) @ wide
            product = np.ldexp(product, int(scale))
            product += to_floats(bases[0].data[start * width : (start + step) * width], dtype).reshape(product.shape)
            parts.append(from_floats(product, dtype))
    return memoryview(b"".join(parts))


class _Change:
    """The difference of two tensors, taken for matrices, some rows at a time."""

    def __init__(self, old: Tensor, new: Tensor) -> None:
        self.old, self.new = old, new
        self.rows, self.columns = sides(new.shape)

    def take(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows of the difference."""
        difference = self._rows(self.new, start, stop) - self._rows(self.old, start, stop)
        single: npt.NDArray[np.float32] = difference.astype(np.float32, copy=False)
        return single

    def noise(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """The unit in the last place of rows of the new tensor, squared: twelve times the variance of rounding."""
        kind = DTYPES[self.new.dtype]
        _, exponents = np.frexp(np.maximum(np.abs(self._rows(self.new, start, stop)), kind.smallest))
        squared: npt.NDArray[np.float64] = np.ldexp(1.0, 2 * (exponents - 1 - kind.mantissa))
        return squared

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """All rows of the difference."""
        step = max(1, _BLOCK // self.columns)
        for start in range(0, self.rows, step):
            yield start, self.take(start, min(self.rows, start + step))

    def _rows(self, tensor: Tensor, start: int, stop: int) -> npt.NDArray[Any]:
        width = DTYPES[tensor.dtype].word_bytes * self.columns
        return to_floats(tensor.data[start * width : stop * width], tensor.dtype).reshape(stop - start, self.columns)


def _expected(change: _Change) -> int | None:
    """The rank of the change, by some of its rows; None if it is not low."""
    count = min(_ROWS, change.rows)
    groups = min(8, count)
    size = count // groups
    starts = np.linspace(0, change.rows - size, groups).astype(int)
    difference = np.concatenate([change.take(start, start + size) for start in starts])
    scale = float(np.max(np.abs(difference)))
    if not math.isfinite(scale) or not scale:
        return None
    noise = float(np.mean([np.mean(change.noise(start, start + 2)) for start in starts])) / 12
    scaled = difference.astype(np.float64) / scale
    gram = scaled @ scaled.T
    if _is_full(gram, 4 * _LEFT_OVER * noise / scale**2 * change.columns):
        return None
    values = np.linalg.eigvalsh(gram)[::-1] * scale**2
    edge = (_ABOVE * math.sqrt(noise) * (math.sqrt(len(difference)) + math.sqrt(change.columns))) ** 2
    edge = max(edge, float(values[0]) * 1e-12)
    rank = _gap(values[: int(np.count_nonzero(values > edge)) + 1])
    rest = float(values[rank:].sum()) / difference.size
    few = rank <= min(MAX_RANK - _EXTRA, len(difference) // 2, min(change.rows, change.columns) // 4)
    told = float(values[:rank].sum()) >= _SHARE * float(values.sum())
    return rank if rank > 0 and few and told and rest <= _LEFT_OVER * noise else None


def _is_full(gram: npt.NDArray[Any], noise: float) -> bool:
    """Whether the last rows are far from what those before them span; a hundred times quicker than eigenvalues."""
    try:
        left = np.diagonal(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return False  # Some row is just a combination of others.
    return bool(np.mean(left[-len(left) // 4 :] ** 2) > noise)


def _gap(values: npt.NDArray[Any]) -> int:
    """How many of these directions, all but the last of which are above noise, stand out from what follows.

    Rounding moves large weights more than small ones, and such noise has directions that stand out a little, too.
    """
    if len(values) < 2:
        return 0
    steps = values[:-1] / np.maximum(values[1:], values[0] * 1e-15)
    widest = int(np.argmax(steps))
    return widest + 1 if steps[widest] >= _GAP else len(values) - 1


def _factors(change: _Change, rank: int) -> tuple[Matrix, Matrix] | None:
    """Factors of the change, by a randomised range finder with one power iteration."""
    tried = min(rank + _EXTRA, change.rows, change.columns, MAX_RANK)
    right = np.random.default_rng(0).standard_normal((change.columns, tried)).astype(np.float32)
    for _ in range(2):
        left = np.concatenate([block @ right for _, block in change.blocks()])
        if not np.isfinite(left).all():
            return None
        left = np.linalg.qr(left)[0].astype(np.float32)
        back = np.zeros((change.columns, tried))
        for start, block in change.blocks():
            back += block.T @ left[start : start + len(block)]
        right = np.linalg.qr(back)[0].astype(np.float32)
    outer, strengths, inner = np.linalg.svd(back, full_matrices=False)
    return _refined(change, left @ (inner.T[:, :rank] * strengths[:rank]), outer[:, :rank].T)


def _refined(change: _Change, left: Matrix, right: Matrix) -> tuple[Matrix, Matrix]:
    """Fit the factors again, one after the other, by least squares in which each value has the weight it deserves.

    Small weights are rounded finely, so they know the change far better than large ones, which the range finder took
    for as good. What is stored then is a fraction of what it would be.
    """
    rank = left.shape[1]
    pairs = np.triu_indices(rank)
    # The change was computed in single precision, too: a term of that size is added to what rounding does.
    own = float(np.mean((left * left).sum(axis=0) * (right * right).sum(axis=1)) * rank / change.rows / change.columns)
    own *= 2.0**-46
    normal, projected = np.zeros((change.columns, len(pairs[0]))), np.zeros((change.columns, rank))
    refined = np.empty(left.shape)
    products = right[pairs[0]] * right[pairs[1]]
    step = max(1, _BLOCK // 4 // change.columns)
    for start in range(0, change.rows, step):
        stop = min(change.rows, start + step)
        difference = change.take(start, stop)
        weight = 1 / (change.noise(start, stop) + own)
        weight /= weight.max()
        refined[start:stop] = _solved(weight @ products.T, (weight * difference) @ right.T, left[start:stop])
    for start in range(0, change.rows, step):
        stop = min(change.rows, start + step)
        difference = change.take(start, stop)
        weight = 1 / (change.noise(start, stop) + own)
        part = refined[start:stop]
        normal += weight.T @ (part[:, pairs[0]] * part[:, pairs[1]])
        projected += (weight * difference).T @ part
    return refined, _solved(normal, projected, right.T).T


def _solved(normal: Matrix, projected: Matrix, otherwise: Matrix) -> Matrix:
    """Solve small systems, whose symmetric matrices are given by their upper triangles."""
    rank = projected.shape[1]
    matrices = np.empty((len(normal), rank, rank))
    rows, columns = np.triu_indices(rank)
    matrices[:, rows, columns] = normal
    matrices[:, columns, rows] = normal
    try:
        found = np.linalg.solve(matrices, projected[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return otherwise
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, otherwise)


def _balanced(left: Matrix, right: Matrix) -> tuple[Matrix, Matrix]:
    """Let the largest value of each column of the left be as that of the row of the right, by powers of two."""
    above = np.max(np.abs(left), axis=0, initial=0)
    below = np.max(np.abs(right), axis=1, initial=0)
    both = (above > 0) & (below > 0)
    shift = np.zeros(len(above), int)
    shift[both] = np.rint((np.log2(above[both]) - np.log2(below[both])) / 2)
    return np.ldexp(left, -shift), np.ldexp(right, shift[:, None])


def _largest(factor: npt.NDArray[Any]) -> int:
    return int(np.max(np.abs(factor.astype(np.int64)), initial=0))
