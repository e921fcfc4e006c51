"""What a manifest would say of tensors that are not stored: in a file nobody tracks, or in memory.

Hashes, measurements and sketches are those of a stored version, so that the two can be compared. There are no nodes:
nothing is written, and nothing can be rebuilt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from theta_jupyter.checkpoints import View, locate
from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import RequestError
from theta_jupyter.storage.arrays import Checkpoint
from theta_jupyter.storage.manifest import OPAQUE, Header, Manifest, Place, Record, content_hash
from theta_jupyter.storage.pool import Progress, each, silent
from theta_jupyter.storage.snapshot import owners_of, record_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LiveCheckpoint", "survey_file", "survey_live"]

_NOWHERE = "0" * 64


def survey_file(data: memoryview, known: Mapping[str, Record], progress: Progress = silent) -> Manifest:
    """Describe the tensors of a file.

    Parameters
    ----------
    data
        The whole file, usually mapped; no reference to it is kept.
    known
        Records by hash, of what it will be compared with: equal tensors need not be measured again.
    """
    layout, _ = locate(data)
    owners = owners_of(layout)
    works = list(zip(owners, layout.storages, strict=True))

    def one(work: tuple[View, Any]) -> Record:
        view, span = work
        # A private copy, so that what is hashed is what is measured, whoever writes to the file meanwhile.
        return record_of(view, memoryview(bytes(data[span.start : span.stop])), known)

    found = each("reading", one, works, lambda work: work[1].size, progress, copies=3)
    records = {view.name: record for view, record in zip(owners, found, strict=True)}
    for view in layout.views:
        if view.name not in records:
            of = owners[view.storage].name
            records[view.name] = Record(view.dtype, view.shape, offset=view.offset, stride=view.stride, of=of)
    return _manifest(layout.format, layout.size, records)


class LiveCheckpoint(Checkpoint):
    """Tensors in memory, of torch or NumPy, under the names they would have in a file.

    Parameters
    ----------
    what
        What to call it in errors.
    tensors
        They are not copied. One that changes after :func:`survey_live` looked at it can no longer be read.
    like
        Records of a file that they will be compared with, by name: a tensor of the same shape is taken to lie in the
        same order of dimensions, which another memory format of torch changes.

    Raises
    ------
    RequestError
        If a tensor is of a type that no checkpoint holds; when reading one that has changed.
    """

    def __init__(self, what: str, tensors: Mapping[str, Any], like: Mapping[str, Record] | None = None) -> None:
        super().__init__(what, list(tensors))
        self._tensors = tensors
        self._hashes: dict[str, str] = {}
        self.views = {name: _laid(_view(name, tensor), (like or {}).get(name)) for name, tensor in tensors.items()}

    def _read(self, name: str) -> tuple[memoryview, Any]:
        data = self._bytes(name)
        expected = self._hashes.get(name)
        if expected and blake3(data).hexdigest() != expected:
            raise RequestError(
                f"tensor {name!r} of {self._what} has changed since it was compared", hint="compare again"
            )
        return data, self.views[name]

    def record(self, name: str, known: Mapping[str, Record]) -> Record:
        """Describe a tensor as it is now; from now on, it must stay so."""
        record = record_of(self.views[name], self._bytes(name), known)
        self._hashes[name] = record.blake3
        return record

    def _bytes(self, name: str) -> memoryview:
        tensor, order = self._tensors[name], _order(self.views[name].stride)
        return _bytes(
            tensor if order is None else tensor.permute(order) if _is_torch(tensor) else tensor.transpose(order)
        )


def survey_live(live: LiveCheckpoint, known: Mapping[str, Record], progress: Progress = silent) -> Manifest:
    """Describe tensors in memory; see :func:`survey_file`."""
    names = sorted(live, key=str.encode)
    sizes = {name: nbytes(live.views[name].dtype, live.views[name].shape) for name in names}
    found = each("reading", lambda name: live.record(name, known), names, sizes.__getitem__, progress, copies=3)
    return _manifest("live", sum(sizes.values()), dict(zip(names, found, strict=True)))


def _manifest(kind: str, size: int, records: dict[str, Record]) -> Manifest:
    content = content_hash(records) if kind == OPAQUE else ""
    header = Header(kind, size, _NOWHERE, Place(_NOWHERE, 0), content)
    return Manifest(header, dict(sorted(records.items(), key=lambda item: item[0].encode())))


def _view(name: str, tensor: Any) -> View:
    # NumPy's name says nothing of the byte order; torch's is all there is.
    kind = getattr(tensor.dtype, "name", "") or str(tensor.dtype).removeprefix("torch.")
    if getattr(tensor, "is_meta", False) or str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":
        raise RequestError(f"tensor {name!r} has no plain values: it is sparse, or on the meta device")
    for dtype in DTYPES.values():
        if dtype.numpy == kind and dtype.bits >= 8:
            return View(name, dtype.name, tuple(tensor.shape), 0)
    raise RequestError(f"tensor {name!r} is of type {kind}, which no checkpoint holds")


def _laid(view: View, like: Record | None) -> View:
    """The view, with the strides it has in a file, if there it is all of a storage in another order."""
    if like is None or like.stride is None or like.offset or (like.dtype, like.shape) != (view.dtype, view.shape):
        return view
    extent = 1
    for dimension in reversed(_order(like.stride) or []):
        if like.shape[dimension] != 1 and like.stride[dimension] != extent:
            return view
        extent *= like.shape[dimension]
    return View(view.name, view.dtype, view.shape, view.storage, 0, like.stride)


def _order(stride: Sequence[int] | None) -> list[int] | None:
    """The dimensions as they lie in memory, the outermost first; None if that is as they are counted."""
    return None if stride is None else sorted(range(len(stride)), key=lambda dimension: -stride[dimension])


def _is_torch(tensor: Any) -> bool:
    return hasattr(tensor, "detach")


def _bytes(tensor: Any) -> memoryview:
    """The values of a tensor as they are now, little-endian, in C order: a copy of its own."""
    if _is_torch(tensor):
        import torch

        flat = tensor.detach().to("cpu", copy=True).resolve_conj().resolve_neg().contiguous().reshape(-1)
        # Seen as bytes: NumPy has no bfloat16.
        return memoryview(flat.view(torch.uint8).numpy())
    array = np.array(tensor, order="C")
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data
