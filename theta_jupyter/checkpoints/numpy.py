"""NumPy files: one array (``.npy``), or several in a zip archive (``.npz``).

An array is a magic string, a header that is a Python literal, and the elements. Arrays that are not plain
little-endian numbers (text, dates, records, objects) have no tensor in them: by itself such a file is opaque; in an
archive they stay literal beside the others. NumPy is not imported to read, and nothing is unpickled.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from theta_jupyter.checkpoints import archive
from theta_jupyter.checkpoints.base import Derived, Layout, Span, View, canonical_stride, misfit, quote
from theta_jupyter.checkpoints.leaves import as_numpy, flat
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["SUFFIXES", "locate", "write"]

SUFFIXES = (".npz", ".npy")
MAGIC = b"\x93NUMPY"
MAX_HEADER = 64 << 10

_DTYPES = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<u4": "U32",
    "<i4": "I32",
    "<u8": "U64",
    "<i8": "I64",
    "<f2": "F16",
    "<f4": "F32",
    "<f8": "F64",
    "<c8": "C64",
    "<c16": "C128",
}


def locate(data: memoryview) -> Layout | None:
    """Say where tensors lie; see :class:`theta_jupyter.checkpoints.base.Format`."""
    if bytes(data[: len(MAGIC)]) == MAGIC:
        storage, view = _array(data, Span(0, len(data)), "array", 0)
        return Layout("numpy", len(data), (storage,), (view,))
    # A look at the first member's name spares other zip archives a walk through their directory.
    if not bytes(data[30 : 30 + int.from_bytes(data[26:28], "little")]).endswith(b".npy"):
        return None
    members = archive.members(data)
    if not members or not all(member.name.endswith(".npy") for member in members):
        return None
    return _archive(data, members)


def write(state: Any, path: Path) -> None:
    """Write a flat dict of tensors as ``.npz``, one tensor as ``.npy``; see ``checkpoints.base.Writer``.

    The archive is the one that ``numpy.savez`` makes, not compressed; but a tensor may also be called ``file``.

    Raises
    ------
    RequestError
        If the dict is nested, or holds what NumPy has no type for.
    """
    import zipfile

    from numpy.lib import format as form

    if path.suffix.lower() == ".npy":
        if isinstance(state, dict | list | tuple):
            raise RequestError("a .npy file holds one tensor", hint="save several as .npz, .safetensors or .pt")
        with path.open("wb") as file:
            form.write_array(file, _plain(state, "array"), allow_pickle=False)
        return
    with zipfile.ZipFile(path, "w") as pack:
        for name, leaf in flat(state, ".npz").items():
            if "\0" in name:
                raise RequestError(f"a .npz file cannot hold the name {name!r}")  # zipfile would cut it short.
            # As numpy.savez does: how large it will be is not known when it is begun.
            with pack.open(f"{name}.npy", "w", force_zip64=True) as member:
                form.write_array(member, _plain(leaf, name), allow_pickle=False)


def _plain(leaf: Any, name: str) -> npt.NDArray[Any]:
    array = as_numpy(leaf, name)
    if array.dtype.str not in _DTYPES:
        hint = "a .safetensors or .pt file can hold it"
        raise RequestError(f"NumPy files have no type for tensor {name!r} ({array.dtype.name})", hint=hint)
    return array


def _archive(data: memoryview, members: list[archive.Member]) -> Layout:
    if not all(member.stored for member in members):
        raise CheckpointError("its arrays are compressed; save with numpy.savez to see tensors")
    storages: list[Span] = []
    views: list[View] = []
    derived: list[Derived] = []
    problems = []
    for member in members:
        try:
            storage, view = _array(data, member.data, quote(member.name.removesuffix(".npy")), len(storages))
        except CheckpointError as error:
            problems.append(error)
            continue
        storages.append(storage)
        views.append(view)
        derived += archive.checksums(member)
    if not storages:
        raise problems[0]
    return Layout("numpy", len(data), tuple(storages), tuple(views), tuple(derived))


def _array(data: memoryview, span: Span, name: str, number: int) -> tuple[Span, View]:
    """Locate one array in a span of the file, as the storage of that number."""
    header, start = _header(data, span, name)
    match header:
        case {"descr": descr, "fortran_order": bool(is_fortran), "shape": tuple(shape), **rest} if not rest:
            pass
        case _:
            raise CheckpointError(f"array {name!r} has a header of another kind")
    dtype = _DTYPES.get(descr) if isinstance(descr, str) else None
    if dtype is None:
        raise CheckpointError(f"array {name!r} has dtype {str(descr)[:80]}: it is not made of little-endian numbers")
    if not all(type(extent) is int for extent in shape):
        raise CheckpointError(f"array {name!r} has shape {str(shape)[:80]}")
    problem = misfit(dtype, shape, 0, None, span.stop - start)
    if problem:
        raise CheckpointError(f"array {name!r} {problem}")
    stride = canonical_stride(shape, _fortran(shape)) if is_fortran else None
    return Span(start, start + nbytes(dtype, shape)), View(name, dtype, shape, number, 0, stride)


def _header(data: memoryview, span: Span, name: str) -> tuple[Any, int]:
    """Read the header of an array: the value it spells, and where the elements start."""
    magic, version = bytes(data[span.start : span.start + 6]), bytes(data[span.start + 6 : span.start + 8])
    if magic != MAGIC or version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise CheckpointError(f"array {name!r} is not in a version of the format that is known")
    begin = span.start + (10 if version == b"\x01\x00" else 12)
    end = begin + int.from_bytes(data[span.start + 8 : begin], "little")
    if end > span.stop or end - begin > MAX_HEADER:
        raise CheckpointError(f"the header of array {name!r} is cut short or absurdly large")
    text = bytes(data[begin:end]).decode("utf-8" if version == b"\x03\x00" else "latin-1", "replace")
    try:
        return ast.literal_eval(text.strip()), end
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise CheckpointError(f"the header of array {name!r} is damaged: {error}") from None


def _fortran(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give the steps of an array whose first index varies fastest."""
    steps, step = [], 1
    for extent in shape:
        steps.append(step)
        step *= extent
    return tuple(steps)
