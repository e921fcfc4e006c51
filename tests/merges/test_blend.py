"""One tensor of several versions, for every type and every strategy: bits kept, rounding, what is refused, sizes."""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.samples import flushed
from theta_jupyter.dtypes import DTYPES, to_floats
from theta_jupyter.errors import RequestError
from theta_jupyter.merges import blend as blending
from theta_jupyter.merges.base import Array, Models, Strategy, find, installed, strategy
from theta_jupyter.merges.blend import Blended, Version, blend, outcome, room

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Whole = npt.NDArray[Any]

COMPUTING = sorted(name for name, found in installed().items() if not found.takes)
TYPES = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "U8", "BOOL", "C64", "F4"]
SHAPE = (6, 8)
NUMPY = {
    "F64": np.dtype("f8"),
    "F32": np.dtype("f4"),
    "F16": np.dtype("f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype("i8"),
    "U64": np.dtype("u8"),
    "I32": np.dtype("i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("c8"),
}


def version(values: Any, dtype: str = "F32", label: str = "") -> Version:
    """Values of a type that NumPy has."""
    array = np.asarray(values)
    with np.errstate(all="ignore"):
        data = array.astype(NUMPY[dtype]).tobytes()
    return Version(memoryview(data), dtype, array.shape, label)


def values(found: Blended | Version) -> Whole:
    return np.frombuffer(found.data, NUMPY[found.dtype]).reshape(found.shape)


def some(dtype: str, seed: int, shape: tuple[int, ...] = SHAPE) -> Version:
    """Any finite values of a type, with both zeros and subnormal numbers among them; integers beyond 2^53."""
    random = np.random.default_rng([seed, *dtype.encode()])
    count = math.prod(shape)
    if dtype == "BOOL":
        return version(random.integers(0, 2, shape), dtype)
    if dtype == "I64":
        return version(random.integers(-(2**62), 2**62, shape), dtype)
    if DTYPES[dtype].is_whole or dtype == "F4":
        return Version(memoryview(random.bytes(count * DTYPES[dtype].bits // 8)), dtype, shape)
    special = [0.0, -0.0, -1.0, 1e-7, -3e-41]
    found = random.normal(size=shape)
    found.flat[: len(special)] = special[: found.size]
    return version(found + (1j * random.normal(size=shape) if dtype == "C64" else 0), dtype)


def statistics(name: str, version: Version, count: int = 2) -> dict[str, list[Version | None]]:
    """What strategies want to know of each model."""
    random = np.random.default_rng(3)
    if name == "fisher":
        shape = (math.prod(version.shape) * DTYPES[version.dtype].words,)
        return {"fisher": [Version(memoryview(random.random(shape).tobytes()), "F64", version.shape)] * count}
    if name == "regmean":
        rows = random.normal(size=(9, version.shape[-1] if version.shape else 1))
        return {"gram": [Version(memoryview((rows.T @ rows).tobytes()), "F64", (rows.shape[1],) * 2)] * count}
    return {}


def merged(
    name: str | Strategy,
    models: Sequence[Version],
    base: Version | None = None,
    known: dict[str, list[Version | None]] | None = None,
    **options: Any,
) -> Blended:
    found = find(name) if isinstance(name, str) else name
    given = {**options, **{key: ["x"] * len(models) for key in known or {}}}
    return blend(found, found.read(given, len(models)), models, base, "layer.weight", known)


# Bits that are kept.


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", COMPUTING)
def test_equal_versions_give_themselves(name: str, dtype: str) -> None:
    for shape in [SHAPE, (), (0, 3), (2,)]:
        if dtype == "F4" and not shape:
            continue  # Half a byte.
        one = some(dtype, 1, shape)
        known = statistics(name, one)
        if dtype == "C64":  # What is known is of real numbers.
            known = {key: [None, None] for key in known}
        found = merged(name, [one, one], one, known)
        assert (found.dtype, found.shape, found.remark) == (dtype, shape, "")
        assert bytes(found.data) == bytes(one.data), shape
        zero = Version(memoryview(bytes(len(one.data))), dtype, shape)
        assert bytes(merged(name, [zero, zero], zero, known).data) == bytes(zero.data)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["ours", "theirs", "base"])
def test_taking_a_side_takes_its_bytes(name: str, dtype: str) -> None:
    """Whatever they are: the payload of a NaN, a truth value of 255, another shape and type."""
    ours, theirs, base = (
        Version(memoryview(np.random.default_rng(seed).bytes(32)), dtype, (32 * 8 // DTYPES[dtype].bits,))
        for seed in range(3)
    )
    base = base._replace(shape=(4, base.shape[0] // 4))
    found = merged(name, [ours, theirs], base)
    wanted = {"ours": ours, "theirs": theirs, "base": base}[name]
    assert found == Blended(wanted.data, wanted.dtype, wanted.shape)


def test_there_may_be_no_base_to_take() -> None:
    one = version([1.0])
    with pytest.raises(RequestError, match=r"base cannot merge 'layer\.weight': it needs a base"):
        merged("base", [one, one])
    with pytest.raises(RequestError, match=r"ties cannot merge 'layer\.weight': it needs a base"):
        merged("ties", [one, one])
    with pytest.raises(RequestError, match="it merges two models, not 3"):
        merged("slerp", [one, one, one])


@pytest.mark.parametrize("dtype", [dtype for dtype in TYPES if dtype != "F4"])
@pytest.mark.parametrize("name", [name for name in COMPUTING if find(name).elementwise])
def test_parts_give_what_the_whole_gives(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs, base = (some(dtype, seed, (101,)) for seed in range(3))
    if dtype == "I64":  # Apart, yet not so far that what they are scaled to does not fit.
        ours, theirs, base = (version(np.arange(101) * 2**50 + 2 * seed, dtype) for seed in range(3))
    known: dict[str, list[Version | None]] = {}
    if name == "fisher":
        known = {"fisher": [some("C64" if dtype == "C64" else "F32", 7, (101,)), some(dtype, 8, (101,))]}
    whole = bytes(merged(name, [ours, theirs], base, known).data)
    for block in (1, 7, 100, 101):
        monkeypatch.setattr(blending, "BLOCK", block)
        assert bytes(merged(name, [ours, theirs], base, known).data) == whole, block
    if name not in {"fisher", "linear"} or dtype != "BOOL":
        assert whole not in (bytes(ours.data), bytes(theirs.data), bytes(base.data))


@pytest.mark.parametrize("dtype", ["I64", "U64"])
def test_integers_beyond_double_precision_are_kept(dtype: str) -> None:
    low = 2**53 + 1
    ours, theirs, base = (
        version(v, dtype) for v in ([low, low, low + 2, 8], [low, low, low + 2, 2], [low, low - 2, low, 4])
    )
    assert values(merged("linear", [ours, theirs])).tolist() == [low, low, low + 2, 5]
    assert values(merged("linear", [ours, theirs], weight=[0, 1])).tolist() == values(theirs).tolist()
    assert values(merged("linear", [ours, theirs], weight=[1, 0])).tolist() == values(ours).tolist()
    assert values(merged("task_arithmetic", [ours, base], base)).tolist() == values(ours).tolist()
    assert values(merged("task_arithmetic", [ours, theirs], base, lambda_=0)).tolist() == values(base).tolist()
    # Two that are one to a double: ours.
    for one, two in ((low, low - 1), (low - 1, low)):
        assert values(merged("linear", [version([one], dtype), version([two], dtype)])).tolist() == [one]
    # All agree, and still the result is not what they agree on.
    assert values(merged("linear", [ours, ours], normalize=False)).tolist()[3] == 16
    assert values(merged("task_arithmetic", [ours, ours], base)).tolist()[3] == 12


def test_integers_are_rounded_to_even_and_kept_in_bounds() -> None:
    ours, theirs = version([1, 2, 3, 250, 0, 255], "U8"), version([2, 3, 4, 255, 1, 254], "U8")
    assert values(merged("linear", [ours, theirs])).tolist() == [2, 2, 4, 252, 0, 254]
    assert values(merged("linear", [ours, theirs], normalize=False)).tolist() == [3, 5, 7, 255, 1, 255]
    small = version([-(2**31), 2**31 - 1, 7], "I32")
    assert values(merged("linear", [small, small], normalize=False)).tolist() == [-(2**31), 2**31 - 1, 14]
    # Between models of the other type, too: the average of large numbers has no room to spare.
    assert values(merged("linear", [small, version([-(2**31), 2**31 - 3, 8], "I32")])).tolist() == [
        -(2**31),
        2**31 - 2,
        8,
    ]


@pytest.mark.parametrize("count", [2, 3, 4, 6, 10, 14])
def test_truth_by_majority_and_ours_when_split(count: int) -> None:
    for votes in itertools.product([0, 1], repeat=min(count, 6)):
        models = (*votes, *([0, 1] * count))[:count]
        wanted = models[0] if 2 * sum(models) == count else int(2 * sum(models) > count)
        found = merged("linear", [version([vote], "BOOL") for vote in models])
        assert bytes(found.data) == bytes([wanted]), models


def test_a_strange_truth_is_kept_where_all_agree() -> None:
    ours, theirs = (Version(memoryview(data), "BOOL", (3,)) for data in (b"\xff\2\1", b"\xff\2\0"))
    assert bytes(merged("linear", [ours, theirs]).data) == b"\xff\2\1"
    assert bytes(merged("linear", [theirs, ours]).data) == b"\xff\2\0"


# Rounding.


def constant(result: Array) -> Strategy:
    """A strategy that has just this result."""

    @strategy
    def fixed(models: Models) -> Array:  # noqa: ARG001 - what it is given is not looked at
        """Say this."""
        return result

    return fixed


@functools.cache
def positive(dtype: str) -> npt.NDArray[np.float64]:
    """The finite values of a short type that are not below zero, in order."""
    kind = DTYPES[dtype]
    codes = np.arange(1 << (kind.bits - 1), dtype=f"u{kind.bits // 8}")
    with np.errstate(invalid="ignore"):
        every: npt.NDArray[np.float64] = codes.view(NUMPY[dtype]).astype(np.float64)
    return np.extract(np.isfinite(every), every)


def nearest(value: Fraction, dtype: str) -> float:
    """The nearest value of a short type, the even one of two."""
    every = positive(dtype)
    at = int(np.searchsorted(every, float(abs(value))))
    around = range(max(0, at - 2), min(len(every), at + 2))
    best = min(around, key=lambda code: (abs(Fraction(float(every[code])) - abs(value)), code % 2))
    return math.copysign(float(every[best]), value)


@settings(deadline=None)
@given(
    st.lists(st.floats(-400, 400) | st.floats(-1e-3, 1e-3) | st.floats(-2e-7, 2e-7), min_size=1, max_size=20),
    st.sampled_from(["F16", "BF16", "F8_E4M3", "F8_E5M2"]),
    st.sampled_from([-1, 0, 1]),
)
def test_results_are_rounded_once(numbers: list[float], dtype: str, step: int) -> None:
    """Also a double beside the middle of two values, which float32 would take for the middle itself."""
    numbers = [float(np.clip(number, -440, 440)) for number in numbers]
    kind = np.dtype(NUMPY[dtype])
    with np.errstate(all="ignore"):
        short = np.array(numbers, np.float32).astype(kind)
        neighbour = (short.view(f"u{kind.itemsize}") ^ 1).view(kind)  # One of the two beside it.
        middles = (short.astype(np.float64) + neighbour.astype(np.float64)) / 2
    middles = middles[np.isfinite(middles)]
    for result in (np.array(numbers), middles + step * np.spacing(middles)):
        one = version(np.zeros(result.shape), dtype)
        found = merged(constant(result), [one, one])
        assert values(found).astype(np.float64).tolist() == [nearest(Fraction(number), dtype) for number in result]


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F8_E4M3", "F8_E5M2", "F32"])
def test_means_are_what_fractions_say(dtype: str) -> None:
    with np.errstate(over="ignore"):
        ours, theirs = (some(dtype, seed, (500,)) for seed in (0, 1))
        means = [
            (Fraction(a) + Fraction(b)) / 2
            for a, b in zip(*(values(side).astype(np.float64).tolist() for side in (ours, theirs)), strict=True)
        ]
        wanted = [float(np.float32(float(m))) if dtype == "F32" else nearest(m, dtype) for m in means]
    assert values(merged("linear", [ours, theirs])).astype(np.float64).tolist() == wanted


def test_arithmetic_is_not_assumed() -> None:
    """A notebook may flush subnormal numbers to zero: the merge is the same."""
    ours, theirs = version([3e-39, 1e-40]), version([1e-39, 1e-40])
    before = bytes(merged("linear", [ours, theirs]).data)
    with flushed():
        assert bytes(merged("linear", [ours, theirs]).data) == before
    assert values(version([2e-39, 1e-40])).tobytes() == before


# What is refused.


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        ("F16", 65520.0),
        ("F16", -1e9),
        ("BF16", 3.4e38),
        ("F32", 1e39),
        ("F8_E4M3", 465.0),
        ("F8_E5M2", -61441.0),
        ("F8_E8M0", -1.0),
        ("F4", 7.5),
        ("F4", -100.0),
    ],
)
def test_a_result_that_does_not_fit(dtype: str, result: float) -> None:
    ones = Version(memoryview(b"\1" * 8), dtype, (8 * 8 // DTYPES[dtype].bits,))
    found = np.zeros(ones.shape) + (1 if dtype == "F8_E8M0" else 0)
    found[-1] = result
    with pytest.raises(RequestError) as caught:
        merged(constant(found), [ones, ones])
    assert caught.value.message == f"fixed cannot merge 'layer.weight': its result does not fit {dtype}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("dtype", "result", "wanted"),
    [
        ("F16", 65519.0, 65504.0),
        ("F8_E4M3", 463.0, 448.0),
        ("F8_E5M2", 61439.0, 57344.0),
        ("F4", 6.9, 6.0),
        ("F4", -6.9, -6.0),
    ],
)
def test_a_result_that_just_fits(dtype: str, result: float, wanted: float) -> None:
    one = Version(memoryview(b"\1\1"), dtype, (2 * 8 // DTYPES[dtype].bits,))
    found = merged(constant(np.full(one.shape, result)), [one, one])
    assert set(to_floats(found.data, dtype).tolist()) == {wanted}


@pytest.mark.parametrize("dtype", [*TYPES, "F8_E8M0", "U64"])
@pytest.mark.parametrize("result", [math.nan, math.inf, -math.inf])
def test_a_result_that_is_not_finite(dtype: str, result: float) -> None:
    one = Version(memoryview(bytes(16)), dtype, (16 * 8 // DTYPES[dtype].bits,))
    found = np.ones((*one.shape, DTYPES[dtype].words))
    found.flat[-1] = result
    with pytest.raises(RequestError, match=r"^fixed cannot merge 'layer\.weight': its result is not finite"):
        merged(constant(found), [one, one])


def test_sums_beyond_the_type() -> None:
    big = version(np.full(9, 60000.0), "F16")
    with pytest.raises(RequestError, match="does not fit F16"):
        merged("linear", [big, big], normalize=False)


BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("name", COMPUTING)
@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("bad", BAD)
def test_a_version_that_is_not_finite(name: str, side: int, bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "BLOCK", 10)
    labels = ["main", "feature", "their ancestor"]
    for dtype, count in itertools.product(["F32", "BF16", "F8_E5M2"], [1, 3]):
        arrays = [np.ones(SHAPE) * (index + 1) for index in range(3)]
        arrays[side].flat[[5, 15, 40][:count]] = bad
        ours, theirs, base = (version(*args) for args in zip(arrays, [dtype] * 3, labels, strict=True))
        known = statistics(name, ours)
        if side == 2 and find(name).base == "no":
            merged(name, [ours, theirs], base, known)  # It does not look at the base.
            continue
        with pytest.raises(RequestError) as caught:
            merged(name, [ours, theirs], base, known)
        words = "1 of its values in {} is" if count == 1 else "3 of its values in {} are"
        assert caught.value.message == (
            f"{name} cannot merge 'layer.weight': {words.format(labels[side])} NaN or infinite"
        )
        assert caught.value.hint == "take a side for this tensor: ours, theirs or base"


def test_complex_beside_real() -> None:
    real, other = version([1.0, 2.0]), version([1j, 2.0], "C64")
    for models, base in [([real, other], None), ([other, real], real), ([real, real], other)]:
        with pytest.raises(RequestError, match="some of its versions are complex, others real"):
            merged("task_arithmetic" if base else "linear", models, base)
    # Where the base is not looked at, it may be what it likes.
    assert values(merged("linear", [real, real], other)).tolist() == [1, 2]


def test_fisher_information_of_another_size() -> None:
    one = version(np.ones(4))
    with pytest.raises(RequestError, match=r"f\.pt has 'layer\.weight' in another shape: 3"):
        merged("fisher", [one, one], None, {"fisher": [version(np.ones(3), "F32", "f.pt"), None]})


def test_fisher_information_counts() -> None:
    """As a mean with these weights, also where it comes in parts and one model has none."""
    ours, theirs, known = version([1.0, 2.0, 3.0]), version([5.0, 6.0, 7.0]), version([3.0, 1.0, 0.0])
    found = merged("fisher", [ours, theirs], None, {"fisher": [known, version([1.0, 1.0, 1.0])]})
    assert values(found).tolist() == pytest.approx([2, 4, 7])
    assert values(merged("fisher", [ours, theirs], None, {"fisher": [known, None]})).tolist() == [3, 4, 5]


# The type and the shape of the result.


@pytest.mark.parametrize(
    ("base", "models", "wanted"),
    [
        (("F32", (4, 2)), [("F32", (4, 2)), ("F32", (4, 2))], ("F32", (4, 2))),
        (("F32", (4, 2)), [("BF16", (4, 2)), ("F32", (4, 2))], ("BF16", (4, 2))),
        (("F32", (4, 2)), [("F32", (4, 2)), ("BF16", (4, 2))], ("BF16", (4, 2))),
        (("F32", (4, 2)), [("F16", (4, 2)), ("BF16", (4, 2))], ("F16", (4, 2))),
        (("F32", (4, 2)), [("F32", (4, 2)), ("F32", (6, 2))], ("F32", (6, 2))),
        (("F32", (4, 2)), [("F32", (3, 2)), ("F32", (4, 2))], ("F32", (3, 2))),
        (("F32", (4, 2)), [("F32", (3, 2)), ("F32", (2, 2))], ("F32", (3, 2))),
        (("F32", (4, 2)), [("F32", (5, 2)), ("F32", (4, 3))], ("F32", (5, 3))),
        (("F32", (4, 2)), [("F32", (4, 2)), ("F32", (5, 2)), ("F32", (3, 9))], ("F32", (5, 9))),
        (("F32", (4, 2)), [("F32", (8,)), ("F32", (4, 3))], ("F32", (8,))),
        (None, [("F16", (3, 2)), ("F32", (2, 4))], ("F16", (3, 4))),
        (None, [("F16", (3,)), ("F32", (2, 4))], ("F16", (3,))),
    ],
)
def test_what_one_side_changed_it_to(base: Any, models: Any, wanted: Any) -> None:
    nothing = memoryview(b"")
    ground = None if base is None else Version(nothing, *base)
    assert outcome([Version(nothing, *model) for model in models], ground) == wanted


def test_a_type_that_one_side_changed() -> None:
    base, ours, theirs = version([1.0, 2.0]), version([1.5, 3.0], "BF16"), version([2.5, 4.0 + 2**-20])
    found = merged("linear", [ours, theirs], base)
    assert (found.dtype, values(found).astype(float).tolist()) == ("BF16", [2, 3.5])
    found = merged("task_arithmetic", [version([3, 5], "I32"), theirs], base)
    assert (found.dtype, values(found).tolist()) == ("I32", [4, 7])


def test_room_is_bounded() -> None:
    assert room(find("linear"), 2) < room(find("slerp"), 2) < room(find("della"), 5)


# Versions of different sizes.


def table(rows: Sequence[int], columns: int = 4, plus: float = 0.0) -> Whole:
    """A row for each number, all different."""
    return np.array([[10.0 * row + column for column in range(columns)] for row in rows]).reshape(-1, columns) + plus


def laid(ours: Whole, theirs: Whole, base: Whole | None, name: str = "linear", **options: Any) -> tuple[Whole, str]:
    ground = None if base is None else version(base, label="base")
    found = merged(name, [version(ours, label="ours"), version(theirs, label="theirs")], ground, **options)
    assert found.remark
    return values(found), found.remark


def test_rows_cut_off_at_the_end() -> None:
    """As a vocabulary is trimmed, while the other side trains on."""
    result, remark = laid(table(range(8)), table(range(10), plus=2), table(range(10)))
    np.testing.assert_array_equal(result, table(range(8), plus=1))
    assert remark == (
        "8 x 4 and 10 x 4 laid over each other: rows matched by their values, 8 x 4 in common; "
        "the rest from whoever has it"
    )
    result, _ = laid(table(range(8)), table(range(10), plus=2), table(range(10)), "task_arithmetic")
    np.testing.assert_array_equal(result, table(range(8), plus=2))


def test_rows_cut_out_of_the_middle_are_matched() -> None:
    kept = [0, 3, 4, 8, 9]
    for ours, theirs in itertools.permutations([table(kept), table(range(10), plus=2)]):
        result, remark = laid(ours, theirs, table(range(10)))
        np.testing.assert_array_equal(result, table(kept, plus=1))
        assert "matched by their values, 5 x 4 in common" in remark
        result, _ = laid(ours, theirs, table(range(10)), "ties", density=1)
        np.testing.assert_array_equal(result, table(kept, plus=2))


def test_equal_rows_are_matched_in_order() -> None:
    base = table([1, 1, 2, 1, 1, 3])
    theirs = base + np.arange(6)[:, None]
    result, remark = laid(base[[0, 2, 3, 5]], theirs, base, "task_arithmetic")
    np.testing.assert_array_equal(result, theirs[[0, 2, 3, 5]])
    assert "matched" in remark


def test_rows_are_matched_by_bytes() -> None:
    """A zero that changed its sign is another row; then order is all there is to go by."""
    base = np.array([[0.0], [1.0], [2.0]])
    result, remark = laid(np.array([[-0.0], [2.0]]), base, base, "task_arithmetic")
    assert "taken in order" in remark
    assert result.tolist() == [[-0.0], [2.0]]


def test_trimmed_rows_that_were_trained_are_taken_in_order() -> None:
    result, remark = laid(table(range(8), plus=1), table(range(10), plus=2), table(range(10)))
    np.testing.assert_array_equal(result, table(range(8), plus=1.5))
    assert "rows taken in order, 8 x 4 in common" in remark


def test_rows_added_by_one_side() -> None:
    result, remark = laid(table(range(12)), table(range(10), plus=2), table(range(10)), "task_arithmetic")
    np.testing.assert_array_equal(result, np.vstack([table(range(10), plus=2), table([10, 11])]))
    assert "10 x 4 in common" in remark


def test_rows_added_by_both_sides() -> None:
    ours, theirs = table(range(12), plus=1), table(range(14), plus=3)
    result, remark = laid(ours, theirs, table(range(10)), "task_arithmetic")
    wanted = np.vstack([table(range(10), plus=4), table([10, 11], plus=2), table([12, 13], plus=3)])
    np.testing.assert_array_equal(result, wanted)
    assert "rows taken in order, 10 x 4 in common" in remark
    # What does not look at the base has more in common, and its weights count there too.
    result, remark = laid(ours, theirs, table(range(10)), weight=[1, 3])
    np.testing.assert_array_equal(result, np.vstack([table(range(12), plus=2.5), table([12, 13], plus=3)]))
    assert "12 x 4 in common" in remark


def test_rows_added_by_both_in_equal_number() -> None:
    """Of one shape, though not the base's: without need for the base, nothing is laid over anything."""
    ours, theirs, base = (version(table(range(n), plus=p)) for n, p in ((12, 1), (12, 3), (10, 0)))
    found = merged("linear", [ours, theirs], base, weight=[1, 3])
    assert (values(found).tolist(), found.remark) == (table(range(12), plus=2.5).tolist(), "")
    found = merged("task_arithmetic", [ours, theirs], base)
    np.testing.assert_array_equal(values(found), np.vstack([table(range(10), plus=4), table([10, 11], plus=2)]))
    assert "10 x 4 in common" in found.remark


def test_one_side_cuts_out_rows_and_the_other_adds_some() -> None:
    """Then they are matched through the base."""
    kept = [1, 2, 5, 7]
    result, remark = laid(table(kept), table(range(10), plus=2), table(range(8)), "task_arithmetic")
    wanted = table(range(10), plus=2)
    np.testing.assert_array_equal(result, wanted)
    assert "matched by their values, 4 x 4 in common" in remark
    result, _ = laid(table(kept), table(range(10), plus=2), table(range(8)))
    wanted[kept] -= 1
    np.testing.assert_array_equal(result, wanted)


def test_both_sides_cut_out_rows() -> None:
    """The larger one's rows stay, and each is merged with the same row of the other."""
    result, remark = laid(table([0, 2, 3, 5]), table([2, 5, 6]), table(range(8)), "linear", weight=[1, 0])
    np.testing.assert_array_equal(result, table([0, 2, 3, 5]))
    assert "matched by their values, 2 x 4 in common" in remark


def test_a_value_that_only_the_base_has() -> None:
    ours, theirs, base = np.full((2, 3), 1.0), np.full((3, 2), 2.0), np.arange(9.0).reshape(3, 3)
    result, remark = laid(ours, theirs, base)
    assert result.tolist() == [[1.5, 1.5, 1], [1.5, 1.5, 1], [2, 2, 8]]
    assert "2 x 3 and 3 x 2 laid over each other" in remark
    assert "2 x 2 in common" in remark


def test_columns_and_other_axes() -> None:
    ours, theirs, base = (
        np.full(shape, value) for shape, value in (((2, 5, 3), 2.0), ((2, 4, 3), 4.0), ((2, 4, 3), 1.0))
    )
    result, remark = laid(ours, theirs, base, "task_arithmetic")
    assert result.shape == (2, 5, 3)
    assert np.all(result[:, :4] == 5)
    assert np.all(result[:, 4] == 2)
    assert "2 x 4 x 3 in common" in remark
    result, _ = laid(np.full(5, 1.0), np.full(3, 3.0), None)
    assert result.tolist() == [2, 2, 2, 1, 1]


def test_without_a_base() -> None:
    result, remark = laid(table([0, 2, 4]), table(range(5)), None)
    np.testing.assert_array_equal(result, table(range(5)))
    assert "matched by their values, 3 x 4 in common" in remark


def test_nothing_in_common() -> None:
    result, remark = laid(np.zeros((0, 4)), table(range(3)), None)
    np.testing.assert_array_equal(result, table(range(3)))
    assert "0 x 4 in common" in remark
    result, _ = laid(np.zeros((3, 0)), table(range(3)), None)
    np.testing.assert_array_equal(result, table(range(3)))


def test_three_models_of_three_sizes() -> None:
    models = [version(table(range(count), plus=plus)) for count, plus in ((2, 1), (3, 2), (5, 6))]
    found = merged("linear", models, version(table(range(2))))
    wanted = np.vstack([table([0, 1], plus=3), table([2], plus=4), table([3, 4], plus=6)])
    np.testing.assert_array_equal(values(found), wanted)
    assert found.remark.startswith("2 x 4 and 3 x 4 and 5 x 4 laid")


def test_integers_and_truths_of_different_sizes() -> None:
    low = 2**53 + 1
    ours, theirs, base = (version(v, "I64") for v in ([low, 4, low + 2], [low, 8], [low, 4]))
    found = merged("linear", [ours, theirs], base)
    assert values(found).tolist() == [low, 6, low + 2]
    one, two = Version(memoryview(b"\1\0\7"), "BOOL", (3,)), Version(memoryview(b"\0\1"), "BOOL", (2,))
    assert bytes(merged("linear", [one, two]).data) == b"\1\0\7"
    assert bytes(merged("linear", [two, one]).data) == b"\0\1\7"


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F64", "F4"])
def test_types_of_different_sizes(dtype: str) -> None:
    ours, theirs = some(dtype, 0, (6, 4)), some(dtype, 0, (4, 4))
    theirs = theirs._replace(data=ours.data[: len(theirs.data)])
    found = merged("linear", [ours, theirs], theirs)
    assert bytes(found.data) == bytes(ours.data)
    assert ("matched" if dtype != "F4" else "in order") in found.remark


def test_sizes_that_cannot_be_laid_over_each_other() -> None:
    cases: list[tuple[list[Version], Version | None, str]] = [
        ([version(np.ones((2, 3)), label="main"), version(np.ones(6))], None, "main is 2 x 3, a version is 6"),
        ([version(1.0, label="main"), version([1.0], label="x")], None, "main is a scalar, x is 1"),
        ([version(np.ones((2, 3))), version(np.ones((3, 2)))], version(np.ones(6), label="b"), "b is 6"),
        ([version(np.ones(2), "C64"), version(np.ones(3), "C64")], None, "different shapes"),
    ]
    for models, base, words in cases:
        with pytest.raises(RequestError, match=rf"cannot merge 'layer\.weight': .*{words}") as caught:
            merged("task_arithmetic" if base else "linear", models, base)
        assert caught.value.hint == "take a side for this tensor"
    one, two = version(np.ones(2)), version(np.ones(3))
    with pytest.raises(RequestError, match="different shapes"):
        merged("fisher", [one, two], None, {"fisher": [one, two]})


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=9), st.data())
def test_any_rows_cut_out_are_found_again(rows: list[int], data: st.DataObject) -> None:
    """With equal rows among them there is more than one way; any will do, as long as the bytes are the same."""
    kept = sorted(data.draw(st.sets(st.integers(0, max(0, len(rows) - 1))))) if rows else []
    large, small = version(table(rows)), version(table([rows[index] for index in kept]))
    for one, other in ((large, small), (small, large)):
        found = blending._found(one, other)
        assert found is not None
        assert len(found) == one.shape[0]
        there = found[found >= 0]
        assert len(there) == min(large.shape[0], small.shape[0])
        assert np.all(np.diff(there) > 0)
        np.testing.assert_array_equal(values(one)[found >= 0], values(other)[there])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_rows_that_are_not_all_there_are_not_matched(one: list[int], other: list[int]) -> None:
    few, many = sorted((one, other), key=len)
    possible = any(list(part) == few for part in itertools.combinations(many, len(few)))
    assert (blending._found(version(table(one)), version(table(other))) is not None) == possible


def test_matching_many_rows_looks_at_each_once() -> None:
    """A vocabulary has hundreds of thousands of rows, and many of them may be equal."""
    reads = 0

    class Counting(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal reads
            reads += 1
            return super().__getitem__(key)

    rows = np.zeros((5000, 1))
    rows[-1] = 1
    small = rows[2500:]
    one, other = version(rows), version(small)
    one, other = (v._replace(data=Counting(v.data)) for v in (one, other))  # type: ignore[arg-type]
    assert blending._found(one, other) is not None
    assert reads <= 2 * (5000 + 2500)
