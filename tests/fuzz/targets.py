"""What is fuzzed: each parser of bytes that somebody else may have written.

A target gets any bytes. It may refuse them with the errors that its parser promises, and with no other; what it accepts
has to keep what the parser promises of it.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from safetensors.numpy import save

from tests.e2e.repo import Repo, safetensors, torch_file, weights
from theta_jupyter.checkpoints import numpy, torch
from theta_jupyter.checkpoints import safetensors as safetensors_format
from theta_jupyter.checkpoints.base import Layout, check
from theta_jupyter.drivers import pktline
from theta_jupyter.errors import CheckpointError, IntegrityError, ManifestError, RequestError
from theta_jupyter.git.entries import _patch
from theta_jupyter.merges import plan as plans
from theta_jupyter.storage import codec, sketch
from theta_jupyter.storage.manifest import dump, parse
from theta_jupyter.updates import parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["TARGETS", "Target"]

DTYPES = ("F32", "BF16", "F16", "F64", "I64", "U8", "F8_E4M3")
LIMIT = 1 << 16
"""Bytes a target may be asked to decode to."""


class Target(NamedTuple):
    """A parser under fire, and inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


def _manifest(data: bytes) -> None:
    with suppress(ManifestError):
        manifest = parse(data)
        # It is written as it can be read, and says what it needs without more ado.
        assert parse(dump(manifest)) == manifest
        manifest.places()
        for name in manifest.records:
            assert manifest.owner(name).nbytes >= 0


def _sketch(data: bytes) -> None:
    with suppress(ValueError), sketch.fixed_arithmetic():
        found = sketch.decode(data.decode("latin-1"))
        assert sketch.decode(sketch.encode(found)) == found


def _payload(data: bytes) -> None:
    """The bytes of a node: what follows a type, a size and what was predicted."""
    if len(data) < 4:
        return
    dtype, count, residual = DTYPES[data[0] % len(DTYPES)], data[1] | data[2] << 8, data[3] & 1
    out = memoryview(bytearray(count * 8))
    payload = memoryview(data)[4:]
    with suppress(IntegrityError):
        if residual:
            codec.unpack_residual(payload, _predicted(count), dtype, out)
        else:
            codec.unpack(payload, dtype, out)


def _predicted(count: int) -> memoryview:
    return memoryview(np.random.default_rng(count).bytes(count * 8))


def _parameters(data: bytes) -> None:
    with suppress(IntegrityError):
        arrays = parameters.unpack(memoryview(data), ("i4", "f4", "u1"), LIMIT)
        assert sum(array.nbytes for array in arrays) <= LIMIT + 192


def _layout(locate: Callable[[memoryview], Layout | None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        with suppress(CheckpointError):
            layout = locate(memoryview(data))
            if layout is not None:
                check(layout, len(data))

    return run


def _packets(data: bytes) -> None:
    stream = io.BytesIO(data)
    with suppress(EOFError, ValueError):
        while True:
            for packet in pktline.read_packets(stream):
                assert len(packet) <= pktline.LARGEST


def _index(data: bytes) -> None:
    """Git's index, in which stat data is put."""
    with suppress(ValueError, IndexError, struct.error):
        found = bytearray(data)
        _patch(found, 20, "sha1", {"m.safetensors": ("0" * 40, Path("/").stat())})
        assert len(found) == len(data)


def _plan(data: bytes) -> None:
    with suppress(RequestError):
        plan = plans.read(data.decode(errors="replace"))
        assert plans.read(plan.text()) == plan


def _manifests() -> Iterable[bytes]:
    with TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        repo = Repo(Path(folder, "work"), home).init()
        repo.git("theta", "track", "*.safetensors", "*.pt")
        repo.commit(safetensors())
        repo.commit(safetensors(a=1, wide=2))
        yield repo.text()
        wide = weights()["wide"]
        other = {"half": wide.astype(np.float16), "few": wide[:100], "wide": wide * np.float32(2)}
        repo.commit(save(other), path="n.safetensors")
        yield repo.text("HEAD:n.safetensors")
        repo.commit(torch_file(), path="m.pt")
        yield repo.text("HEAD:m.pt")


def _payloads() -> Iterable[bytes]:
    random = np.random.default_rng(0)
    for number, dtype in enumerate(DTYPES):
        for count in (0, 1, 64, 1000):
            head = bytes([number, count & 255, count >> 8])
            data = memoryview(bytearray(random.integers(0, 9, count * 8, np.uint8).tobytes()))
            yield head + b"\0" + codec.pack(data, dtype)
            yield head + b"\1" + codec.pack_residual(data, _predicted(count), dtype)


def _arrays() -> Iterable[bytes]:
    yield parameters.pack(np.arange(6, dtype="i4").reshape(2, 3), np.ones(4, "f4"), np.zeros((0, 2), "u1"))


def _archives() -> Iterable[bytes]:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3), b=np.zeros((2, 2), np.int8))
    yield buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.ones((2, 3)))
    yield buffer.getvalue()


def _indexes() -> Iterable[bytes]:
    with TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        repo = Repo(Path(folder, "work"), home).init()
        for name in ("m.safetensors", "n/a", "n/b"):
            repo.write(b"x", name)
        for version in ("2", "3", "4"):
            repo.git("add", "--all")
            repo.git("update-index", "--index-version", version)
            yield (repo.top / ".git/index").read_bytes()


TARGETS = {
    "manifest": Target(_manifest, _manifests),
    "sketch": Target(_sketch, lambda: [sketch.encode(tuple(map(float, range(sketch.BUCKETS)))).encode(), b"-"]),
    "payload": Target(_payload, _payloads),
    "parameters": Target(_parameters, _arrays),
    "safetensors": Target(_layout(safetensors_format.locate), lambda: [safetensors(), save({})]),
    "torch": Target(_layout(torch.locate), lambda: [torch_file()]),
    "numpy": Target(_layout(numpy.locate), _archives),
    "packets": Target(_packets, lambda: [b"0016git-filter-client\n0000", b"0005a0000"]),
    "index": Target(_index, _indexes),
    "plan": Target(_plan, lambda: [b"rules:\n- tensors: 'encoder.*'\n  strategy: linear\n  weight: [0.3, 0.7]\n"]),
}
