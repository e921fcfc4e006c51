"""Safetensors: a length, a JSON header, tensors without gaps.

The header is literal: it is kept as it stands, whatever its order and padding. What is checked is what the reference
implementation checks, because a file that it refuses to load is better shown as opaque than as tensors; the one thing
stricter here is that no name may come twice.

Files are written by the reference implementation itself, so that everybody can read them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from theta_jupyter.checkpoints.base import Layout, Span, View, misfit, quote
from theta_jupyter.checkpoints.leaves import as_numpy, flat, memory
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SUFFIXES", "locate", "write"]

SUFFIXES = (".safetensors",)
MAX_HEADER = 100_000_000
"""The limit of the reference implementation."""

# The format has the packed types, the library cannot take them from NumPy.
_LACKING = {"complex128", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"}
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[_Natural, ...]
    data_offsets: tuple[_Natural, _Natural]


def locate(data: memoryview) -> Layout | None:
    """Say where tensors lie; see :class:`theta_jupyter.checkpoints.base.Format`."""
    length = int.from_bytes(data[:8], "little")
    if bytes(data[8:9]) != b"{" or length > MAX_HEADER:
        return None
    begin = 8 + length
    if begin > len(data):
        raise CheckpointError(f"the header should end at byte {begin}, and the file at {len(data)}: it is cut short")
    storages: list[Span] = []
    views: list[View] = []
    position = begin
    for name, tensor in _tensors(bytes(data[8:begin])):
        start, stop = (begin + offset for offset in tensor.data_offsets)
        if start != position or stop < start:
            raise CheckpointError(f"tensor {name!r} leaves a gap or overlaps: it lies at {list(tensor.data_offsets)}")
        if stop > len(data):
            raise CheckpointError(f"tensor {name!r} ends at byte {stop}, and the file at {len(data)}: it is cut short")
        problem = misfit(tensor.dtype, tensor.shape, 0, None, stop - start)
        if problem or nbytes(tensor.dtype, tensor.shape) != stop - start:
            raise CheckpointError(f"tensor {name!r} {problem or f'does not fill its {stop - start} bytes'}")
        views.append(View(quote(name), tensor.dtype, tensor.shape, len(storages)))
        storages.append(Span(start, stop))
        position = stop
    if position != len(data):
        raise CheckpointError(f"{len(data) - position} bytes at the end belong to no tensor")
    return Layout("safetensors", len(data), tuple(storages), tuple(views))


def write(state: Any, path: Path) -> None:
    """Write a flat dict of tensors; see :class:`theta_jupyter.checkpoints.base.Writer`.

    Of weights that are tied (torch tensors that are one in memory) the first name is kept: a file has no way to say
    that two are one, and a model has the other in its first when it is loaded.

    Raises
    ------
    RequestError
        If the dict is nested, or holds what the format has no type for.
    """
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {}
    written: set[Any] = set()
    for name, leaf in flat(state, SUFFIXES[0]).items():
        place = memory(leaf)
        if place is None or place not in written:
            # In C order, whatever it was: the library takes the memory as it lies.
            arrays[name] = np.asarray(as_numpy(leaf, name), order="C")
            written.add(place)
            kind = arrays[name].dtype.name
            if kind in _LACKING or name == "__metadata__":
                what = f"type {kind}" if kind in _LACKING else "such a name"
                raise RequestError(f"safetensors cannot hold tensor {name!r} of {what}", hint="a .pt file can")
    # What transformers asks for before it loads a file. Nothing more: the library puts metadata in no fixed order, and
    # the same weights must make the same file.
    save_file(arrays, path, {"format": "pt"})


def _tensors(header: bytes) -> list[tuple[str, _Tensor]]:
    """Read the header, and give its tensors in the order in which they lie in the file."""
    try:
        # The standard library, because msgspec silently takes the last of two equal keys.
        tree = json.loads(header.decode(), object_pairs_hook=_unique)
        metadata = tree.pop("__metadata__", None)
        msgspec.convert(metadata, dict[str, str] | None)
        tensors = msgspec.convert(tree, dict[str, _Tensor])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the header is not what safetensors writes: {error}") from None
    return sorted(tensors.items(), key=lambda item: item[1].data_offsets)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of the members of a JSON object, if their names are text and differ."""
    unique = dict(pairs)
    for name in unique:
        name.encode()  # JSON can spell half a surrogate pair
    if len(unique) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in unique if names.count(name) > 1)
        raise ValueError(f"{twice!r} comes twice")
    return unique
