"""A tensor of any shape, taken for a matrix: the first dimension has the rows, all others the columns."""

from __future__ import annotations

import math

__all__ = ["sides"]


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns; a tensor of fewer than two dimensions has one row."""
    rows = shape[0] if len(shape) > 1 else 1
    return rows, math.prod(shape) // rows if rows else 0
