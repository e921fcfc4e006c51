"""Exact numbers against an oracle in plain NumPy, written apart from the code, for every element type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from theta_jupyter.diffs.compare import measure
from theta_jupyter.dtypes import DTYPES

if TYPE_CHECKING:
    import numpy.typing as npt

COUNT = 3000


def unpacked(data: bytes, dtype: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    """Real numbers in double precision, and what stands for each value's bits."""
    kind = DTYPES[dtype]
    if kind.bits < 8:
        number = int.from_bytes(data, "little")
        codes = [(number >> (kind.bits * i)) & ((1 << kind.bits) - 1) for i in range(len(data) * 8 // kind.bits)]
        array = np.array(codes, np.uint8)
        return array.view(getattr(ml_dtypes, kind.numpy)).astype(np.float64), array
    bits = np.array([data[i : i + kind.bits // 8] for i in range(0, len(data), kind.bits // 8)], dtype=object)
    name = "uint8" if dtype == "BOOL" else kind.numpy
    array = np.frombuffer(data, np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name)))
    if kind.words == 2:
        return np.stack([array.real, array.imag], 1).astype(np.float64).reshape(-1), bits
    return array.astype(np.float64), bits


def check(old: bytes, new: bytes, dtype: str, old_dtype: str = "") -> None:
    found = measure(memoryview(old), memoryview(new), dtype, old_dtype)
    with np.errstate(all="ignore"):
        (a, a_bits), (b, b_bits) = unpacked(old, old_dtype or dtype), unpacked(new, dtype)
        finite = np.isfinite(a) & np.isfinite(b)
        unlike = a_bits != b_bits if not old_dtype else (a != b) & ~(np.isnan(a) & np.isnan(b))
        a, b = a[finite].astype(np.longdouble), b[finite].astype(np.longdouble)
        l2, norm, other = (np.sqrt(np.sum(x * x)) for x in (b - a, a, b))
        largest = np.max(np.abs(b - a)) if a.size else 0.0
        cosine = np.sum(a * b) / (norm * other) if norm and other else None
    assert found.l2 == pytest.approx(float(l2), rel=1e-9, abs=0)
    assert found.norm == pytest.approx(float(norm), rel=1e-9, abs=0)
    assert found.largest == pytest.approx(float(largest), rel=1e-12, abs=0)
    assert found.changed == float(np.mean(unlike)) if unlike.size else found.changed == 0.0
    assert (found.cosine is None) == (cosine is None)
    if cosine is not None:
        assert found.cosine == pytest.approx(float(cosine), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_with_any_bits(dtype: str) -> None:
    """Random bits: NaN, infinities, subnormal numbers, both zeros; doubles whose squares overflow."""
    rng = np.random.default_rng(list(dtype.encode()))
    size = COUNT * DTYPES[dtype].bits // 8
    old = rng.bytes(size)
    new = bytearray(rng.bytes(size))
    new[: size // 2] = old[: size // 2]
    check(old, bytes(new), dtype)
    check(old, old, dtype)
    check(bytes(size), bytes(new), dtype)
    check(b"", b"", dtype)


def test_special_values() -> None:
    nan, payload = np.float32(np.nan), np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    old = np.array([1, 2, nan, nan, np.inf, -0.0, 5, np.inf], np.float32)
    new = np.array([1, 4, payload, 3, np.inf, 0.0, np.nan, -np.inf], np.float32)
    check(old.tobytes(), new.tobytes(), "F32")
    found = measure(memoryview(old.tobytes()), memoryview(new.tobytes()), "F32")
    assert (found.l2, found.largest, found.changed) == (2.0, 2.0, 6 / 8)


@pytest.mark.parametrize("factor", [1e-200, 1.0, 1e200])
def test_doubles_far_from_one(factor: float) -> None:
    rng = np.random.default_rng(0)
    old = rng.standard_normal(1000) * factor
    check(old.tobytes(), (old * 1.01).tobytes(), "F64")
    assert measure(memoryview(old.tobytes()), memoryview((old * 1.01).tobytes()), "F64").l2 > 0


def test_more_than_a_block() -> None:
    rng = np.random.default_rng(1)
    old = rng.standard_normal((1 << 20) + 17).astype(np.float32)
    new = old.copy()
    new[-3:] += 1
    found = measure(memoryview(old.tobytes()), memoryview(new.tobytes()), "F32")
    assert found.changed == 3 / old.size
    assert found.l2 == pytest.approx(math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize(
    ("old", "new"), [("F32", "BF16"), ("BF16", "F32"), ("F16", "F64"), ("I32", "F32"), ("F8_E4M3", "F16")]
)
def test_across_types(old: str, new: str) -> None:
    rng = np.random.default_rng(2)
    numpy = [
        np.dtype(getattr(np, DTYPES[name].numpy, None) or getattr(ml_dtypes, DTYPES[name].numpy)) for name in (old, new)
    ]
    values = np.round(rng.standard_normal(500) * 8)
    values[3] = values[4] + 1
    a, b = (np.where(np.arange(500) == index, 1, values).astype(kind).tobytes() for index, kind in enumerate(numpy))
    check(a, b, new, old)
