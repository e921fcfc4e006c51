"""An array of Zarr (version 2), as git-theta has TensorStore write it: ``.zarray`` says how, and chunks hold values.

Other compressors, filters and orders exist; git-theta leaves all of it to TensorStore, so there is one kind. Sizes that
are declared are held against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from theta_jupyter.errors import CheckpointError
from theta_jupyter.migration import blosc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["array"]

_HEADER = ".zarray"
_DTYPE = re.compile(r"\|[b]1|[<>|][iufc][1-9][0-9]?")
"""Numbers; nothing that NumPy would make objects of."""


class _Array(msgspec.Struct):
    """What ``.zarray`` says."""

    zarr_format: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    compressor: dict[str, Any] | None
    order: str
    filters: list[Any] | None = None
    dimension_separator: str = "."


def array(members: Mapping[str, bytes]) -> npt.NDArray[Any]:
    """Read an array.

    Parameters
    ----------
    members
        Its files by name.

    Raises
    ------
    CheckpointError
        If it is damaged, or of a kind that git-theta does not write.
    """
    try:
        header = msgspec.json.decode(members[_HEADER], type=_Array)
    except (KeyError, msgspec.DecodeError) as error:
        raise CheckpointError(f"an array has no proper {_HEADER}: {error}") from None
    dtype = _dtype(header)
    grid = [range(-(-size // chunk)) for size, chunk in zip(header.shape, header.chunks, strict=True)]
    if math.prod(map(len, grid)) >= len(members):
        raise CheckpointError("an array lacks a chunk")
    whole = math.prod(header.chunks) * dtype.itemsize
    chunks = {place: _chunk(members, header, place) for place in itertools.product(*grid)}
    if any((blosc.size_of(data) if header.compressor else len(data)) != whole for data in chunks.values()):
        raise CheckpointError("a chunk of an array has another size than it should")
    found = np.empty(header.shape, dtype)
    for place, data in chunks.items():
        values = np.frombuffer(blosc.decompress(data) if header.compressor else data, dtype).reshape(header.chunks)
        starts = [index * chunk for index, chunk in zip(place, header.chunks, strict=True)]
        ends = [
            min(size, start + chunk) for start, size, chunk in zip(starts, header.shape, header.chunks, strict=True)
        ]
        part = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
        found[part] = values[tuple(slice(end - start) for start, end in zip(starts, ends, strict=True))]
    return found.astype(dtype.newbyteorder("<"), copy=False)


def _dtype(header: _Array) -> np.dtype[Any]:
    """The type of the values, of an array that can be read."""
    kind = header.compressor["id"] if header.compressor and "id" in header.compressor else None
    if (
        header.zarr_format != 2
        or header.order != "C"
        or header.filters
        or header.dimension_separator != "."
        or (header.compressor is not None and kind != "blosc")
    ):
        raise CheckpointError(f"an array is of a kind that git-theta does not write: {kind}, order {header.order}")
    if len(header.shape) != len(header.chunks) or min(header.shape, default=0) < 0 or min(header.chunks, default=1) < 1:
        raise CheckpointError(f"an array has no proper shape: {header.shape} in chunks of {header.chunks}")
    try:
        if _DTYPE.fullmatch(header.dtype):
            return np.dtype(header.dtype)
    except TypeError:
        pass
    raise CheckpointError(f"an array has values of an unknown type, {header.dtype[:20]!r}")


def _chunk(members: Mapping[str, bytes], header: _Array, place: tuple[int, ...]) -> bytes:
    """The bytes of a chunk; that of a single value, which has no dimensions, is called 0."""
    name = ".".join(map(str, place)) if header.shape else "0"
    try:
        return members[name]
    except KeyError:
        raise CheckpointError(f"an array lacks its chunk {name}") from None
