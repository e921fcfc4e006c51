"""Sums that have the same bits everywhere, whatever the processor and the number of threads.

A library's dot product adds up in an order of its own choosing, and a plan must give the same merge on every machine.
So products are added elementwise, block by block, and the block in a fixed tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theta_jupyter.storage.sketch import total

if TYPE_CHECKING:
    import numpy.typing as npt

    from theta_jupyter.merges.base import Array

__all__ = ["dot", "dots", "norm"]

_BLOCK = 1 << 15


def dot(a: Array, b: Array) -> float:
    """The sum of the products, in double precision."""
    one, two = a.reshape(-1), b.reshape(-1)
    size = min(_BLOCK, one.size)
    sums, products = np.zeros(size), np.empty(size)
    for start in range(0, one.size, _BLOCK):
        x, y = one[start : start + _BLOCK], two[start : start + _BLOCK]
        np.multiply(x, y, out=products[: x.size], dtype=np.float64)
        sums[: x.size] += products[: x.size]
    return total(sums)


def dots(a: Array, b: Array) -> npt.NDArray[np.float64]:
    """:func:`dot` of each row with the row in its place, the same bits: two tables (rows, columns) give (rows,)."""
    rows, columns = a.shape
    if columns > _BLOCK:
        return np.array([dot(x, y) for x, y in zip(a, b, strict=True)])
    found = np.zeros(rows)
    width = 1 << max(0, columns - 1).bit_length()
    height = max(1, 8 * _BLOCK // width)
    for start in range(0, rows, height):
        part = slice(start, start + height)
        tree = np.zeros((len(found[part]), width))
        np.multiply(a[part], b[part], out=tree[:, :columns], dtype=np.float64)
        while tree.shape[1] > 1:
            half = tree.shape[1] // 2
            tree = tree[:, :half] + tree[:, half:]
        found[part] = tree[:, 0]
    return found


def norm(a: Array) -> float:
    """The square root of the sum of the squares."""
    return float(np.sqrt(dot(a, a)))
