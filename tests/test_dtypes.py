"""The table of dtypes agrees with the libraries that read the files."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import load

from tests.checkpoints.roundtrip import safetensors_file
from theta_jupyter.dtypes import DTYPES, nbytes, to_array, to_floats

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
