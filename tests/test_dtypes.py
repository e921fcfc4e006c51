"""The table of dtypes agrees with the libraries that read the files."""

from __future__ import annotations

import bisect
import functools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load

from tests.checkpoints.roundtrip import safetensors_file
from theta_jupyter.dtypes import DTYPES, from_floats, nbytes, to_array, to_floats

if TYPE_CHECKING:
    import numpy.typing as npt

TORCH = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}


@pytest.mark.parametrize("name", TORCH)
def test_short_floats_are_what_torch_says(name: str) -> None:
    bits = np.arange(1 << DTYPES[name].bits, dtype=f"<u{DTYPES[name].bits // 8}")
    ours = to_floats(bits.tobytes(), name)
    theirs = torch.from_numpy(bits.copy()).view(TORCH[name]).float().numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == np.float32


def test_every_bfloat16_is_what_ml_dtypes_says() -> None:
    """Bit for bit: signs of zeros, payloads of NaN, subnormal numbers."""
    bits = np.arange(1 << 16, dtype="<u2")
    ours = to_floats(bits.tobytes(), "BF16")
    theirs = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    # A signalling NaN is made quiet by a conversion; any NaN is one.
    real = ~np.isnan(theirs)
    np.testing.assert_array_equal(ours.view(np.uint32)[real], theirs.view(np.uint32)[real])
    assert np.isnan(ours[~real]).all()
    assert ours.dtype == np.float32
    assert to_floats(memoryview(b""), "BF16").shape == (0,)
    # At any place: what is read may be a part of something larger.
    assert to_floats(memoryview(b"x" + bits.tobytes())[1:], "BF16")[0x3F80] == 1


@pytest.mark.parametrize("name", ["BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F32", "F64", "C64"])
def test_plain_numbers_are_what_safetensors_says(name: str) -> None:
    raw = bytes(2) + np.random.default_rng(0).bytes(94)
    if name == "BOOL":
        raw = bytes(value & 1 for value in raw)
    size = len(raw) * 8 // DTYPES[name].bits
    file = safetensors_file({"x": {"dtype": name, "shape": [size], "data_offsets": [0, len(raw)]}}, raw)
    with np.errstate(all="ignore"):
        theirs = load(file)["x"]
        np.testing.assert_array_equal(to_array(raw, name, (size,)), theirs)
        if name != "C64":
            np.testing.assert_array_equal(to_floats(raw, name), theirs.astype(to_floats(raw, name).dtype))


def test_complex_numbers_are_pairs() -> None:
    values = np.array([1 + 2j, -3 - 4j])
    assert to_floats(values.tobytes(), "C128").tolist() == [1, 2, -3, -4]
    assert to_floats(values.astype("<c8").tobytes(), "C64").tolist() == [1, 2, -3, -4]


def test_packed_elements_are_taken_lowest_bits_first() -> None:
    # 0x2 is 1.0 and 0x7 is 6.0 in float4.
    assert to_floats(b"\x72\x27", "F4").tolist() == [1, 6, 6, 1]
    assert to_floats(b"", "F6_E2M3").tolist() == []
    # Four elements of six bits in three bytes: 8, 16, 24 and 0 quarters of an eighth.
    assert to_floats((8 | 16 << 6 | 24 << 12).to_bytes(3, "little"), "F6_E2M3").tolist() == [1, 2, 4, 0]


def test_a_strange_bool_is_its_byte() -> None:
    """What NumPy makes of a truth value that is neither 0 nor 1 depends on the machine."""
    assert to_floats(b"\0\1\2\xff", "BOOL").tolist() == [0, 1, 2, 255]


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_copy_is_made_where_elements_are_whole_bytes(dtype: str) -> None:
    data = bytearray(48)
    array = to_array(data, dtype, (48 * 8 // DTYPES[dtype].bits,))
    assert np.shares_memory(array, np.frombuffer(data, np.uint8)) == (DTYPES[dtype].bits >= 8)


def test_sizes() -> None:
    assert nbytes("F32", ()) == 4
    assert nbytes("C128", (2, 3)) == 96
    assert nbytes("F6_E3M2", (4,)) == 3
    assert nbytes("F4", (0, 3)) == 0
    for dtype, shape in [("F33", (1,)), ("F32", (-1,)), ("F4", (3,)), ("F6_E3M2", (2,))]:
        with pytest.raises(ValueError, match=r"dtype|dimension|whole bytes"):
            nbytes(dtype, shape)


# Real numbers to bytes.

LEVELS = [name for name, kind in DTYPES.items() if not kind.is_whole and kind.words == 1 and kind.bits <= 8]


def array_type(name: str) -> np.dtype[Any]:
    numpy = DTYPES[name].numpy
    found: np.dtype[Any] = np.dtype(getattr(np, numpy, None) or getattr(ml_dtypes, numpy))
    return found


def every(name: str) -> bytes:
    """Each value of a short type, or many of a long one."""
    bits = DTYPES[name].bits
    if bits == 16:
        return np.arange(1 << 16, dtype="<u2").tobytes()
    if name == "BOOL":
        return b"\0\1" * 24
    raw = np.random.default_rng(1).bytes(1 << 13)
    return raw if bits > 8 else bytes(range(256)) * 3


@pytest.mark.parametrize("name", DTYPES)
def test_what_was_read_is_written_back(name: str) -> None:
    data = every(name)
    with np.errstate(all="ignore"):
        values = to_floats(data, name)
        for given_ in (values, values.astype(np.float64)):
            found = from_floats(given_, name)
            again = to_floats(found, name)
            np.testing.assert_array_equal(again, values)
            np.testing.assert_array_equal(np.signbit(again[values == 0]), np.signbit(values[values == 0]))
    if name not in {"I64", "U64"} and np.all(np.isfinite(values)):
        assert found == data
    assert from_floats(np.zeros(0, np.float32), name) == b""


@pytest.mark.parametrize("name", ["I64", "U64"])
def test_integers_are_kept_as_far_as_doubles_go(name: str) -> None:
    values = np.array([0, 1, 2**53, 2**53 - 1, 2**62, 2**63 - 2**10], DTYPES[name].numpy)
    assert from_floats(to_floats(values.tobytes(), name), name) == values.tobytes()


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        (
            "U8",
            [0.5, 1.5, 2.5, -0.5, -9, 255.4, 255.5, 1e30, math.inf, -math.inf, math.nan],
            [0, 2, 2, 0, 0, 255, 255, 255, 255, 0, 0],
        ),
        ("I8", [126.5, 127.5, -128.5, -129, 1e9], [126, 127, -128, -128, 127]),
        ("I32", [2147483646.5, 2147483647.5, -2147483648.5, 2.5], [2147483646, 2147483647, -2147483648, 2]),
        (
            "I64",
            [2.0**63, -(2.0**63), 1e300, math.nan, 2.0**63 - 1024],
            [2**63 - 1, -(2**63), 2**63 - 1, 0, 2**63 - 1024],
        ),
        ("U64", [2.0**64, 2.0**64 - 2048, -1, math.inf, math.nan], [2**64 - 1, 2**64 - 2048, 0, 2**64 - 1, 0]),
        ("BOOL", [0, 0.5, 0.50001, 1, -3, 7, math.nan], [0, 0, 1, 1, 0, 1, 0]),
    ],
)
def test_whole_numbers_are_rounded_to_even_and_bounded(name: str, values: list[float], wanted: list[int]) -> None:
    found = np.frombuffer(from_floats(np.array(values), name), array_type(name))
    assert found.tolist() == wanted


def test_packed_floats_are_bounded() -> None:
    values = np.array([7, -7, 1e9, -math.inf, 0.25, 0.75, math.nan, -0.0])
    found = to_floats(from_floats(values, "F4"), "F4")
    assert found.tolist() == [6, -6, 6, -6, 0, 1, 0, 0]
    assert np.signbit(found).tolist() == [False, True, False, True, False, False, False, True]


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "F64", "C64"])
def test_infinities_and_what_is_no_number(name: str) -> None:
    values = np.array([math.inf, -math.inf, math.nan, -math.nan])
    for kind in (np.float32, np.float64):
        found = to_floats(from_floats(values.astype(kind), name), name)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(values))
    payload = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], "<u4").view("<f4")
    with np.errstate(invalid="ignore"):
        assert np.isnan(to_floats(from_floats(payload, name), name)).all()


@settings(deadline=None)
@given(arrays(np.float32, 30, elements=st.floats(width=32)))
def test_single_precision_is_rounded_as_libraries_do(values: npt.NDArray[np.float32]) -> None:
    for name in ("BF16", "F16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "F64"):
        with np.errstate(all="ignore"):
            wanted = values.astype(array_type(name)).astype(np.float64)
            found = to_floats(from_floats(values, name), name)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@functools.cache
def halves(name: str) -> tuple[list[float], list[float]]:
    """The finite values of a type, rising, and where between them each begins to be the nearest."""
    with np.errstate(all="ignore"):
        values = np.unique(to_floats(every(name), name).astype(np.float64))
    values = values[np.isfinite(values)]
    return values.tolist(), ((values[1:] + values[:-1]) / 2).tolist()


@pytest.mark.parametrize("name", ["F16", "BF16", *LEVELS])
def test_double_precision_is_rounded_once(name: str) -> None:
    """In the middle between two values to the even one; and just beside it to that side, however near."""
    values, middles = halves(name)
    stride = 1 if len(values) < 100 else 7
    count = len(middles[1:-1:stride]) // 4 * 4  # Packed values fill whole bytes.
    middles, lower, upper = (side[:count] for side in (middles[1:-1:stride], values[1:-2:stride], values[2:-1:stride]))
    with np.errstate(all="ignore"):
        for step, wanted in ((-math.inf, lower), (math.inf, upper)):
            beside = np.nextafter(np.array(middles), step)
            np.testing.assert_array_equal(to_floats(from_floats(beside, name), name), wanted)
        ties = to_floats(from_floats(np.array(middles), name), name)
        bits = to_codes(ties, name)
    assert set(ties.tolist()) <= set(lower) | set(upper)
    if name != "F8_E8M0":  # It has no mantissa that could be even.
        assert not np.any(bits[ties != 0] & 1)


def to_codes(values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """The bits of each value, found in a table of all."""
    kind = DTYPES[name]
    codes = np.arange(1 << kind.bits)
    with np.errstate(all="ignore"):
        table = codes.astype(f"u{max(1, kind.bits // 8)}").view(array_type(name)).astype(np.float64)
    place = {float(value): int(code) for value, code in zip(table, codes, strict=True)}
    return np.array([place[float(value)] for value in values])


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e5, 1e5) | st.floats(-1, 1), max_size=20),
    st.sampled_from(["F32", "F16", "BF16", "F4", *LEVELS]),
)
def test_the_nearest_is_taken(numbers: list[float], name: str) -> None:
    """Nothing else is nearer, as fractions tell."""
    if name == "F32":
        found = to_floats(from_floats(np.array(numbers), name), name)
        assert found.tolist() == [float(np.float32(number)) for number in numbers]
        return
    values, _ = halves(name)
    numbers = [number for number in numbers if values[0] <= number <= values[-1]]
    numbers += [0.0] * (-len(numbers) % 4) if values[0] <= 0 else [1.0] * (-len(numbers) % 4)
    found = to_floats(from_floats(np.array(numbers), name), name)
    for number, nearest in zip(numbers, found.tolist(), strict=True):
        at = bisect.bisect(values, number)
        around = values[max(0, at - 2) : at + 2]
        assert abs(Fraction(nearest) - Fraction(number)) == min(abs(Fraction(v) - Fraction(number)) for v in around)


def test_values_in_any_order_of_memory() -> None:
    """What is given may be a part of something, turned, or not to be written to."""
    table = np.arange(12.0).reshape(3, 4)
    table.setflags(write=False)
    for given_ in (table.T, table[:, ::2], table[::-1]):
        for name in ("BF16", "F32", "F4", "I64", "F8_E4M3"):
            assert from_floats(given_, name) == from_floats(given_.copy().reshape(-1), name)
