"""PyTorch checkpoints: a zip archive that holds a pickle and, beside it, the bytes of each storage.

The pickle says which tensors there are; it is read by :mod:`theta_jupyter.checkpoints.pickled`, never executed, and
torch is not imported for that. What is known here is how torch spells a tensor in a pickle. Everything else in the
tree, a dict or a whole pickled module, is only a path that leads to tensors and gives them their names.

Files from before torch 1.6 are one stream of pickles, and are not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from theta_jupyter.checkpoints import archive
from theta_jupyter.checkpoints.base import (
    MAX_LITERAL,
    MAX_NAME,
    Derived,
    Layout,
    Span,
    View,
    canonical_stride,
    quote,
)
from theta_jupyter.checkpoints.pickled import Call, Global, Persistent, load
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SUFFIXES", "locate", "write"]

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
MAX_DEPTH = 1000
MAX_VIEWS = 1_000_000
MAX_REVISITS = 100_000
"""How often parts of the tree may be reached by a second path: shared lists in shared lists double at each level."""
MAX_KEY_PARTS = 100
SMALL = 1 << 20
"""A storage without a tensor is kept as literal bytes up to this size."""

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "complex64": "C64",
    "complex128": "C128",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
# A quantized tensor is seen as the integers it is stored as.
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "QInt32Storage": "I32",
    "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
}
_TENSORS = {
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_qtensor",
}
# What lies in a set has no place in it, and so no name. Old protocols know the module by its old name.
_SETS = {"builtins.set", "builtins.frozenset", "__builtin__.set", "__builtin__.frozenset"}


class _Tensor(msgspec.Struct, frozen=True):
    """A view before its storage has a number."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    key: str
    offset: int = 0
    stride: tuple[int, ...] | None = None


def locate(data: memoryview) -> Layout | None:
    """Say where tensors lie; see :class:`theta_jupyter.checkpoints.base.Format`."""
    members = archive.members(data)
    if not members:
        return None
    root = members[0].name.partition("/")[0] + "/"
    records = {member.name.removeprefix(root): member for member in members if member.name.startswith(root)}
    program = records.get("data.pkl")
    if program is None:
        return None
    if not program.stored or program.data.size > MAX_LITERAL:
        raise CheckpointError("its pickle is compressed or absurdly large")
    order = records.get("byteorder")
    # Before torch 2.1 there was no such record, and every machine was little-endian.
    if order and bytes(data[order.data.start : order.data.stop][:8]) != b"little":
        raise CheckpointError("its tensors are not little-endian")
    storages = {key.removeprefix("data/"): member for key, member in records.items() if key.startswith("data/")}
    tree, steps = load(data[program.data.start : program.data.stop])
    tensors = [_tensor(_name(path), node, storages) for path, node in _leaves(tree, steps)]
    used = {tensor.key for tensor in tensors}
    for key, member in storages.items():
        if key not in used and member.data.size > SMALL:
            tensors.append(_Tensor(quote("(unreferenced)", key), "U8", (member.data.size,), key))
            used.add(key)
    kept = [key for key in storages if key in used]  # in file order
    numbers = {key: number for number, key in enumerate(kept)}
    return Layout(
        "torch",
        len(data),
        tuple(storages[key].data for key in kept),
        tuple(View(t.name, t.dtype, t.shape, numbers[t.key], t.offset, t.stride) for t in tensors),
        (
            *(derived for key in kept for derived in archive.checksums(storages[key])),
            *_serialization_id(members, records.get(".data/serialization_id")),
        ),
    )


def write(state: Any, path: Path) -> None:
    """Write any tree, as ``torch.save`` does; see :class:`theta_jupyter.checkpoints.base.Writer`."""
    import torch

    # Opened here, because torch names the folder in the archive after a path, and that of a temporary file is another
    # each time: the same state must make the same file.
    with path.open("wb") as file:
        torch.save(state, file)


def _serialization_id(members: list[archive.Member], record: archive.Member | None) -> Iterator[Derived]:
    """Give the half of torch's serialization id that hashes all other records, then the id's own checksums."""
    if record and record.data.size == 40 and all(member.stored for member in members):
        others = tuple(member.data for member in members if member is not record)
        yield Derived(Span(record.data.stop - 20, record.data.stop), "torch-serialization-id", others)
        yield from archive.checksums(record)


def _leaves(tree: Any, steps: int) -> Iterator[tuple[list[Any], Call | Persistent]]:
    """Walk the tree in order, and give each tensor and each bare storage with its path.

    What is reached by two paths is given twice. The walk keeps its own stack, and a budget: a tree can be cyclic,
    deeper than Python's stack, or share its parts so that there are more paths than atoms.
    """
    path: list[Any] = []
    levels = [(0, iter([((), tree)]), id(tree))]
    entered: set[int] = set()
    budget, views = 2 * steps + MAX_REVISITS, MAX_VIEWS
    while levels:
        depth, children, identity = levels[-1]
        del path[depth:]
        suffix, node = next(children, (None, None))
        if suffix is None:
            levels.pop()
            entered.discard(identity)
            continue
        budget -= 1
        if not isinstance(node, list | tuple | Call | Persistent) or id(node) in entered:
            continue
        path.extend(suffix)
        if isinstance(node, Persistent) or (isinstance(node, Call) and _function(node) in _TENSORS):
            yield path, node
            views -= 1
            budget -= len(path)
        if budget < 0 or views < 0 or len(levels) > MAX_DEPTH:
            raise CheckpointError("its objects are nested too deeply, or in too many ways")
        entered.add(id(node))
        levels.append((len(path), iter(_children(node)), id(node)))


def _children(node: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Give the parts of an object, each with what it adds to the path."""
    if isinstance(node, list | tuple):
        yield from (((index,), value) for index, value in enumerate(node))
    if not isinstance(node, Call) or _function(node) in _SETS:
        return
    match _function(node), node.args:
        case "torch._utils._rebuild_parameter", [tensor, *_]:
            yield (), tensor
        case "torch._utils._rebuild_parameter_with_state", [tensor, _, _, state]:
            yield (), tensor
            yield from _attributes(state)
        case "torch._tensor._rebuild_from_type" | "torch._tensor._rebuild_from_type_v2", [function, _, args, state]:
            yield (), Call(function, args)
            yield from _attributes(state)
        case "torch._utils._rebuild_qtensor", [_, _, _, _, quantizer, *_]:
            # Scales and zero points are tensors where each channel has its own.
            yield ("quantizer",), quantizer
        case function, _ if function in _TENSORS:
            pass
        case _, args:
            yield (), args
    yield (), node.elements
    yield from (((key,), value) for key, value in node.items)
    yield from _attributes(node.state)


def _attributes(state: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Give the parts of an object's state: mostly its ``__dict__``, or a pair of that and its slots."""
    is_pair = isinstance(state, tuple) and len(state) == 2
    yield from (((), part) for part in (state if is_pair else (state,)))


def _function(call: Call) -> str:
    return repr(call.function) if isinstance(call.function, Global) else ""


def _tensor(name: str, node: Call | Persistent, storages: dict[str, archive.Member]) -> _Tensor:
    """Read one tensor, or a bare storage as a flat one."""
    if isinstance(node, Persistent):
        key, dtype = _storage(name, node, storages)
        size = storages[key].data.size
        return _Tensor(name, dtype, (size * 8 // DTYPES[dtype].bits,), key) if dtype else _flat(name, key, size)
    match node.args:
        case [Persistent() as storage, int(offset), size, stride, *rest]:
            key, dtype = _storage(name, storage, storages)
        case _:
            raise CheckpointError(f"tensor {name!r} is spelled in an unknown way")
    if _function(node) == "torch._utils._rebuild_tensor_v3":
        dtype = _DTYPES.get(getattr(rest[2], "name", "")) if len(rest) > 2 else None
    if dtype is None:
        return _flat(name, key, storages[key].data.size)
    shape = _integers(name, size)
    stride = canonical_stride(shape, _integers(name, stride))
    # An empty slice of an empty tensor may begin after its storage.
    begin = 0 if 0 in shape else offset * DTYPES[dtype].bits // 8
    return _Tensor(name, dtype, shape, key, begin, stride)


def _flat(name: str, key: str, size: int) -> _Tensor:
    """See a storage of a type we do not know as bytes."""
    return _Tensor(name, "U8", (size,), key)


def _storage(name: str, reference: Persistent, storages: dict[str, archive.Member]) -> tuple[str, str | None]:
    """Look up the storage of a tensor: its key, and its dtype if that can be told."""
    match reference.id:
        case ["storage", Global(name=kind), str(key), _, int(count)] if key in storages:
            member = storages[key]
        case _:
            raise CheckpointError(f"tensor {name!r} has no storage in this file")
    if not member.stored:
        raise CheckpointError(f"the storage of tensor {name!r} is compressed")
    dtype = _STORAGES.get(kind)
    bits = 8 if kind == "UntypedStorage" else DTYPES[dtype].bits if dtype else None
    if bits and count * bits != member.data.size * 8:
        raise CheckpointError(f"tensor {name!r} wants {count} elements in a storage of {member.data.size} bytes")
    return key, dtype


def _integers(name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, Call) and _function(values) == "torch.Size" and values.args:
        [values] = values.args
    if isinstance(values, list | tuple) and all(type(value) is int for value in values):
        return tuple(values)
    raise CheckpointError(f"tensor {name!r} has no proper shape or stride")


def _name(path: list[Any]) -> str:
    for key in path:
        _check_key(key)
    name = quote(*path)
    if len(name) > MAX_NAME:
        raise CheckpointError(f"a tensor has a name of {len(name):,} characters: {name[:80]!r}")
    # A tensor saved by itself.
    return name or "tensor"


def _check_key(key: Any) -> None:
    """Refuse a key that would take long to write down: like the tree, it may hold its parts many times over."""
    parts = [key]
    for count in range(MAX_KEY_PARTS + 1):
        if not parts:
            return
        part = parts.pop()
        if isinstance(part, Call):
            parts += [part.function, part.args, part.elements, part.items]
        elif isinstance(part, list | tuple):
            parts += part
        elif isinstance(part, str | bytes | bytearray) and len(part) > MAX_NAME:
            break
        if count + len(parts) > MAX_KEY_PARTS:
            break
    raise CheckpointError("a key in its objects is absurdly large")
