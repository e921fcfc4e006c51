"""A summary is what it says, the same bits everywhere, and two sketches tell the size of a change."""

from __future__ import annotations

import ctypes
import math
import threading
from typing import TYPE_CHECKING, Any

import blake3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.samples import flushed
from theta_jupyter.dtypes import DTYPES, to_array
from theta_jupyter.errors import ThetaError
from theta_jupyter.storage import sketch
from theta_jupyter.storage.sketch import MINIMUM, Summary, distance, fixed_arithmetic, summarize

if TYPE_CHECKING:
    import numpy.typing as npt

RANDOM = np.random.default_rng(0)


def summary(values: npt.NDArray[Any]) -> Summary:
    """Summarize an array that can be summarized."""
    name = {"float32": "F32", "float64": "F64"}[values.dtype.name]
    found = summarize(memoryview(values.tobytes()), name)
    assert found is not None
    return found


def sums(values: npt.NDArray[Any]) -> tuple[float, ...]:
    found = summary(values).sketch
    assert found is not None
    return found


# What it measures, beside NumPy.


def reals(data: bytes, dtype: str) -> npt.NDArray[np.float64]:
    """Read values in another way than the code does."""
    array = to_array(data, dtype, (len(data) * 8 // DTYPES[dtype].bits,))
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=1).reshape(-1).astype(np.float64)
    return array.astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 48, 3 * MINIMUM, 200_016])
def test_it_agrees_with_numpy(dtype: str, size: int) -> None:
    data = RANDOM.bytes(size)
    if dtype == "BOOL":
        data = bytes(value & 1 for value in data)
    if dtype in {"F64", "C128"}:  # Half of all patterns are beyond what can be squared.
        data = RANDOM.normal(size=size // 8).tobytes()
    found = summarize(memoryview(data), dtype)
    with np.errstate(all="ignore"):
        values = reals(data, dtype)
        finite = values[np.isfinite(values)]
        assert found is not None
        assert found.not_finite == len(values) - len(finite)
        assert found.norm == pytest.approx(float(np.linalg.norm(finite)), rel=1e-9)
        assert found.largest == (np.max(np.abs(finite)) if len(finite) else 0)
        assert found.mean == pytest.approx(
            float(np.sum(finite)) / max(1, len(values)), rel=1e-6, abs=1e-12 * found.norm
        )
    # Where a sum does not fit in a float32 there is no sketch.
    assert (found.sketch is not None) == (len(values) >= MINIMUM and found.norm < 1e36) or found.norm >= 1e36


def reference(values: npt.NDArray[np.float64]) -> list[float]:
    """Sketch as docs/format.md says, one value at a time."""

    def noise(use: bytes, size: int) -> bytes:
        return blake3.blake3(b"theta sketch 1 " + use).digest(length=size)

    signs = noise(b"signs", 65519 // 8 + 1)
    keys = noise(b"places", 8 * 65536)
    order = sorted(range(65536), key=lambda place: (int.from_bytes(keys[8 * place : 8 * place + 8], "little"), place))
    total = [0.0] * 64
    for index, value in enumerate(values.tolist()):
        bit = signs[index % 65519 // 8] >> (7 - index % 65519 % 8) & 1
        total[order[index % 65521] % 64] += -value if bit else value
    return total


@pytest.mark.parametrize("size", [MINIMUM, 65519, 65521, 65522, 150_000])
def test_it_is_the_sketch_of_the_contract(size: int) -> None:
    values = RANDOM.normal(size=size).astype(np.float32)
    np.testing.assert_allclose(sums(values), reference(values.astype(np.float64)), rtol=1e-5, atol=1e-4)


def test_the_contract_has_not_changed() -> None:
    values = (np.arange(70_000) % 4093 - 2000).astype(np.float32) / np.float32(64)
    found = summary(values)
    assert (found.norm, found.mean, found.largest) == GOLDEN_MEASURES
    assert blake3.blake3(sketch.encode(found.sketch).encode()).hexdigest() == GOLDEN_SKETCH
    assert found.sketch is not None
    assert found.sketch[:4] == GOLDEN_SUMS


GOLDEN_MEASURES = (4907.250472211652, 0.5469412946428571, 32.6875)
GOLDEN_SUMS = (464.59375, 568.265625, -412.15625, -380.0)
GOLDEN_SKETCH = "ae2c5d6549c2611289a85bca9f6e1ffbc486447b5b5eca36eb9910f6859974b7"


def test_it_is_linear() -> None:
    a, b = RANDOM.integers(-1000, 1000, (2, 100_000)).astype(np.float32)
    # Integers, so that no sum is rounded.
    np.testing.assert_array_equal(np.subtract(sums(a), sums(b)), sums(a - b))
    np.testing.assert_array_equal(np.multiply(sums(a), 2), sums(a * 2))


# What it estimates.


def changes(random: np.random.Generator, rows: int, columns: int) -> dict[str, npt.NDArray[np.float64]]:
    """Make changes of the shapes that training and merging leave behind."""
    one = np.zeros((rows, columns))
    column, row, sparse, block = one.copy(), one.copy(), one.copy(), one.copy()
    column[:, random.integers(columns)] = random.normal(size=rows)
    row[random.integers(rows)] = random.normal(size=columns)
    block[: rows // 8, : columns // 8] = random.normal(size=(rows // 8, columns // 8))
    sparse.reshape(-1)[random.choice(one.size, 2000, replace=False)] = random.normal(size=2000)
    return {
        "random": random.normal(size=(rows, columns)),
        "rank one": np.outer(random.normal(size=rows), random.normal(size=columns)),
        "low rank": random.normal(size=(rows, 4)) @ random.normal(size=(4, columns)),
        "one column": column,
        "one row": row,
        "sparse": sparse,
        "block": block,
        "constant": np.ones((rows, columns)),
        "signs": np.outer(random.choice([-1, 1], rows), random.choice([-1, 1], columns)).astype(float),
    }


def test_two_sketches_tell_the_size_of_a_change() -> None:
    random = np.random.default_rng(7)
    errors: dict[str, list[float]] = {}
    for rows, columns in [(64, 64), (256, 256), (512, 300), (64, 1024), (1024, 64), (255, 257)] * 3:
        base = random.normal(size=(rows, columns)).astype(np.float32)
        before = sums(base)
        for kind, change in changes(random, rows, columns).items():
            after = (base + 0.01 * change).astype(np.float32)
            true = float(np.linalg.norm(after.astype(np.float64) - base))
            errors.setdefault(kind, []).append(abs(distance(before, sums(after)) / true - 1))
    every = [error for kind in errors.values() for error in kind]
    # A row of 64 values cannot be told better than 64 sums can: two in one sum already make a third.
    assert max(every) < 0.35
    assert np.median(every) < 0.12
    for kind, found in errors.items():
        assert np.median(found) < 0.15, kind


def test_an_unchanged_tensor_is_at_no_distance() -> None:
    values = RANDOM.normal(size=5000).astype(np.float32)
    assert distance(sums(values), sums(values.copy())) == 0


# What cannot be measured.


def test_what_is_not_finite_counts_as_zero() -> None:
    values = RANDOM.normal(size=70_000).astype(np.float32)
    strange = values.copy()
    strange[[5, 66_000]], strange[7] = np.nan, -np.inf
    values[[5, 66_000, 7]] = 0
    found, expected = summary(strange), summary(values)
    assert found.not_finite == 3
    assert (found.norm, found.mean, found.largest, found.sketch) == (
        expected.norm,
        expected.mean,
        expected.largest,
        expected.sketch,
    )


@pytest.mark.parametrize("value", [1e160, -1.7e308])
def test_squares_that_overflow_have_no_summary(value: float) -> None:
    assert summarize(memoryview(np.full(5000, value).tobytes()), "F64") is None


def test_a_sum_that_overflows_leaves_the_rest() -> None:
    """A mask of the lowest float32, as models keep them."""
    values = np.full(100_000, np.finfo(np.float32).min)
    found = summary(values)
    assert found.sketch is None
    assert found.norm == pytest.approx(float(np.finfo(np.float32).max) * math.sqrt(100_000))
    assert found.mean == np.finfo(np.float32).min


def test_small_tensors_have_no_sketch() -> None:
    assert summary(np.ones(MINIMUM - 1, np.float32)).sketch is None
    assert summary(np.ones(MINIMUM, np.float32)).sketch is not None
    assert summary(np.array([], np.float32)) == Summary(0, 0, 0)
    assert summary(np.array([-0.0, -0.0], np.float32)) == Summary(0, 0, 0)


# The same bits everywhere.

SUBNORMAL = (RANDOM.integers(0, 1 << 22, 50_000).astype("<u4")).view(np.float32)


def test_flushing_changes_nothing_and_stays() -> None:
    doubles = SUBNORMAL.astype(np.float64) * 2.0**-920
    expected = summary(SUBNORMAL), summary(doubles)
    assert 0 < expected[0].largest < 2.0**-126
    assert 0 < expected[1].largest < 2.0**-1022
    text = sketch.encode(expected[0].sketch)
    with flushed():
        assert (summary(SUBNORMAL), summary(doubles)) == expected
        with fixed_arithmetic():
            assert sketch.encode(expected[0].sketch) == text
            assert sketch.decode(text) == expected[0].sketch


def test_rounding_changes_nothing_and_stays() -> None:
    values = RANDOM.normal(size=50_000)
    expected = summary(values)
    libm = ctypes.CDLL("libm.so.6")
    for mode in (0x400, 0x800, 0xC00):  # Down, up, to zero, on x86.
        if libm.fesetround(mode) == 0:
            try:
                assert summary(values) == expected
                assert libm.fegetround() == mode
            finally:
                libm.fesetround(0)


def test_an_exception_puts_the_environment_back() -> None:
    def fail() -> None:
        with fixed_arithmetic():
            assert np.float32(2.0**-126) * np.float32(0.5) > 0
            raise KeyError

    with flushed(), pytest.raises(KeyError):
        fail()


def test_where_nothing_can_be_set_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert summary(SUBNORMAL).largest > 0  # Nothing need be set.
    with flushed(), pytest.raises(ThetaError, match="flushes subnormal numbers"):
        summary(SUBNORMAL)


def test_threads_do_not_matter() -> None:
    values = RANDOM.normal(size=300_000)
    expected, found = summary(values), []
    threads = [threading.Thread(target=lambda: found.append(summary(values))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# Its text.

finite = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=64, max_size=64)


@given(finite)
@settings(deadline=None)
def test_text_and_back(values: list[float]) -> None:
    found = sketch.decode(sketch.encode(tuple(values)))
    assert found is not None
    assert np.array(found).tobytes() == np.array(values).tobytes()


def test_no_sketch_is_a_dash() -> None:
    assert sketch.encode(None) == "-"
    assert sketch.decode("-") is None


@given(st.text(max_size=20) | st.text("Aa0+/=-\n ", min_size=300, max_size=400) | st.binary().map(repr))
@settings(deadline=None)
def test_other_text_is_refused(text: str) -> None:
    if text != "-":
        with pytest.raises(ValueError):  # noqa: PT011 - the message is put into words by the manifest
            sketch.decode(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_sums_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        sketch.decode(sketch.encode((value,) + 63 * (0.0,)))
