"""Safetensors: a length, a JSON header, tensors without gaps.

The header is literal: it is kept as it stands, whatever its order and padding. What is checked is what the reference
implementation checks, because a file that it refuses to load is better shown as opaque than as tensors; the one thing
stricter here is that no name may come twice.

Files are written by the reference implementation itself, so that everybody can read them. Where a merge needs a new
header, it is made as that implementation makes it: neither order nor padding tells which side was merged into which,
and who loads the file and saves it again has the same file.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from theta_jupyter.checkpoints.base import Built, Layout, Span, View, misfit, quote
from theta_jupyter.checkpoints.leaves import as_numpy, flat, memory
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SUFFIXES", "build", "locate", "write"]

SUFFIXES = (".safetensors",)
MAX_HEADER = 100_000_000
"""The limit of the reference implementation."""

METADATA = "__metadata__"
ALIGNMENT = 8
"""The header is filled up with spaces so that values begin at a multiple of this."""
ORDER = (
    *("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16"),
    *("F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "F6_E3M2", "F6_E2M3", "F4", "BOOL"),
)
"""How the reference implementation sorts tensors, before their names: so all are aligned."""

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
            if kind in _LACKING or name == METADATA:
                what = f"type {kind}" if kind in _LACKING else "such a name"
                raise RequestError(f"safetensors cannot hold tensor {name!r} of {what}", hint="a .pt file can")
    # What transformers asks for before it loads a file. Nothing more: the library puts metadata in no fixed order, and
    # the same weights must make the same file.
    save_file(arrays, path, {"format": "pt"})


def build(
    base: bytes | None,
    ours: bytes,
    theirs: bytes,
    preferred: bytes,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
) -> Built | None:
    """Make a header for these tensors, metadata merged; see :class:`theta_jupyter.checkpoints.base.Builder`."""
    ordered = []
    for name, (dtype, shape) in tensors.items():
        key = _unquoted(name)
        if key is None or dtype not in ORDER:
            return None
        ordered.append((ORDER.index(dtype), key, name, dtype, shape))
    metadata, undecided = _merged(_metadata(base), _metadata(ours), _metadata(theirs), _metadata(preferred))
    header: dict[str, Any] = {METADATA: metadata} if metadata else {}
    views: list[View] = []
    ends = [0]
    for _, key, name, dtype, shape in sorted(ordered):
        ends.append(ends[-1] + nbytes(dtype, shape))
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": ends[-2:]}
        views.append(View(name, dtype, shape, len(views)))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        return None
    begin = 8 + len(text)
    storages = tuple(Span(begin + start, begin + stop) for start, stop in itertools.pairwise(ends))
    layout = Layout("safetensors", begin + ends[-1], storages, tuple(views))
    return Built(layout, len(text).to_bytes(8, "little") + text, undecided)


def _unquoted(name: str) -> str | None:
    """What :func:`quote` made this of; None if that is not the name of a tensor here."""
    try:
        key = json.loads(name) if name.startswith('"') else name
        key.encode()
    except ValueError:
        return None
    return key if quote(key) == name and key != METADATA else None


def _metadata(literals: bytes | None) -> dict[str, str]:
    header = json.loads(literals[8:]) if literals else {}
    return header.get(METADATA) or {}


def _merged(
    base: dict[str, str], ours: dict[str, str], theirs: dict[str, str], preferred: dict[str, str]
) -> tuple[dict[str, str], bool]:
    """Merge metadata key by key, sorted; and say whether both sides changed one differently."""
    found = {}
    undecided = False
    for key in sorted({*base, *ours, *theirs}):
        b, o, t = base.get(key), ours.get(key), theirs.get(key)
        clash = o != t and b not in {o, t}
        undecided |= clash
        value = preferred.get(key) if clash else t if o == b else o
        if value is not None:
            found[key] = value
    return found, undecided


def _tensors(header: bytes) -> list[tuple[str, _Tensor]]:
    """Read the header, and give its tensors in the order in which they lie in the file."""
    try:
        # The standard library, because msgspec silently takes the last of two equal keys.
        tree = json.loads(header.decode(), object_pairs_hook=_unique)
        metadata = tree.pop(METADATA, None)
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
