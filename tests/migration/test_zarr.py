"""Arrays as git-theta writes them, and others, which are refused; by bytes that were written by hand."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from theta_jupyter.errors import CheckpointError
from theta_jupyter.migration import blosc, zarr

BLOSC = {"blocksize": 0, "clevel": 5, "cname": "lz4", "id": "blosc", "shuffle": -1}
COPIED, SPLIT, WHOLE, BITS = 0x33, 0x21, 0x31, 0x34


def container(flags: int, width: int, size: int, block: int, *parts: bytes) -> bytes:
    """A container of one block, with these streams."""
    body = struct.pack("<I", 20) + b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return struct.pack("<4B3I", 2, 1, flags, width, size, block, 16 + len(body)) + body


def copied(data: bytes, width: int = 4) -> bytes:
    return struct.pack("<4B3I", 2, 1, COPIED, width, len(data), len(data), 16 + len(data)) + data


def header(shape: list[int], chunks: list[int], dtype: str = "<f4", **more: Any) -> bytes:
    told = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": dtype, "order": "C", "filters": None}
    return json.dumps({**told, "compressor": BLOSC, "fill_value": None, "dimension_separator": ".", **more}).encode()


def test_lz4_with_a_copy_that_reaches_into_itself() -> None:
    # "ab", then 18 more from 2 back: 15 + 0 and the usual 4, less 1; then "end".
    data = container(WHOLE, 1, 24, 24, bytes([0x2F, *b"ab", 2, 0, 0, 0x30, *b"end"]))
    assert blosc.decompress(data) == b"ab" + b"ab" * 9 + b"a" + b"end"[:3]


def test_planes_of_bytes() -> None:
    values = np.arange(256, dtype="<u2")
    planes = values.view(np.uint8).reshape(-1, 2).T
    low = planes[0].tobytes()
    high = bytes([0x1F, 0, 1, 0, 255 - 15 - 0, 0x00])
    assert planes[1].tobytes() == bytes(256)
    high = bytes([0x1F, 0, 1, 0, 235, 0x10, 0])  # One zero, 254 copies of it, and another.
    assert blosc.decompress(container(SPLIT, 2, 512, 512, low, high)) == values.tobytes()


def test_planes_of_bits() -> None:
    values = np.arange(256, dtype=np.uint8)
    bits = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little").T
    planes = np.packbits(bits, axis=1, bitorder="little").tobytes()
    assert blosc.decompress(container(BITS, 1, 256, 256, planes)) == values.tobytes()


def test_chunks_at_the_edge() -> None:
    values = np.arange(15, dtype=np.float32).reshape(3, 5)
    padded = np.zeros((4, 6), np.float32)
    padded[:3, :5] = values
    parts = {f"{i}.{j}": padded[2 * i : 2 * i + 2, 3 * j : 3 * j + 3] for i in range(2) for j in range(2)}
    members = {name: copied(part.tobytes()) for name, part in parts.items()}
    np.testing.assert_array_equal(zarr.array({".zarray": header([3, 5], [2, 3]), **members}), values)
    raw = {name: part.tobytes() for name, part in parts.items()}
    np.testing.assert_array_equal(zarr.array({".zarray": header([3, 5], [2, 3], compressor=None), **raw}), values)
    del members["1.0"]
    with pytest.raises(CheckpointError, match="lacks"):
        zarr.array({".zarray": header([3, 5], [2, 3]), **members})
    with pytest.raises(CheckpointError, match=r"lacks its chunk 1\.0"):
        zarr.array({".zarray": header([3, 5], [2, 3]), **members, "other": b""})


def test_a_single_value_and_none() -> None:
    assert zarr.array({".zarray": header([], [], "<f8"), "0": copied(np.float64(2.5).tobytes(), 8)}) == 2.5
    assert zarr.array({".zarray": header([0, 3], [1, 3])}).shape == (0, 3)


@pytest.mark.parametrize(
    "told",
    [
        header([4], [4], "|O"),
        header([4], [4], "<U4"),
        header([4], [4], "<f3"),
        header([4], [4], order="F"),
        header([4], [4], zarr_format=3),
        header([4], [4], filters=[{"id": "delta"}]),
        header([4], [4], compressor={"id": "zstd", "level": 3}),
        header([4], [0]),
        header([-4], [4]),
        header([4, 4], [4]),
        header([1 << 60], [1 << 60]),
        header([1 << 60], [1]),
        header([3], [3]),
        b"{}",
        b"not json",
    ],
)
def test_other_arrays(told: bytes) -> None:
    with pytest.raises(CheckpointError):
        zarr.array({".zarray": told, "0": copied(bytes(16))})


@pytest.mark.parametrize(
    "data",
    [
        b"short",
        copied(bytes(16))[:-1],
        copied(bytes(16))[:16],
        b"\3" + copied(bytes(16))[1:],
        container(WHOLE, 1, 24, 24, bytes([0x2F, *b"ab", 2, 0, 0, 0x20, *b"en"])),
        container(WHOLE, 1, 24, 24, bytes([0x2F, *b"ab", 3, 0, 0, 0x30, *b"end"])),
        container(WHOLE, 1, 24, 24, bytes([0x2F, *b"ab", 0, 0, 0, 0x30, *b"end"])),
        container(WHOLE, 1, 24, 24, bytes([0x2F, *b"ab", 2])),
        container(WHOLE, 1, 24, 24, bytes([0x2F, *b"ab", 2, 0, 255, 255, 0, 0x30, *b"end"])),
        container(WHOLE | 0x60, 1, 24, 24, b""),
        container(WHOLE, 1, 1 << 31, 1 << 31, b""),
        container(WHOLE, 0, 24, 24, b""),
        container(WHOLE, 1, 24, 0, b""),
        container(WHOLE, 1, 24, 1, b"abc"),
    ],
)
def test_damaged_chunks(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        blosc.decompress(data)
