"""Tensor bytes to fewer bytes and back, exactly.

Two ways in, chunk by chunk so that memory stays bounded:

*Whole.* The words of a tensor (floats with the sign bit rotated next to the mantissa, so that the exponent fills a byte
of its own) are split into byte planes, and each plane is compressed with zstd where that pays.

*Residual.* Floats are mapped to integers in the order of their values; prediction is subtracted with wrap-around and
the difference zig-zagged, so that a small change in value is a small number whatever its sign. The size of a step
depends on the exponent, so the differences are grouped by the exponent of the prediction, which the decoder knows; then
planes, zstd. The idea of predicting model weights byte plane by byte plane is that of FM-Delta (NeurIPS 2024) and BitX
(ZipLLM, NSDI 2026); ordering the floats and grouping by exponent take about a tenth more off.

Only integer arithmetic happens here, so the same bytes come back on any machine. Nothing declared in a payload is
trusted: sizes follow from the dtype and the number of bytes expected.

Payload: for each chunk of 2^18 words, for each byte plane (lowest first), a frame: one byte of method (0 raw, 1 zstd,
2 one byte repeated), a little-endian u32 length, the data.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import zstandard

from theta_jupyter.dtypes import DTYPES, DType
from theta_jupyter.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Words = npt.NDArray[np.unsignedinteger[Any]]

__all__ = ["CHUNK_WORDS", "chunk", "pack", "pack_residual", "unpack", "unpack_residual"]

CHUNK_WORDS = 1 << 18
"""Words in a chunk: the planes of one chunk, and their sorting, stay in a core's cache."""

_BLOCK_WORDS = 1 << 15
_MANY_CUTS = 1 << 11
"""Cuts of blocks at exponents that take longer than sorting a chunk as a whole."""
MAX_SKELETON = 1 << 30

_FRAME = struct.Struct("<BI")
_RAW, _ZSTD, _REPEAT = 0, 1, 2
_LEVEL = 1
_ENTROPY = zstandard.ZstdCompressionParameters(
    compression_level=1,
    strategy=zstandard.STRATEGY_FAST,
    min_match=7,
    hash_log=6,
    window_log=17,
    target_length=0,
)
"""For planes whose bytes have a distribution but no order, which is most of them. A short match that is found by chance
costs more than its bytes would as literals: looking for long ones only is smaller, and three times as fast."""
_TASTE = 1 << 13
"""Bytes from the middle of a plane that decide whether it has an order, as text or a table of integers has."""
_ORDER = 0.95
_WORTH = 0.98
"""A compressed plane must be at most this share of the raw one: below that, decoding time buys nothing."""
_local = threading.local()


def pack(data: memoryview, dtype: str) -> bytes:
    """Compress the bytes of a tensor on their own.

    Parameters
    ----------
    data
        Whole words of the dtype, little-endian.
    """
    kind = DTYPES[dtype]
    return b"".join(frame for chunk in _chunks(data, kind) for frame in _frames(_rotate(chunk, kind)))


def unpack(payload: memoryview, dtype: str, out: memoryview) -> None:
    """Undo :func:`pack` into a writable buffer of the right size.

    Raises
    ------
    IntegrityError
        If the payload does not hold just as many bytes as the buffer.
    """
    kind = DTYPES[dtype]
    source = _Source(payload)
    for chunk in _chunks(out, kind):
        chunk[:] = _unrotate(source.words(chunk.size, chunk.dtype), kind)
    source.finish()


def pack_residual(data: memoryview, predicted: memoryview, dtype: str) -> bytes:
    """Compress the bytes of a tensor given a prediction of equal size and dtype."""
    kind = DTYPES[dtype]
    parts: list[bytes] = []
    for new, old in _pairs(data, predicted, kind):
        residual = _zigzag(_ordered(new, kind) - _ordered(old, kind))
        if kind.is_float and residual.any():  # Where nothing is wrong there is no order.
            residual = _grouped(residual, _exponents(old, kind))
        parts.extend(_frames(residual))
    return b"".join(parts)


def unpack_residual(payload: memoryview, predicted: memoryview, dtype: str, out: memoryview) -> None:
    """Undo :func:`pack_residual` into a writable buffer of the size of the prediction.

    Raises
    ------
    IntegrityError
        If the payload does not hold just as many bytes as the buffer.
    """
    kind = DTYPES[dtype]
    source = _Source(payload)
    for chunk, old in _pairs(out, predicted, kind):
        residual = source.words(chunk.size, chunk.dtype)
        if not residual.any():
            chunk[:] = old
            continue
        if kind.is_float:
            residual = _ungrouped(residual, _exponents(old, kind))
        chunk[:] = _unordered(_unzigzag(residual) + _ordered(old, kind), kind)
    source.finish()


def chunk(payload: memoryview, dtype: str, index: int) -> memoryview:
    """Cut the frames of one chunk from a payload, without decoding those before it.

    Raises
    ------
    IntegrityError
        If the payload ends before.
    """
    planes = DTYPES[dtype].word_bytes
    source = _Source(payload)
    for _ in range(index * planes):
        source.skip()
    start = source.position
    for _ in range(planes):
        source.skip()
    return payload[start : source.position]


# Words.


def _chunks(data: memoryview, kind: DType) -> Iterator[Words]:
    words = np.frombuffer(data, dtype=f"<u{kind.word_bytes}")
    for start in range(0, words.size, CHUNK_WORDS):
        yield words[start : start + CHUNK_WORDS]


def _pairs(data: memoryview, predicted: memoryview, kind: DType) -> Iterator[tuple[Words, Words]]:
    if len(data) != len(predicted):
        raise ValueError(f"a prediction of {len(predicted)} bytes for {len(data)}")
    return zip(_chunks(data, kind), _chunks(predicted, kind), strict=True)


def _rotate(words: Words, kind: DType) -> Words:
    if not kind.is_float or kind.word_bytes == 1:
        return words
    return words << words.dtype.type(1) | words >> words.dtype.type(words.itemsize * 8 - 1)


def _unrotate(words: Words, kind: DType) -> Words:
    if not kind.is_float or kind.word_bytes == 1:
        return words
    return words >> words.dtype.type(1) | words << words.dtype.type(words.itemsize * 8 - 1)


def _ordered(words: Words, kind: DType) -> Words:
    """Map sign-and-magnitude floats to two's complement, so that neighbours in value are neighbours as integers."""
    if not kind.is_float:
        return words
    return words ^ (_signs(words) >> words.dtype.type(1))


_unordered = _ordered  # The map is its own inverse: the sign bit, which selects it, is left as it is.


def _zigzag(words: Words) -> Words:
    return words << words.dtype.type(1) ^ _signs(words)


def _unzigzag(words: Words) -> Words:
    one = words.dtype.type(1)
    return words >> one ^ (~(words & one) + one)


def _signs(words: Words) -> Words:
    """All ones where the top bit is set, else zero."""
    signed = np.dtype(f"<i{words.itemsize}")
    signs: Words = (words.view(signed) >> signed.type(words.itemsize * 8 - 1)).view(words.dtype)
    return signs


def _exponents(words: Words, kind: DType) -> Words:
    exponents = words >> words.dtype.type(kind.mantissa) & words.dtype.type((1 << kind.exponent) - 1)
    # NumPy sorts one- and two-byte integers by radix, in time linear in their number.
    return exponents.astype(np.uint8 if kind.exponent <= 8 else np.uint16)


def _grouped(values: Words, exponents: Words) -> Words:
    """Sort values by exponent, stable."""
    blocks = _blocks(exponents)
    if blocks is None:
        return values[np.argsort(exponents, kind="stable")]
    parts = [values[block.start : block.stop].take(block.order) for block in blocks]
    return np.concatenate([parts[number][cut] for _, number, cut in _runs(blocks)])


def _ungrouped(values: Words, exponents: Words) -> Words:
    """Undo :func:`_grouped`."""
    out = np.empty_like(values)
    blocks = _blocks(exponents)
    if blocks is None:
        out[np.argsort(exponents, kind="stable")] = values
        return out
    parts: list[list[Words]] = [[] for _ in blocks]
    position = 0
    for _, number, cut in _runs(blocks):
        size = cut.stop - cut.start
        parts[number].append(values[position : position + size])
        position += size
    for part, block in zip(parts, blocks, strict=True):
        out[block.start : block.stop][block.order] = np.concatenate(part)
    return out


class _Block(NamedTuple):
    """A part of a chunk, sorted by itself.

    Parameters
    ----------
    start, stop
        Where it lies in the chunk.
    order
        How to sort it by exponent.
    levels, edges
        The exponents in it, ascending, and where each begins among the sorted; the last edge is the end.
    """

    start: int
    stop: int
    order: npt.NDArray[np.intp]
    levels: list[int]
    edges: list[int]


def _blocks(exponents: Words) -> list[_Block] | None:
    """Sort a chunk's exponents block by block; None if they are so many that it is better sorted as a whole.

    A block fits into a core's own cache, and is sorted three times as fast as the same values within a chunk. What of
    each block has one exponent then lies together, and is joined with the same of other blocks.
    """
    found, cuts = [], 0
    for start in range(0, exponents.size, _BLOCK_WORDS):
        own = exponents[start : start + _BLOCK_WORDS]
        order = np.argsort(own, kind="stable")
        sorted_ = own.take(order)
        edges = np.flatnonzero(sorted_[1:] != sorted_[:-1]) + 1
        cuts += edges.size + 1
        if cuts > _MANY_CUTS:
            return None
        levels = sorted_[np.append(0, edges)].tolist()
        found.append(_Block(start, start + own.size, order, levels, [0, *edges.tolist(), own.size]))
    return found


def _runs(blocks: Sequence[_Block]) -> list[tuple[int, int, slice]]:
    """Runs of one exponent, ascending, and in the order of blocks: exponent, number of the block, place in it."""
    return sorted(
        (
            (level, number, slice(start, stop))
            for number, block in enumerate(blocks)
            for level, start, stop in zip(block.levels, block.edges[:-1], block.edges[1:], strict=True)
        ),
        key=lambda run: run[:2],
    )


# Planes.


def _frames(words: Words) -> Iterator[bytes]:
    return map(_frame, _split(words))


def _split(words: Words) -> Iterator[npt.NDArray[np.uint8]]:
    """Byte planes, the lowest first."""
    if words.itemsize == 2:
        # Twice as fast as picking every other byte.
        yield words.astype(np.uint8)
        yield (words >> words.dtype.type(8)).astype(np.uint8)
        return
    columns = words.view(np.uint8).reshape(words.size, words.itemsize)
    for index in range(words.itemsize):
        yield np.ascontiguousarray(columns[:, index])


def _join(planes: Sequence[npt.NDArray[np.uint8]], dtype: np.dtype[Any]) -> Words:
    """Undo :func:`_split`."""
    if dtype.itemsize == 2:
        words: Words = planes[1].astype(dtype)
        words <<= dtype.type(8)
        words |= planes[0]
        return words
    columns = np.empty((planes[0].size, dtype.itemsize), np.uint8)
    for index, plane in enumerate(planes):
        columns[:, index] = plane
    return columns.view(dtype).reshape(planes[0].size)


def _frame(plane: npt.NDArray[np.uint8]) -> bytes:
    if plane[0] == plane[-1] and not np.any(plane != plane[0]):
        return _FRAME.pack(_REPEAT, 1) + plane[:1].tobytes()
    packed = _compressor(_has_order(plane)).compress(plane.data)
    if len(packed) > plane.size * _WORTH:
        return _FRAME.pack(_RAW, plane.size) + plane.tobytes()
    return _FRAME.pack(_ZSTD, len(packed)) + packed


class _Source:
    """Reads frames off a payload."""

    def __init__(self, payload: memoryview) -> None:
        self.payload, self.position = payload, 0

    def words(self, count: int, dtype: np.dtype[Any]) -> Words:
        return _join([self._plane(count) for _ in range(dtype.itemsize)], dtype)

    def skip(self) -> tuple[int, memoryview]:
        """Step over one frame, and give its method and its data."""
        try:
            method, length = _FRAME.unpack_from(self.payload, self.position)
        except struct.error:
            raise IntegrityError("stored bytes end too early") from None
        start = self.position + _FRAME.size
        self.position = start + length
        return method, self.payload[start : self.position]

    def _plane(self, size: int) -> npt.NDArray[np.uint8]:
        method, data = self.skip()
        if method == _ZSTD:
            data = memoryview(decompress(data, size))
        elif method == _REPEAT and len(data) == 1:
            return np.full(size, data[0], np.uint8)
        elif method != _RAW:
            raise IntegrityError(f"stored bytes use unknown method {method}")
        if len(data) != size:
            raise IntegrityError(f"stored bytes hold {len(data)} where {size} belong")
        return np.frombuffer(data, np.uint8)

    def finish(self) -> None:
        if self.position != len(self.payload):
            raise IntegrityError("stored bytes go on after their end")


def compress(data: bytes) -> bytes:
    """Compress bytes that are no tensor into one zstd frame."""
    return _compressor(order=True).compress(data)


def decompress(data: memoryview, size: int | None = None) -> bytes:
    """Decompress one zstd frame.

    Parameters
    ----------
    size
        Bytes it should hold; None for any number up to :data:`MAX_SKELETON`.

    Raises
    ------
    IntegrityError
        If it is damaged or declares another size. Nothing is allocated before the declared size is looked at.
    """
    try:
        declared = zstandard.frame_content_size(data)
        if declared != size and not (size is None and 0 <= declared <= MAX_SKELETON):
            raise IntegrityError("a compressed part does not declare the size it should have")
        return _decompressor().decompress(data, max_output_size=declared, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"a compressed part is damaged: {error}") from None


def _has_order(plane: npt.NDArray[np.uint8]) -> bool:
    """Whether looking for matches makes a plane smaller, going by its middle."""
    start = max(0, plane.size - _TASTE) // 2
    taste = plane[start : start + _TASTE].data
    plain = len(_compressor(order=False).compress(taste))
    return plain < _WORTH * len(taste) and len(_compressor(order=True).compress(taste)) < _ORDER * plain


def _compressor(order: bool) -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressors"):
        plain = zstandard.ZstdCompressor(compression_params=_ENTROPY)
        _local.compressors = plain, zstandard.ZstdCompressor(level=_LEVEL)
    compressor: zstandard.ZstdCompressor = _local.compressors[order]
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
