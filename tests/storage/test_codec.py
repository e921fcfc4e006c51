"""The codec gives back what it was given, whatever the bits, and believes nothing that a payload says of itself."""

from __future__ import annotations

import struct
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.samples import flushed
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import IntegrityError
from theta_jupyter.storage import codec

# Words of all widths that are hard on floats: zeros, the ends of each range, infinities, NaNs, subnormal numbers.
HARD = [0, 1, 0x7F, 0x80, 0xFF, 0x7C00, 0x7E00, 0x8000, 0xFC01, 0x7F80, 0xFF80, 0x7F800000, 0x7FC00001, 0x80000000]
HARD += [0xFF800001, 0x00000001, 0x807FFFFF, 0x7FF0000000000000, 0xFFF8000000000001, 0x8000000000000000, (1 << 64) - 1]


def words(size: int) -> st.SearchStrategy[int]:
    return st.sampled_from([value % (1 << 8 * size) for value in HARD]) | st.integers(0, (1 << 8 * size) - 1)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Draw a dtype, a tensor, and a prediction that is sometimes close."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    size = DTYPES[dtype].word_bytes
    new = draw(st.lists(words(size), max_size=40))
    if draw(st.booleans()):
        steps = draw(st.lists(st.integers(-3, 3), min_size=len(new), max_size=len(new)))
        old = [(value + step) % (1 << 8 * size) for value, step in zip(new, steps, strict=True)]
    else:
        old = draw(st.lists(words(size), min_size=len(new), max_size=len(new)))
    one, other = (b"".join(value.to_bytes(size, "little") for value in side) for side in (new, old))
    return dtype, one, other


def unpack(payload: bytes, dtype: str, size: int) -> bytes:
    out = bytearray(b"\xa5" * size)
    codec.unpack(memoryview(payload), dtype, memoryview(out))
    return bytes(out)


def unpack_residual(payload: bytes, old: bytes, dtype: str) -> bytes:
    out = bytearray(b"\xa5" * len(old))
    codec.unpack_residual(memoryview(payload), memoryview(old), dtype, memoryview(out))
    return bytes(out)


def check(dtype: str, new: bytes, old: bytes) -> None:
    assert unpack(codec.pack(memoryview(new), dtype), dtype, len(new)) == new
    assert unpack_residual(codec.pack_residual(memoryview(new), memoryview(old), dtype), old, dtype) == new


@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_whatever_the_bits(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CHUNK_WORDS", chunk)
    settings(max_examples=400, deadline=None)(given(tensors())(lambda tensor: check(*tensor)))()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 127, 128, 129])
def test_at_the_edges_of_chunks(dtype: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CHUNK_WORDS", 64)
    random = np.random.default_rng(count)
    size = count * DTYPES[dtype].word_bytes
    new = random.bytes(size)
    check(dtype, new, random.bytes(size))
    check(dtype, bytes(size), new)
    check(dtype, new, new)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "U16"])
def test_every_pattern_of_a_short_type(dtype: str) -> None:
    every = np.arange(1 << DTYPES[dtype].bits, dtype=f"<u{DTYPES[dtype].bits // 8}")
    check(dtype, every.tobytes(), every[::-1].tobytes())


def test_order_of_floats_is_order_of_integers() -> None:
    values = np.array([-np.inf, -1e30, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1e30, np.inf], np.float32)
    ordered = codec._ordered(values.view("<u4"), DTYPES["F32"]).view("<i4").astype(np.int64)
    assert np.all(np.diff(ordered) > 0)
    # -0.0 is -1, and so one step from 0.0.
    assert ordered[4:6].tolist() == [-1, 0]


def test_the_map_of_a_residual_is_the_one_in_the_contract() -> None:
    """One word of each plane is written as a byte that is repeated, so the numbers can be read off."""
    payload = codec.pack_residual(memoryview(struct.pack("<f", 1.0)), memoryview(struct.pack("<f", 0.5)), "F32")
    plane = struct.Struct("<BIB")
    planes = [plane.unpack_from(payload, at) for at in range(0, len(payload), plane.size)]
    assert [(method, length) for method, length, _ in planes] == [(2, 1)] * 4
    assert sum(byte << 8 * index for index, (_, _, byte) in enumerate(planes)) == 2 * (0x3F800000 - 0x3F000000)


def test_small_changes_cost_little() -> None:
    random = np.random.default_rng(0)
    old = random.normal(size=1 << 16).astype("<f4")
    new = old * np.float32(1 + 1e-6)
    whole = len(codec.pack(memoryview(new.tobytes()), "F32"))
    residual = len(codec.pack_residual(memoryview(new.tobytes()), memoryview(old.tobytes()), "F32"))
    assert whole < 0.9 * new.nbytes
    assert residual < 0.2 * new.nbytes


def test_no_thread_and_no_flushing_changes_a_bit() -> None:
    random = np.random.default_rng(1)
    new = random.integers(0, 1 << 20, 300_000).astype("<u4").tobytes()  # Read as F32: all subnormal.
    old = random.bytes(len(new))

    def work(_: int) -> tuple[bytes, bytes]:
        return codec.pack(memoryview(new), "F32"), codec.pack_residual(memoryview(new), memoryview(old), "F32")

    expected = work(0)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(8))) == {expected}
        decoded = pool.map(lambda _: unpack_residual(expected[1], old, "F32"), range(8))
        assert set(decoded) == {new}
    with flushed():
        assert work(0) == expected
        assert unpack(expected[0], "F32", len(new)) == new
        assert unpack_residual(expected[1], old, "F32") == new


# Payloads from strangers.


def payload() -> tuple[bytes, bytes]:
    """A payload with frames of all three methods, and what it holds."""
    random = np.random.default_rng(2)
    data = np.zeros((200, 4), np.uint8)
    data[:, 0] = np.frombuffer(random.bytes(200), np.uint8)
    data[:, 1] = np.arange(200) // 50
    packed = codec.pack(memoryview(data.tobytes()), "U32")
    assert {packed[0], packed[5 + 200]} == {0, 1}
    return packed, data.tobytes()


def test_a_payload_cut_short_is_refused() -> None:
    packed, data = payload()
    for length in range(len(packed)):
        with pytest.raises(IntegrityError):
            unpack(packed[:length], "U32", len(data))


@pytest.mark.parametrize("extra", [b"\0", b"\2\1\0\0\0\0", b"PK"])
def test_a_payload_that_goes_on_is_refused(extra: bytes) -> None:
    packed, data = payload()
    with pytest.raises(IntegrityError, match="after their end"):
        unpack(packed + extra, "U32", len(data))


def test_a_payload_for_another_size_is_refused() -> None:
    packed, data = payload()
    for size in (0, 4, len(data) - 4, len(data) + 4, 2 * len(data)):
        with pytest.raises(IntegrityError):
            unpack(packed, "U32", size)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_a_mutated_payload_is_refused_or_only_wrong(data: st.DataObject) -> None:
    packed, expected = payload()
    mutated = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(unpack(bytes(mutated), "U32", len(expected))) == len(expected)
        unpack_residual(bytes(mutated), expected, "F32")
    except IntegrityError:
        pass


@given(st.binary(max_size=200), st.sampled_from(sorted(DTYPES)), st.integers(0, 20))
@settings(max_examples=300, deadline=None)
def test_noise_is_refused_or_only_wrong(noise: bytes, dtype: str, count: int) -> None:
    size = count * DTYPES[dtype].word_bytes
    try:
        unpack(noise, dtype, size)
        unpack_residual(noise, bytes(size), dtype)
    except IntegrityError:
        pass


def zstd(data: bytes, *, says_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=says_size).compress(data)


@pytest.mark.parametrize(
    "frame",
    [
        zstd(bytes(1 << 26)),
        zstd(bytes(1 << 26), says_size=False),
        zstd(bytes(64), says_size=False),
        zstd(bytes(64)) + zstd(bytes(1 << 26)),
        zstd(bytes(64)) + b"x",
        # A frame that declares 2^60 bytes, and one with a window of 2^31.
        bytes.fromhex("28b52ffd") + b"\xe0" + (1 << 60).to_bytes(8, "little") + b"\x01\0\0",
        bytes.fromhex("28b52ffd") + b"\x00\xa8" + b"\x01\0\0",
        bytes.fromhex("502a4d18ffffffff"),
    ],
)
def test_a_bomb_does_not_go_off(frame: bytes) -> None:
    bomb = struct.pack("<BI", 1, len(frame)) + frame
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        unpack(bomb, "U8", 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("method", [0, 1, 2, 3, 255])
def test_a_frame_that_says_it_is_huge_is_refused(method: int) -> None:
    with pytest.raises(IntegrityError):
        unpack(struct.pack("<BI", method, 0xFFFFFFFF) + b"x" * 64, "U8", 64)


def test_a_skeleton_must_say_a_size_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_SKELETON", 100)
    assert codec.decompress(memoryview(codec.compress(bytes(100)))) == bytes(100)
    for frame in (codec.compress(bytes(101)), zstd(bytes(50), says_size=False), b"", b"\0" * 20):
        with pytest.raises(IntegrityError):
            codec.decompress(memoryview(frame))


def test_a_prediction_of_another_size_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="a prediction of 4 bytes"):
        codec.pack_residual(memoryview(bytes(8)), memoryview(bytes(4)), "F32")
    with pytest.raises(ValueError, match="a prediction of 4 bytes"):
        codec.unpack_residual(memoryview(b""), memoryview(bytes(4)), "F32", memoryview(bytearray(8)))


@pytest.mark.parametrize("order", [False, True])
def test_each_thread_has_compressors_of_its_own(order: bool) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(codec._compressor(order))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in [*found, codec._compressor(order)]}) == 3
    assert codec._compressor(order) is codec._compressor(order)
