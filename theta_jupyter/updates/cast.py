"""The same values in another type: a bfloat16 copy of a float32 checkpoint, or the way back.

Rounded once, to the nearest, ties to even, as torch and NumPy do; a cast by another rule is off by one unit in the last
place here and there, which the correction mends. There are no parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from theta_jupyter.dtypes import DTYPES, from_floats, nbytes, to_floats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.updates.base import Tensor

__all__ = ["RESHAPES", "fit", "predict"]

RESHAPES = True

_STEP = 1 << 18
"""Values converted at a time, so that they stay in a core's cache."""


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Apply to floats of another type, of one base with as many values."""
    if len(bases) != 1 or bases[0].dtype == new.dtype or math.prod(bases[0].shape) != math.prod(new.shape):
        return None
    kinds = DTYPES[bases[0].dtype], DTYPES[new.dtype]
    fits = all(kind.is_float and kind.bits >= 8 for kind in kinds) and kinds[0].words == kinds[1].words
    return b"" if fits else None


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:  # noqa: ARG001 - the shape of an update
    """Convert the base."""
    source, size = bases[0], nbytes(dtype, shape)
    out = np.empty(size, np.uint8)
    before, after = (_STEP * DTYPES[kind].bits // 8 for kind in (source.dtype, dtype))
    for piece in range(-(-size // after)):
        part = from_floats(to_floats(source.data[piece * before : (piece + 1) * before], source.dtype), dtype)
        out[piece * after : (piece + 1) * after] = np.frombuffer(part, np.uint8)
    return out.data
