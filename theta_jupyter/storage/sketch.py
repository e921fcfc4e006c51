"""A small summary of a tensor that stands in the manifest, and what two of them say about a change.

A sketch is a signed count-sketch (Charikar, Chen & Farach-Colton, 2002): every value goes, with a pseudo-random sign,
into one of 64 sums. It is linear, sketch(A) - sketch(B) = sketch(A - B), and the length of a sketch estimates the
length of the tensor. So the size of a change, and the angle between two changes, follow from two manifests, without one
weight being read or downloaded. With 64 sums the estimate has a standard error of about 9 %.

The same tensor must give the same bits everywhere, or manifests would differ for no reason. So all sums are elementwise
additions in a fixed order, in double precision; ``np.sum`` over a row, ``np.dot`` and ``np.linalg.norm`` are not used,
because their order depends on the machine. And the floating-point environment is set, not assumed:
``torch.set_flush_denormal`` in a notebook would change results here.

How a value finds its sum: position ``i`` is folded to ``i mod 65521``, with the sign ``i mod 65519`` of a fixed random
string; the folded vector is permuted and cut into rows of 64, which are added up. Both numbers are prime, so that no
tensor's rows line up with them (a rank-one change would otherwise cancel or double).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import blake3
import numpy as np

from theta_jupyter.dtypes import DTYPES, to_floats
from theta_jupyter.errors import ThetaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

__all__ = ["BUCKETS", "MINIMUM", "Sketch", "Summary", "fixed_arithmetic", "summarize", "total"]

BUCKETS = 64
MINIMUM = 4096
"""Tensors of fewer values have no sketch: reading them costs as little as reading a sketch would."""

Sketch = tuple[float, ...]
"""64 sums, each a float32 value."""

_FOLD = 65521
_SIGNS = 65519
_STRIPE = 1 << 15
"""Positions that are added to at a time: three sums of them, signs and values, fit into a core's own cache."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of the values of a tensor without reading it.

    Parameters
    ----------
    norm
        Square root of the sum of squares, over finite values.
    mean
        Sum of the finite values by the number of all.
    largest
        Largest magnitude among the finite values.
    not_finite
        How many values are NaN or infinite; they count as 0 in everything else.
    sketch
        None for tensors of fewer than :data:`MINIMUM` values, and where a sum does not fit in a float32.
    """

    norm: float
    mean: float
    largest: float
    not_finite: int = 0
    sketch: Sketch | None = None


def summarize(data: memoryview, dtype: str) -> Summary | None:
    """Summarize the bytes of a tensor.

    Returns
    -------
    Summary or None
        None if the sum of squares overflows double precision, as it can for float64 beyond 1e150.
    """
    with fixed_arithmetic():
        size = len(data) * 8 // DTYPES[dtype].bits * DTYPES[dtype].words
        # Of a small tensor most sums would be zero, and adding them up would take most of the time.
        folded, totals, squares = (np.zeros(min(size, _FOLD)) for _ in range(3))
        largest, not_finite = 0.0, 0
        for start, values in _blocks(data, dtype):
            block = values
            high = max(float(np.max(block)), -float(np.min(block)))
            if not math.isfinite(high):
                finite = np.isfinite(block)
                not_finite += block.size - int(np.count_nonzero(finite))
                block = np.where(finite, block, block.dtype.type(0))
                high = max(float(np.max(block)), -float(np.min(block)))
            largest = max(largest, high)
            _add(block, start, totals, folded, squares)
        norm = math.sqrt(total(squares)) if size else 0.0
        mean = total(totals) / size if size else 0.0
        sketch = _buckets(folded) if size >= MINIMUM else None
    if not (math.isfinite(norm) and math.isfinite(mean)):
        return None
    return Summary(norm, mean, largest, not_finite, sketch)


def _add(
    block: npt.NDArray[Any],
    start: int,
    totals: npt.NDArray[np.float64],
    folded: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
) -> None:
    """Add some folded lengths of values to the sums, each sum in the order of its values.

    Stripes of positions are taken one after the other, so that what is added to stays in a processor's cache.
    """
    rows = block.size // _FOLD
    wide, other = np.empty((2, _STRIPE))
    for first in range(0, _FOLD, _STRIPE):
        stripe = slice(first, min(first + _STRIPE, _FOLD))
        for row in range(rows + 1):
            values = block[row * _FOLD :][stripe] if row < rows else block[rows * _FOLD :][stripe]
            if not values.size:
                continue
            size = values.size
            where = slice(first, first + size)
            own, product = wide[:size], other[:size]
            own[:] = values
            total_, fold, square = totals[where], folded[where], squares[where]
            np.add(total_, own, out=total_)
            np.multiply(own, _signs((start + row * _FOLD + first) % _SIGNS)[:size], out=product)
            np.add(fold, product, out=fold)
            np.multiply(own, own, out=product)
            np.add(square, product, out=square)


def _blocks(data: memoryview, dtype: str) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The values of a tensor, some folded lengths at a time, each with the place of its first.

    As floats, a large tensor has no room in a processor's cache.
    """
    kind = DTYPES[dtype]
    step = 8 * _FOLD * kind.word_bytes if kind.bits >= 8 else max(1, len(data))
    for first in range(0, len(data), step):
        yield first // kind.word_bytes, to_floats(data[first : first + step], dtype)


def encode(sketch: Sketch | None) -> str:
    """Write a sketch as one line of text. Call this and :func:`decode` under :func:`fixed_arithmetic`."""
    return base64.b64encode(struct.pack(f"<{BUCKETS}f", *sketch)).decode() if sketch else "-"


def decode(text: str) -> Sketch | None:
    """Undo :func:`encode`.

    Raises
    ------
    ValueError
        If the text is not a sketch.
    """
    if text == "-":
        return None
    data = base64.b64decode(text, validate=True)
    if len(data) != 4 * BUCKETS:
        raise ValueError(f"a sketch has {4 * BUCKETS} bytes, not {len(data)}")
    sketch = struct.unpack(f"<{BUCKETS}f", data)
    if not all(map(math.isfinite, sketch)):
        raise ValueError("a sketch holds numbers that are not finite")
    return sketch


def distance(old: Sketch, new: Sketch) -> float:
    """Estimate the L2 norm of the difference of two tensors."""
    return math.sqrt(math.fsum((b - a) ** 2 for a, b in zip(old, new, strict=True)))


@contextlib.contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """Compute with IEEE defaults in this thread: round to nearest, subnormal numbers kept.

    Raises
    ------
    ThetaError
        If the thread computes in another way and this platform offers no means to change that.
    """
    restore = None if _is_default() else _set_default()
    try:
        if restore and not _is_default():
            raise ThetaError(
                "this thread flushes subnormal numbers to zero, or does not round to nearest",
                hint="call torch.set_flush_denormal(False) and try again",
            )
        # Not-a-number and overflow are data here, not accidents.
        with np.errstate(all="ignore"):
            yield
    finally:
        if restore:
            restore()


def _is_default() -> bool:
    """Whether subnormal numbers count, as operands and as results, and sums round to nearest."""
    one = np.array([1.0, -1.0])
    rounds = np.array_equal(one + 2.0**-60, one) and np.array_equal(one - 2.0**-60, one)
    subnormal = np.array([2.0**-126], np.float32) * np.float32(0.5)
    return rounds and bool(subnormal[0] != 0)


def _set_default() -> Callable[[], object]:
    """Set the default environment where that is possible, and return what puts the present one back."""
    try:
        library = ctypes.CDLL("libm.so.6")
    except OSError:
        return lambda: None
    present = ctypes.create_string_buffer(512)  # fenv_t is at most 32 bytes where glibc runs; more does no harm.
    library.fegetenv(present)
    library.fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV
    return lambda: library.fesetenv(present)


def total(values: npt.NDArray[np.float64]) -> float:
    """Add up in a fixed binary tree of elementwise additions: the same bits everywhere."""
    tree = np.zeros(1 << max(0, values.size - 1).bit_length())
    tree[: values.size] = values
    while tree.size > 1:
        tree = tree[: tree.size // 2] + tree[tree.size // 2 :]
    return float(tree[0])


def _buckets(folded: npt.NDArray[np.float64]) -> Sketch | None:
    rows = np.zeros(1 << 16)
    rows[_permutation()[: folded.size]] = folded
    table = rows.reshape(-1, BUCKETS)
    while len(table) > 1:
        table = table[: len(table) // 2] + table[len(table) // 2 :]
    sums = table[0].astype(np.float32)
    return tuple(sums.tolist()) if np.all(np.isfinite(sums)) else None


@functools.cache
def _random(use: str, size: int) -> npt.NDArray[np.uint8]:
    """Fixed random bytes: BLAKE3 of a name, extended. Part of the on-disk contract."""
    return np.frombuffer(blake3.blake3(b"theta sketch 1 " + use.encode()).digest(length=size), np.uint8)


@functools.cache
def _sign_table() -> npt.NDArray[np.float64]:
    bits = np.unpackbits(_random("signs", _SIGNS // 8 + 1))[:_SIGNS]
    table = 1.0 - 2.0 * bits.astype(np.float64)
    return np.concatenate([table, table])[: _SIGNS + _FOLD]


def _signs(start: int) -> npt.NDArray[np.float64]:
    table = _sign_table()
    if start + _FOLD <= table.size:
        return table[start : start + _FOLD]
    return np.concatenate([table[start:], table[: start + _FOLD - table.size]])


@functools.cache
def _permutation() -> npt.NDArray[np.intp]:
    """Where each folded position stands among the 65,536 places of the table."""
    keys = _random("places", 8 << 16).view("<u8")
    return np.argsort(keys, kind="stable")[:_FOLD]
