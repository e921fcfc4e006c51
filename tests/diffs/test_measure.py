"""Exact numbers against an oracle in plain NumPy, written apart from the code, for every element type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.storage.samples import flushed
from theta_jupyter.diffs.measure import _BLOCK, measure
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
        if a.size != b.size:  # A real number is a complex one without an imaginary part.
            a, b = (
                x if x.size == max(a.size, b.size) else np.stack([x, np.zeros_like(x)], 1).reshape(-1) for x in (a, b)
            )
        finite = np.isfinite(a) & np.isfinite(b)
        words = max(DTYPES[kind].words for kind in (old_dtype or dtype, dtype))
        unlike = a_bits != b_bits
        if old_dtype:
            unlike = ((a != b) & ~(np.isnan(a) & np.isnan(b))).reshape(-1, words).any(1)
        sides = np.sign(np.where(finite, a, 0)), np.sign(np.where(finite, b, 0))
        flips = np.count_nonzero(sides[0] * sides[1] == -1) / max(1, a.size)
        a, b = a[finite].astype(np.longdouble), b[finite].astype(np.longdouble)
        l2, norm, other = (np.sqrt(np.sum(x * x)) for x in (b - a, a, b))
        largest = np.max(np.abs(b - a)) if a.size else 0.0
        cosine = np.sum(a * b) / (norm * other) if norm and other else None
    assert found.l2 == pytest.approx(float(l2), rel=1e-9, abs=0)
    assert found.norm == pytest.approx(float(norm), rel=1e-9, abs=0)
    assert found.largest == pytest.approx(float(largest), rel=1e-12, abs=0)
    assert found.changed == float(np.mean(unlike)) if unlike.size else found.changed == 0.0
    assert found.flips == pytest.approx(flips, rel=1e-12)
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


@pytest.mark.parametrize("dtype", ["F32", "F4", "F6_E2M3", "BOOL", "C128"])
@pytest.mark.parametrize("more", [-8, 0, 8, _BLOCK])
def test_sizes_around_a_block(dtype: str, more: int) -> None:
    """The last value of each block, and the first of the next, count once."""
    rng = np.random.default_rng([more + 8, len(dtype)])
    bits = DTYPES[dtype].bits
    size = (_BLOCK + more) * bits // 8
    old = rng.standard_normal(size // 8).tobytes() if dtype == "C128" else rng.bytes(size)
    new = bytearray(old)
    for at in (0, (_BLOCK - 8) * bits // 8 - 1, _BLOCK * bits // 8 - 1, _BLOCK * bits // 8, size - 1):
        if at < size:
            new[at] ^= 1
    check(old, bytes(new), dtype)


@pytest.mark.parametrize("size", [1, 7, _BLOCK - 1, _BLOCK + 1, 3 * _BLOCK + 5])
@pytest.mark.parametrize("where", ["first", "last"])
def test_one_value_that_is_not_finite(size: int, where: str) -> None:
    """It takes nothing from the values around it, in its block or in others."""
    rng = np.random.default_rng(size)
    old = rng.standard_normal(size).astype(np.float32)
    for one, two in [(np.nan, 1), (1, np.nan), (np.inf, np.inf), (np.inf, -np.inf), (-np.inf, 0), (np.nan, np.nan)]:
        a, b = old.copy(), old * np.float32(-1.5)
        at = 0 if where == "first" else -1
        a[at], b[at] = one, two
        check(a.tobytes(), b.tobytes(), "F32")


def test_values_that_change_sides() -> None:
    old = np.array([1, -1, 0, -0.0, 2, np.nan, np.inf, 1e-30], np.float32)
    new = np.array([-1, -2, 1, -1.0, 3, -1.0, -np.inf, -1e-30], np.float32)
    assert measure(memoryview(old.tobytes()), memoryview(new.tobytes()), "F32").flips == 2 / 8
    # Of numbers: a complex value has two.
    assert measure(memoryview(old.tobytes()), memoryview(new.tobytes()), "C64").flips == 2 / 8
    # The product of two doubles may be too small to have a sign.
    one, two = np.array([1e-200, 5.0]), np.array([-1e-200, 5.0])
    assert measure(memoryview(one.tobytes()), memoryview(two.tobytes()), "F64").flips == 1 / 2


@given(
    arrays(np.float32, 40, elements=st.floats(width=32)),
    arrays(np.float32, 40, elements=st.floats(width=32)),
    st.sampled_from(["F32", "F16", "BF16", "F64", "C64"]),
    st.sampled_from(["F32", "F16", "BF16", "F64", "C64"]),
)
def test_any_values_of_any_two_types(
    old: npt.NDArray[Any], new: npt.NDArray[Any], old_dtype: str, new_dtype: str
) -> None:
    with np.errstate(all="ignore"):
        a, b = (
            side.astype(getattr(np, DTYPES[kind].numpy, None) or getattr(ml_dtypes, DTYPES[kind].numpy)).tobytes()
            for side, kind in ((old, old_dtype), (new, new_dtype))
        )
    check(a, b, new_dtype, old_dtype if old_dtype != new_dtype else "")


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_rounding_is_not_assumed(factor: float) -> None:
    """A notebook may flush subnormal numbers to zero: the answer is the same."""
    old = np.array([1e-39, 2.0, 3e-40], np.float32)
    new = np.array([2e-39, 2.0, 3e-40], np.float32)
    one, two = ((side.astype(np.float64) * factor).tobytes() for side in (old, new))
    with flushed():
        small = measure(memoryview(old.tobytes()), memoryview(new.tobytes()), "F32")
        check(one, two, "F64")
    assert small.l2 == pytest.approx(float(new[0]) - float(old[0]), rel=1e-9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("F32", "BF16"),
        ("BF16", "F32"),
        ("F16", "F64"),
        ("I32", "F32"),
        ("F8_E4M3", "F16"),
        ("C64", "F32"),
        ("F64", "C64"),
        ("C64", "C128"),
        ("BOOL", "I64"),
    ],
)
def test_across_types(old: str, new: str) -> None:
    rng = np.random.default_rng(2)
    numpy = [
        np.dtype(getattr(np, DTYPES[name].numpy, None) or getattr(ml_dtypes, DTYPES[name].numpy)) for name in (old, new)
    ]
    values = np.round(rng.standard_normal(500) * 8)
    values[3] = values[4] + 1
    values = values != 0 if "BOOL" in {old, new} else values
    a, b = (np.where(np.arange(500) == index, 1, values).astype(kind).tobytes() for index, kind in enumerate(numpy))
    check(a, b, new, old)
