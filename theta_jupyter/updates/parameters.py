"""Small arrays as the parameters of an update: what a fit found, in few bytes.

Each array is written as its type, its dimensions and its byte planes (the lowest bytes of all numbers, then the next),
and all of them together as one zstd frame. Whoever reads them says how much they may be at most, because parameters
come from strangers too.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from theta_jupyter.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["pack", "unpack"]

TYPES = ("i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f4", "<f8")
"""Types an array may have; it is written as its place in this list."""
_LEVEL = 3


def pack(*arrays: npt.NDArray[Any]) -> bytes:
    """Write arrays down."""
    parts = []
    for array in arrays:
        code = TYPES.index(np.dtype(array.dtype.newbyteorder("<")).str.replace("|", ""))
        parts.append(struct.pack(f"<BB{array.ndim}I", code, array.ndim, *array.shape))
        words = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, array.itemsize)
        parts.append(words.T.tobytes())
    return zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join(parts))


def unpack(data: memoryview, types: Sequence[str], limit: int) -> list[npt.NDArray[Any]]:
    """Read what :func:`pack` wrote.

    Parameters
    ----------
    types
        Those the arrays must have, without byte order, such as ``"i4"``.
    limit
        Bytes that they may have in all.

    Raises
    ------
    IntegrityError
        If that is not what was written. Nothing is allocated before sizes are looked at.
    """
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= limit + 64 * len(types):
            raise IntegrityError(f"parameters of {size} bytes where at most {limit} belong")
        body = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
        position, arrays = 0, []
        for wanted in types:
            code, dimensions = struct.unpack_from("<BB", body, position)
            shape = struct.unpack_from(f"<{dimensions}I", body, position + 2)
            position += 2 + 4 * dimensions
            dtype = np.dtype(TYPES[code])
            count = math.prod(shape)
            if dtype.str[1:] != wanted or count * dtype.itemsize > len(body) - position:
                raise IntegrityError("parameters are not of the kind that belongs here")
            planes = np.frombuffer(body, np.uint8, count * dtype.itemsize, position).reshape(dtype.itemsize, count)
            arrays.append(np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(shape))
            position += count * dtype.itemsize
    except (zstandard.ZstdError, struct.error, IndexError, ValueError) as error:
        raise IntegrityError(f"parameters are damaged: {error}") from None
    if position != len(body):
        raise IntegrityError("parameters go on after their end")
    return arrays
