"""A shelf to work at, and bytes to work on."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from theta_jupyter.storage import snapshot
from theta_jupyter.storage.manifest import Manifest, Record, dump, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from theta_jupyter.storage.contest import Said
    from theta_jupyter.storage.objects import ObjectStore


@dataclass
class Known:
    """What may be reused: manifests, and records by hash."""

    manifests: list[Manifest] = field(default_factory=list)
    records: Mapping[str, Record] = field(default_factory=dict)
    said: Mapping[str, Said] = field(default_factory=dict)

    def record(self, blake3_hex: str, /) -> Record | None:
        return self.records.get(blake3_hex)

    def kin(self, name: str, record: Record, /) -> list[Record]:  # noqa: ARG002 - as the protocol has it
        return []


def take(data: bytes, store: ObjectStore, *known: Manifest) -> Manifest:
    """Store a file, check that its manifest can be written down, and give it."""
    manifest = snapshot.take(memoryview(data), Known(list(known)), store)
    assert parse(dump(manifest)) == manifest
    return manifest


def restore(manifest: Manifest, store: ObjectStore) -> bytes:
    """Rebuild a file in a buffer of rubbish, so that nothing is right by chance."""
    out = bytearray(b"\xa5" * manifest.header.size)
    snapshot.restore(manifest, store, memoryview(out))
    return bytes(out)


def save(tree: Any, **options: Any) -> bytes:
    """Make a torch file."""
    buffer = io.BytesIO()
    torch.save(tree, buffer, **options)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    """Make a NumPy archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Flush subnormal numbers to zero in this thread, as a notebook may."""
    assert torch.set_flush_denormal(True)
    try:
        assert np.float32(2.0**-126) * np.float32(0.5) == 0
        yield
        assert np.float32(2.0**-126) * np.float32(0.5) == 0
    finally:
        torch.set_flush_denormal(False)


def moved(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every value a little other, by a factor of its own: what only a delta says well."""
    factors = 1 + 1e-6 * np.random.default_rng(5).random(values.shape)
    return (values * factors).astype(values.dtype)
