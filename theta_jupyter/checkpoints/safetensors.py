"""Safetensors: a length, a JSON header, tensors without gaps.

The header is literal: it is kept as it stands, whatever its order and padding. What is checked is what the reference
implementation checks, because a file that it refuses to load is better shown as opaque than as tensors; the one thing
stricter here is that no name may come twice.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

from theta_jupyter.checkpoints.base import Layout, Span, View, misfit, quote
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import CheckpointError

__all__ = ["locate"]

MAX_HEADER = 100_000_000
"""The limit of the reference implementation."""

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
