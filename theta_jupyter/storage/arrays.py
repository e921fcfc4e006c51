"""Tensors as arrays, one at a time: a lazy mapping over a stored version or over a file.

Nothing is read until a name is asked for, and then only what that tensor needs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.checkpoints import locate
from theta_jupyter.dtypes import nbytes, to_array
from theta_jupyter.errors import MissingObjectError, RequestError, TransferError
from theta_jupyter.storage.tensors import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from theta_jupyter.checkpoints.base import Span, View
    from theta_jupyter.storage.manifest import Manifest, Record
    from theta_jupyter.storage.objects import ObjectStore

__all__ = ["Checkpoint", "FileCheckpoint", "StoredCheckpoint", "as_array", "contiguous"]


class Checkpoint(Mapping[str, "npt.NDArray[Any]"]):
    """The tensors of a checkpoint by name, read when asked for.

    bfloat16 and 8-bit floats come as the types of ``ml_dtypes``. Use :meth:`to_torch` for torch tensors.
    """

    def __init__(self, what: str, names: Sequence[str]) -> None:
        self._what = what
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return as_array(*self._read(self._known(name)))

    def raw(self, name: str) -> memoryview:
        """The bytes of a tensor, in C order."""
        return contiguous(*self._read(self._known(name)))

    portable = False
    """Whether what :meth:`reader` gives can be called in another process."""

    def reader(self, name: str) -> Callable[[], memoryview]:
        """What reads the bytes of a tensor, in C order, when it is called."""
        return functools.partial(self.raw, name)

    def is_here(self, name: str) -> bool:
        """Whether a tensor can be read without fetching anything."""
        return name in self._names

    def prefetch(self, names: Iterable[str]) -> None:
        """Fetch at once what reading these tensors will need."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{self._what}: {len(self)} tensors, read when asked for>"

    def to_torch(self) -> dict[str, Any]:
        """Read everything into torch tensors of their own memory: a state dict, for a checkpoint that is one."""
        import torch

        self.prefetch(self)
        found = {}
        for name, array in self.items():
            if array.dtype.isbuiltin == 2:  # One of ml_dtypes.
                kind = getattr(torch, array.dtype.name, None)
                if kind is None:
                    raise RequestError(f"torch has no type for tensor {name!r} ({array.dtype.name})")
                raw = np.array(array, order="C").view(np.uint8 if array.dtype.itemsize == 1 else np.uint16)
                found[name] = torch.from_numpy(raw).view(kind)
            else:
                found[name] = torch.from_numpy(np.array(array, order="C"))
        return found

    def _known(self, name: str) -> str:
        if name not in self._names:
            raise KeyError(name)
        return name

    def _read(self, name: str) -> tuple[memoryview, Any]:
        """The bytes of a tensor's storage, and the record or view that finds it there."""
        raise NotImplementedError


class StoredCheckpoint(Checkpoint):
    """A version in the repository.

    Parameters
    ----------
    what
        Path and ref, for errors and ``repr``.
    names
        The tensors wanted; None for all.
    fetch
        Called with the objects a tensor lacks; it is read again after that.

    Raises
    ------
    RequestError
        If a name is not in the manifest.
    """

    def __init__(
        self,
        what: str,
        manifest: Manifest,
        store: ObjectStore,
        names: Sequence[str] | None = None,
        fetch: Callable[[dict[str, int]], object] | None = None,
    ) -> None:
        super().__init__(what, _chosen(what, list(manifest.records), names))
        self.manifest, self._store, self._fetch = manifest, store, fetch
        self._chosen = names is not None

    portable = True

    def reader(self, name: str) -> Callable[[], memoryview]:
        """As of any checkpoint; what is not here must be fetched by this one."""
        if not self.is_here(name):
            return super().reader(name)
        return functools.partial(_stored, self.manifest.records[name], self.manifest.owner(name), self._store, name)

    def is_here(self, name: str) -> bool:
        """Whether every object of a tensor is in the repository."""
        return name in self._names and not self._store.missing(self._needs(name))

    def prefetch(self, names: Iterable[str]) -> None:
        """Fetch at once every object of these tensors that is not here."""
        needed = {key: size for name in names for key, size in self._needs(name).items()}
        if self._fetch and self._store.missing(needed):
            self._fetch(needed)

    def _needs(self, name: str) -> dict[str, int]:
        return {place.object: place.size for place in self.manifest.owner(name).objects}

    def _read(self, name: str) -> tuple[memoryview, Any]:
        record, owner = self.manifest.records[name], self.manifest.owner(name)
        try:
            data = decode(owner, self._store, name)
        except MissingObjectError as missing:
            if self._fetch is None:
                raise
            try:
                # Whoever has named the tensors wants them all; else nobody knows what will be asked for next.
                self.prefetch(self if self._chosen else [name])
            except TransferError as error:
                message = f"{missing.message}; {error.message}"
                raise MissingObjectError(missing.object_id, message, hint=error.hint) from error
            data = decode(owner, self._store, name)
        return data, record


class FileCheckpoint(Checkpoint):
    """A file; each tensor is read from it when asked for.

    Parameters
    ----------
    data
        The whole file as it is now, usually mapped; no reference to it is kept.

    Raises
    ------
    RequestError
        When a tensor is read and the file was written to since: what was loaded is no longer there.
    """

    def __init__(self, what: str, path: Path, data: memoryview, names: Sequence[str] | None = None) -> None:
        self._version = _version(path.stat())
        layout, _ = locate(data)
        self._views = {view.name: view for view in layout.views}
        super().__init__(what, _chosen(what, sorted(self._views), names))
        self.path, self._storages = path.absolute(), layout.storages

    portable = True

    def reader(self, name: str) -> Callable[[], memoryview]:
        """As of any checkpoint."""
        view = self._views[name]
        return functools.partial(_of_file, self.path, self._version, self._storages[view.storage], view)

    def _read(self, name: str) -> tuple[memoryview, Any]:
        view = self._views[name]
        return _span(self.path, self._version, self._storages[view.storage]), view


def _stored(record: Record, owner: Record, store: ObjectStore, name: str) -> memoryview:
    return contiguous(decode(owner, store, name), record)


def _of_file(path: Path, version: tuple[int, ...], span: Span, view: View) -> memoryview:
    return contiguous(_span(path, version, span), view)


def _span(path: Path, version: tuple[int, ...], span: Span) -> memoryview:
    """Read a part of a file that must not have changed; not mapped: cut short, it would take the kernel with it."""
    with path.open("rb") as file:
        file.seek(span.start)
        data = np.empty(span.size, np.uint8).data
        count = file.readinto(data)
        if count != span.size or _version(os.fstat(file.fileno())) != version:
            raise RequestError(f"{path.name} was written to since it was loaded", hint="load it again")
    return data


def _version(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def as_array(data: memoryview, tensor: Any) -> npt.NDArray[Any]:
    """See the tensor that a record or a view describes in the bytes of its storage."""
    if tensor.stride is None or 0 in tensor.shape:
        return to_array(contiguous(data, tensor), tensor.dtype, tensor.shape)
    step = nbytes(tensor.dtype, (1,))
    rest = data[tensor.offset :]
    flat = to_array(rest[: len(rest) // step * step], tensor.dtype, (len(rest) // step,))
    # In bounds: the manifest, or the layout, was checked against the storage.
    strides = tuple(extent * step for extent in tensor.stride)
    # As plain words, because NumPy does not know every type of ml_dtypes by its letters.
    words = flat.view(f"u{step}") if flat.dtype.isbuiltin == 2 else flat
    return np.lib.stride_tricks.as_strided(words, tensor.shape, strides, writeable=False).view(flat.dtype)


def contiguous(data: memoryview, tensor: Any) -> memoryview:
    """Take the bytes of a tensor, in C order, out of the bytes of its storage."""
    if tensor.stride is None or 0 in tensor.shape:
        return data[tensor.offset : tensor.offset + nbytes(tensor.dtype, tensor.shape)]
    return memoryview(as_array(data, tensor).tobytes())


def _chosen(what: str, present: list[str], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return present
    known = set(present)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"{what} has no tensor {unknown[0]!r}", hint=f"it has {len(present)}, such as {present[:3]}")
    return list(names)
