"""Blosc's container, as far as git-theta writes it: values in blocks, bytes or bits transposed, compressed by LZ4.

Little is needed to read it, and no library for it is needed anywhere else. The mantissas of weights do not compress and
lie there as they are, so that what Python is slow at is the smaller part.
"""

from __future__ import annotations

import struct

import numpy as np

from theta_jupyter.errors import CheckpointError

__all__ = ["decompress", "size_of"]

_HEADER = struct.Struct("<4B3I")
_BYTES, _COPIED, _BITS, _WHOLE = 0x1, 0x2, 0x4, 0x10
"""Flags: bytes are transposed; nothing is compressed; bits are transposed; blocks are not split into their planes."""
_VERSION, _LZ4 = 2, 1
_MAX_SPLITS, _MIN_SPLIT = 16, 128
"""A block is split into as many parts as a value has bytes, if these are so few and each part so large."""
_RATIO = 256
"""LZ4 makes no more of a byte."""


def size_of(data: bytes) -> int:
    """Bytes that :func:`decompress` will return, which are no more than the data can hold.

    Raises
    ------
    CheckpointError
        If it is no such container.
    """
    if len(data) < _HEADER.size:
        raise CheckpointError("a chunk is shorter than the header of Blosc")
    size: int = _HEADER.unpack_from(data)[4]
    if size > _RATIO * len(data):
        raise CheckpointError(f"a chunk of {len(data)} bytes cannot hold {size}")
    return size


def decompress(data: bytes) -> bytes:
    """Read a container.

    Raises
    ------
    CheckpointError
        If it is damaged, or of another kind.
    """
    size = size_of(data)
    version, _, flags, width, _, block, length = _HEADER.unpack_from(data)
    if version != _VERSION or length != len(data) or (size and not (block and width)):
        raise CheckpointError("a chunk is not what Blosc writes")
    if flags & _COPIED:
        if length != _HEADER.size + size:
            raise CheckpointError("a chunk is not as long as it says")
        return data[_HEADER.size :]
    if flags >> 5 != _LZ4:
        raise CheckpointError(f"a chunk is compressed by codec {flags >> 5} of Blosc, and only LZ4 is known")
    try:
        starts = struct.unpack_from(f"<{-(-size // block)}I", data, _HEADER.size)
        blocks = [
            _block(data, start, min(block, size - number * block), block, flags, width)
            for number, start in enumerate(starts)
        ]
    except (IndexError, struct.error):
        raise CheckpointError("a chunk is cut short") from None
    return b"".join(blocks)


def _block(data: bytes, at: int, size: int, usual: int, flags: int, width: int) -> bytes:
    is_split = not flags & _WHOLE and size == usual and width <= _MAX_SPLITS and usual // width >= _MIN_SPLIT
    count = width if is_split else 1
    part, parts = size // count, []
    for _ in range(count):
        [length] = struct.unpack_from("<I", data, at)
        at += 4
        raw = data[at : at + length]
        if len(raw) < length:
            raise CheckpointError("a chunk is cut short")
        parts.append(raw if length == part else _lz4(raw, part))
        at += length
    joined = b"".join(parts)
    if flags & _BYTES and width > 1:
        return _transposed(joined, width)
    # Bits are only transposed where they fill bytes.
    return _untwisted(joined, width) if flags & _BITS and size // width % 8 == 0 else joined


def _transposed(planes: bytes, width: int) -> bytes:
    """Planes of bytes, one for each byte of a value, to values."""
    whole = len(planes) // width * width
    return np.frombuffer(planes[:whole], np.uint8).reshape(width, -1).T.tobytes() + planes[whole:]


def _untwisted(planes: bytes, width: int) -> bytes:
    """Planes of bits, one for each bit of a value, to values."""
    whole = len(planes) // width * width
    bits = np.unpackbits(np.frombuffer(planes[:whole], np.uint8).reshape(width * 8, -1), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes() + planes[whole:]


def _lz4(data: bytes, size: int) -> bytes:
    """A block of LZ4: runs of literal bytes, each followed by a copy of something before."""
    out = bytearray()
    at = 0
    while True:
        token = data[at]
        count, at = _count(data, at + 1, token >> 4)
        out += data[at : at + count]
        at += count
        if at >= len(data):
            break
        offset = data[at] | data[at + 1] << 8
        count, at = _count(data, at + 2, token & 15)
        start, count = len(out) - offset, count + 4
        if not offset or start < 0 or len(out) + count > size:
            raise CheckpointError("a chunk is damaged")
        # What is copied may reach into itself: then it repeats.
        again = out[start : start + count]
        out += again if offset >= count else (again * (count // offset + 1))[:count]
    if len(out) != size:
        raise CheckpointError("a chunk is damaged")
    return bytes(out)


def _count(data: bytes, at: int, count: int) -> tuple[int, int]:
    """A length, which goes on in further bytes where it does not fit into four bits."""
    if count == 15:
        while (more := data[at]) == 255:
            count, at = count + 255, at + 1
        count, at = count + more, at + 1
    return count, at
