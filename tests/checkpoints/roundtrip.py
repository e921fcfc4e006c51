"""What every located file must satisfy, and builders of files that no library would write."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.checkpoints import Layout, Span, locate
from theta_jupyter.checkpoints.base import derive
from theta_jupyter.dtypes import DTYPES, to_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

Tensor = tuple[str, tuple[int, ...], bytes]
"""What a tensor is, whoever reads it: dtype, shape, and its bytes in C order."""


def tensors(data: bytes, form: str) -> dict[str, Tensor]:
    """Locate, check everything that can be checked without an oracle, and read the tensors."""
    layout, reason = locate(memoryview(data))
    assert (layout.format, reason) == (form, "")
    check_tiling(layout, data)
    crcs: dict[Span, int] = {}
    for derived in layout.derived:
        found = data[derived.at.start : derived.at.stop]
        assert derive(derived.rule, memoryview(data), derived.over, crcs) == found
    return {
        view.name: (view.dtype, view.shape, _values(layout, data, index)) for index, view in enumerate(layout.views)
    }


def opaque(data: bytes) -> str:
    """Check that a file is kept whole, and give the reason."""
    layout, reason = locate(memoryview(data))
    assert layout.format == "opaque"
    assert reason
    assert "\n" not in reason
    check_tiling(layout, data)
    assert not layout.literals()
    return reason


def check_tiling(layout: Layout, data: bytes) -> None:
    """Check that literals, storages and derived bytes are the file: every byte once."""
    spans = sorted([*layout.literals(), *layout.storages, *(derived.at for derived in layout.derived)])
    assert b"".join(data[span.start : span.stop] for span in spans) == data


def _values(layout: Layout, data: bytes, index: int) -> bytes:
    view = layout.views[index]
    span = layout.storages[view.storage]
    raw = data[span.start : span.stop][view.offset :]
    bits = DTYPES[view.dtype].bits
    if view.stride is None:
        return raw[: int(np.prod(view.shape, dtype=int)) * bits // 8]
    size = bits // 8
    flat: npt.NDArray[Any] = to_array(raw[: len(raw) // size * size], view.dtype, (len(raw) // size,))
    strides = [step * size for step in view.stride]
    return np.lib.stride_tricks.as_strided(flat, view.shape, strides, writeable=False).tobytes()


def safetensors_file(header: Mapping[str, Any] | str, body: bytes = b"", *, length: int | None = None) -> bytes:
    """Build a safetensors file with any header at all."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    b"K\0K\x02K\x02\x86K\x02K\x01\x86\x89NtR"
)
"""Instructions that push a 2 x 2 tensor in storage 0 of four float32."""


def torch_file(
    program: bytes, members: Iterable[tuple[str, bytes]] = (("data/0", bytes(16)),), **options: Any
) -> bytes:
    """Build a torch file with any pickle and any members at all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr("m/data.pkl", program)
        archive.writestr("m/byteorder", b"little")
        for name, data in members:
            archive.writestr(f"m/{name}", data)
    return buffer.getvalue()
