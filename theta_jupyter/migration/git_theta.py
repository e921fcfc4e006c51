"""What the published git-theta keeps: JSON in Git, and for each parameter an object of Git LFS.

The object is msgpack of arrays of Zarr. A parameter is ``dense``, or an update of what it was in the commit that its
metadata names: ``sparse``, ``low-rank`` or ``ia3``. Values are computed as git-theta computes them. It keeps neither
the file nor its format, so a file is made anew, as its own checkout would: safetensors where the path says so, else
what it takes for granted, a dict saved by torch. A value comes back in the type that the metadata says it had, which is
not always the one that the arithmetic of an update ends in.
"""

from __future__ import annotations

import math
import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from theta_jupyter.checkpoints import builder, quote, writer
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import CheckpointError
from theta_jupyter.migration import zarr
from theta_jupyter.storage.snapshot import owners_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from theta_jupyter.checkpoints import Built

__all__ = ["HEAD", "Metadata", "Origin", "Parameter", "is_likely", "metadata", "objects", "write"]

HEAD = 4096
"""Bytes by which such a file can be told from others."""
_MARK = b'"tensor_metadata"'
_ID, _OID = re.compile("[0-9a-f]{40}([0-9a-f]{24})?"), re.compile("[0-9a-f]{64}")
_SHAPE = re.compile(r"\(\s*((\d+\s*,\s*)*(\d+\s*,?\s*)?)\)")
_NAMES = {dtype.numpy: dtype.name for dtype in DTYPES.values()}

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """A parameter in a version.

    Parameters
    ----------
    dtype, shape
        Of its values; the type as safetensors names it.
    oid, size
        Of the object of Git LFS.
    update
        How the object is to be read.
    before
        The commit in which the parameter is what an update is of; empty if there is none.
    """

    dtype: str
    shape: tuple[int, ...]
    oid: str
    size: int
    update: str
    before: str


Metadata = dict[Keys, Parameter]


class Origin(Protocol):
    """Where versions and objects are to be had."""

    def version(self, commit: str) -> Metadata:
        """The metadata that the file at hand had in a commit."""

    def object(self, parameter: Parameter) -> bytes:
        """The object of a parameter, checked."""


class _Tensor(msgspec.Struct):
    shape: str
    dtype: str


class _Lfs(msgspec.Struct):
    oid: str
    size: str


class _Theta(msgspec.Struct):
    update_type: str
    last_commit: str | None = None


class _Leaf(msgspec.Struct):
    """A parameter as JSON has it; what else git-theta writes is not needed."""

    tensor_metadata: _Tensor
    lfs_metadata: _Lfs
    theta_metadata: _Theta


def is_likely(head: bytes) -> bool:
    """Whether a file may be metadata, going by its first :data:`HEAD` bytes."""
    return head.startswith(b"{") and _MARK in head


def metadata(text: bytes) -> Metadata | None:
    """Read metadata: parameters by the keys that lead to them, in order; None if it is something else."""
    try:
        found = dict(_leaves(msgspec.json.decode(text), ()))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return found or None


def objects(found: Metadata) -> dict[str, int]:
    """Size by id of the objects that a version names."""
    return {parameter.oid: parameter.size for parameter in found.values()}


def write(found: Metadata, path: str, origin: Origin, target: Path, scratch: Path) -> None:
    """Write the file of a version.

    Parameters
    ----------
    path
        Of the file in the repository: its ending says what to write.
    target
        The file; it is made.
    scratch
        Another one that may be made, for values on their way.

    Raises
    ------
    CheckpointError
        If a parameter cannot be read.
    """
    is_flat = all(len(keys) == 1 for keys in found)
    built = _safetensors(found) if path.lower().endswith(".safetensors") and is_flat else None
    if built is None:
        _write_torch(found, origin, target, scratch)
        return
    literals, position = memoryview(built.literals), 0
    names = {quote(*keys): keys for keys in found}
    with target.open("w+b") as file:
        file.truncate(built.layout.size)
        with mmap.mmap(file.fileno(), built.layout.size) as area:
            for span in built.layout.literals():
                area[span.start : span.stop] = literals[position : position + span.size]
                position += span.size
            for view, span in zip(owners_of(built.layout), built.layout.storages, strict=True):
                area[span.start : span.stop] = _value(names[view.name], found, origin).tobytes()


def _leaves(tree: Any, path: Keys) -> list[tuple[Keys, Parameter]]:
    if not isinstance(tree, dict):
        raise msgspec.ValidationError("not a tree of parameters")
    if "lfs_metadata" in tree:
        return [(path, _parameter(msgspec.convert(tree, _Leaf)))]
    return [leaf for key, part in tree.items() for leaf in _leaves(part, (*path, key))]


def _parameter(leaf: _Leaf) -> Parameter:
    tensor, theta, before = leaf.tensor_metadata, leaf.theta_metadata, leaf.theta_metadata.last_commit or ""
    shape = _SHAPE.fullmatch(tensor.shape)
    is_proper = _OID.fullmatch(leaf.lfs_metadata.oid) and (not before or _ID.fullmatch(before))
    if not shape or not is_proper or tensor.dtype not in _NAMES:
        raise msgspec.ValidationError("not a parameter")
    sizes = tuple(int(size) for size in re.findall(r"\d+", shape[1]))
    size = int(leaf.lfs_metadata.size)
    return Parameter(_NAMES[tensor.dtype], sizes, leaf.lfs_metadata.oid, size, theta.update_type, before)


def _safetensors(found: Metadata) -> Built | None:
    """All of a file but the values; None if it cannot hold them."""
    form = builder("safetensors")
    tensors = {quote(*keys): (parameter.dtype, parameter.shape) for keys, parameter in found.items()}
    return form.build(None, b"", b"", b"", tensors) if form else None


def _write_torch(found: Metadata, origin: Origin, target: Path, scratch: Path) -> None:
    """Save a dict by torch; values wait in a file, so that no more than one is in memory."""
    import torch

    sizes = [math.prod(parameter.shape) * DTYPES[parameter.dtype].bits // 8 for parameter in found.values()]
    scratch.write_bytes(b"")
    with scratch.open("r+b") as file:
        file.truncate(sum(sizes) or 1)
        area = np.memmap(file, np.uint8, "r+")
    tree: dict[str, Any] = {}
    position = 0
    for (keys, parameter), size in zip(found.items(), sizes, strict=True):
        value = area[position : position + size].view(DTYPES[parameter.dtype].numpy).reshape(parameter.shape)
        value[...] = _value(keys, found, origin)
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = torch.from_numpy(value)
        position += size
    writer(Path("file.pt")).write(tree, target)


def _value(keys: Keys, found: Metadata, origin: Origin) -> npt.NDArray[Any]:
    """The values of a parameter."""
    name, wanted = quote(*keys), found[keys]
    updates = []
    parameter: Parameter | None = wanted
    while parameter and parameter.update != "dense":
        if parameter.update not in _UPDATES:
            raise CheckpointError(f"parameter {name} has an update of an unknown type, {parameter.update[:40]!r}")
        updates.append(parameter)
        before = origin.version(parameter.before) if parameter.before else {}
        parameter = before.get(keys)
    if parameter is None:
        raise CheckpointError(f"parameter {name} is an update of something that the history does not have")
    try:
        value = _arrays(origin.object(parameter))["parameter"]
        for update in reversed(updates):
            value = _UPDATES[update.update](_arrays(origin.object(update)), value)
        if value.shape != wanted.shape:
            raise CheckpointError(f"it is {list(value.shape)} and should be {list(wanted.shape)}")
    except (CheckpointError, KeyError, ValueError, IndexError, TypeError) as error:
        raise CheckpointError(f"parameter {name} is not what git-theta writes: {error}") from None
    return value.astype(DTYPES[wanted.dtype].numpy, copy=False)


def _arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        members = msgspec.msgpack.decode(data, type=dict[str, dict[str, bytes]])
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"its object is not msgpack of arrays: {error}") from None
    return {name: zarr.array(files) for name, files in members.items()}


def _sparse(update: Mapping[str, npt.NDArray[Any]], before: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Some values are added; a matrix of one row says where."""
    change = np.zeros(before.size, update["data"].dtype)
    np.add.at(change, update["indices"], update["data"])
    return np.asarray(change.reshape(update["shape"]) + before)


def _low_rank(update: Mapping[str, npt.NDArray[Any]], before: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A product of two matrices is added; or, to what is no matrix, the difference."""
    if "parameter" in update:
        return np.asarray(update["parameter"] + before)
    return np.asarray(update["R"] @ update["C"] + before)


def _ia3(update: Mapping[str, npt.NDArray[Any]], before: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values are scaled."""
    return np.asarray(before * update["ia3"])


_UPDATES = {"sparse": _sparse, "low-rank": _low_rank, "ia3": _ia3}
