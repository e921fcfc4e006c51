"""Every strategy beside its paper's formula, written out here with fractions and loops, and what must always hold.

Values are quarters, so that changes, their sums and their squares are exact in either precision: what the strategy and
the formula elect, keep and drop must be the same, and only divisions may round.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from theta_jupyter.errors import RequestError
from theta_jupyter.merges.base import Tensor, find, installed
from theta_jupyter.merges.strategies import changes as changes_module
from theta_jupyter.merges.strategies.spheres import _angle, _sine
from theta_jupyter.merges.sums import dot, dots, norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from theta_jupyter.merges.base import Array, Statistics

    Given = tuple[list[Array], Array]

F32: np.dtype[np.floating[Any]] = np.dtype(np.float32)
F64: np.dtype[np.floating[Any]] = np.dtype(np.float64)
NAMES = sorted(installed())
SHAPES: list[tuple[int, ...]] = [(), (0,), (0, 3), (3, 0), (1,), (5,), (1, 1), (4, 3), (2, 3, 2, 2)]
TENSOR = Tensor("encoder.weight")


def merge(name: str, models: Sequence[Array], base: Array | None = None, **options: Any) -> Array:
    """Run a strategy as the engine does, on arrays that cannot be written to."""
    strategy = find(name)
    known = {key: options.pop(key) for key in ("fisher", "gram") if key in options}
    tensor, seen = options.pop("tensor", TENSOR), options.pop("seen", None)
    values = strategy.read({**options, **dict.fromkeys(known, ["a"] * len(models))}, len(models)) | known
    for array in (*models, *(() if base is None else (base,))):
        array.setflags(write=False)
    found = strategy.run(models, base, values, tensor, seen)
    assert isinstance(found, np.ndarray)
    assert found.shape == models[0].shape
    assert found.dtype >= models[0].dtype
    assert np.all(np.isfinite(found))
    return found


def some(shape: tuple[int, ...], count: int, dtype: npt.DTypeLike = F64, seed: int = 0) -> list[Array]:
    """Arrays of ordinary numbers."""
    random = np.random.default_rng([seed, *shape])
    return [np.asarray(random.normal(size=shape), dtype) for _ in range(count)]


def known(name: str, models: Sequence[Array], seed: int = 9) -> dict[str, Any]:
    """Statistics, for a strategy that needs them."""
    if name == "fisher":
        return {"fisher": [np.square(one) for one in some(models[0].shape, len(models), seed=seed)]}
    if name == "regmean":
        size = models[0].shape[-1] if models[0].ndim else 0
        return {"gram": [one.T @ one for one in some((7, size), len(models), seed=seed)]}
    return {}


def same_bits(one: Array, two: Array) -> bool:
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def close(found: Array, wanted: Any, exact: float = 1e-12) -> None:
    tolerance = exact if found.dtype == F64 else 2e-6
    wanted = np.array([float(value) for value in wanted]).reshape(found.shape)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- what the formulas are given

QUARTERS = st.integers(-8, 8).map(lambda number: number / 4)
HUNDREDTHS = st.integers(0, 100).map(lambda number: number / 100)


@st.composite
def versions(draw: st.DrawFn) -> tuple[list[Array], Array]:
    """Two or three models and their base, of quarters, with many equal ones."""
    count = draw(st.integers(2, 3))
    dtype: np.dtype[np.floating[Any]] = draw(st.sampled_from([F32, F64]))
    shape = draw(st.sampled_from([(), (0,), (1,), (6,), (2, 5), (3, 2, 2)]))
    arrays = [draw(hnp.arrays(dtype, shape, elements=QUARTERS)) for _ in range(count + 1)]
    return arrays[:-1], arrays[-1]


@st.composite
def weighings(draw: st.DrawFn, count: int, *, low: int = -3) -> list[float]:
    """A weight for each model, in eighths; they do not add up to zero."""
    found = draw(st.lists(st.integers(low, 8), min_size=count, max_size=count).filter(sum))
    return [number / 8 for number in found]


Row = list[Fraction]


def fractions(array: Any) -> Row:
    return [Fraction(float(value)) for value in np.asarray(array).reshape(-1)]


def deltas(models: Sequence[Array], base: Array) -> list[Row]:
    return [[x - b for x, b in zip(fractions(model), fractions(base), strict=True)] for model in models]


def largest(sizes: Row, count: int) -> set[int]:
    return set(sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))[:count])


def share_of(share: float, count: int) -> int:
    return math.floor(Fraction(str(share)) * count)


def keep(row: Row, kept: set[int]) -> Row:
    return [value if index in kept else Fraction(0) for index, value in enumerate(row)]


def added(base: Array, rows: Sequence[Row], weights: Sequence[float], factor: float) -> Row:
    found = fractions(base)
    for row, weight in zip(rows, weights, strict=True):
        found = [b + Fraction(factor) * Fraction(weight) * d for b, d in zip(found, row, strict=True)]
    return found


def agreed(base: Array, rows: Sequence[Row], weights: Sequence[float], factor: float) -> Row:
    found = []
    for place, start in enumerate(fractions(base)):
        votes = [(Fraction(weight), row[place]) for weight, row in zip(weights, rows, strict=True)]
        mass = sum(weight * value for weight, value in votes)
        winners = [(weight, value) for weight, value in votes if weight * value * mass > 0]
        total = sum(abs(weight) for weight, _ in winners)
        step = sum(weight * value for weight, value in winners) / total if total else Fraction(0)
        found.append(start + Fraction(factor) * step)
    return found


# ---------------------------------------------------------------- each beside its formula


def test_take() -> None:
    ours, theirs, base = some((4,), 3)
    assert merge("ours", [ours, theirs], base) is ours
    assert merge("theirs", [ours, theirs], base) is theirs
    assert merge("base", [ours, theirs], base) is base
    assert [find(name).takes for name in ("ours", "theirs", "base", "linear")] == ["ours", "theirs", "base", ""]


def test_weighted_average_of_2_and_4_is_3() -> None:
    # Git-Theta divides by the number of models again, and says 1.5.
    for weight in ([0.5, 0.5], 0.5, 1, [3, 3]):
        assert merge("linear", [np.array([2.0]), np.array([4.0])], weight=weight).tolist() == [3.0]


@settings(deadline=None)
@given(data=st.data(), given_=versions(), normalize=st.booleans())
def test_linear(data: st.DataObject, given_: Given, normalize: bool) -> None:
    models, _ = given_
    weights = data.draw(weighings(len(models)))
    found = merge("linear", models, weight=weights, normalize=normalize)
    total = sum(map(Fraction, weights)) if normalize else 1
    columns = zip(*map(fractions, models), strict=True)
    close(found, [sum(Fraction(w) * x for w, x in zip(weights, column, strict=True)) / total for column in columns])


def test_linear_takes_one_model_as_it_is() -> None:
    models = [np.array([1e20, -3.0]), np.array([1.0, -0.0]), np.array([7.0, 1e-300])]
    for index, model in enumerate(models):
        assert same_bits(merge("linear", models, weight=np.eye(3)[index].tolist()), model)


@pytest.mark.parametrize("name", ["linear", "multislerp", "fisher"])
def test_weights_that_add_up_to_zero_have_no_mean(name: str) -> None:
    models = some((3,), 3)
    weight: Any = [0.1, 0.2, -0.3] if name == "linear" else 0
    with pytest.raises(RequestError, match="add up to zero"):
        merge(name, models, weight=weight, **known(name, models))
    if name == "linear":
        assert np.all(merge(name, models, weight=0, normalize=False) == 0)


@settings(deadline=None)
@given(data=st.data(), given_=versions(), factor=st.integers(-16, 16).map(lambda number: number / 8))
def test_task_arithmetic(data: st.DataObject, given_: Given, factor: float) -> None:
    models, base = given_
    weights = data.draw(weighings(len(models)))
    found = merge("task_arithmetic", models, base, weight=weights, **{"lambda": factor})
    close(found, added(base, deltas(models, base), weights, factor))


@settings(deadline=None)
@given(data=st.data(), given_=versions(), density=HUNDREDTHS)
def test_ties(data: st.DataObject, given_: Given, density: float) -> None:
    models, base = given_
    weights = data.draw(weighings(len(models)))
    found = merge("ties", models, base, density=density, weight=weights, **{"lambda": 1.5})
    rows = [keep(row, largest([abs(x) for x in row], share_of(density, len(row)))) for row in deltas(models, base)]
    close(found, agreed(base, rows, weights, 1.5))


def test_ties_by_hand() -> None:
    base = np.zeros(5)
    one, two = np.array([5.0, -3.0, 3.0, 0.5, 1.0]), np.array([-2.0, -1.0, 4.0, 9.0, -0.5])
    # Of each the three largest: [5, -3, 3, 0, 0] and [-2, 0, 4, 9, 0].
    assert merge("ties", [one, two], base, density=0.6).tolist() == [5, -3, 3.5, 9, 0]
    assert merge("ties", [one, two], base, density=0.6, weight=[1, 3]).tolist() == [-2, -3, 3.75, 9, 0]
    assert merge("ties", [one, -one], base, density=1).tolist() == [0, 0, 0, 0, 0]


def test_of_equal_magnitudes_the_first_stay() -> None:
    change = np.array([1.0, -2.0, 2.0, -1.0, 1.0, 2.0, 0.0, 0.0])
    for count, wanted in [(1, [1]), (2, [1, 2]), (4, [0, 1, 2, 5]), (5, [0, 1, 2, 3, 5])]:
        found = merge("ties", [change, change], np.zeros(8), density=count / 8)
        assert np.flatnonzero(found).tolist() == wanted


def test_a_share_is_taken_as_it_is_written() -> None:
    ramp = np.arange(1.0, 101.0)
    for share in (0.29, 0.57, 0.58, 0.07, 0.999):  # Times 100, in floats, 0.29 is 28.999999999999996.
        found = merge("ties", [ramp, ramp], np.zeros(100), density=share)
        assert np.count_nonzero(found) == math.floor(Fraction(str(share)) * 100)


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_large_tensors_are_trimmed_piece_by_piece(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    models = [random.integers(-2, 3, (6, 5)) / 2 for _ in range(3)]
    names = ("ties", "breadcrumbs", "della", "sce")
    options: dict[str, dict[str, float]] = {"sce": {"select_topk": 0.4}}
    wanted = [merge(name, models[:2], models[2], **options.get(name, {"density": 0.4})) for name in names]
    monkeypatch.setattr(changes_module, "_BLOCK", block)
    found = [merge(name, models[:2], models[2], **options.get(name, {"density": 0.4})) for name in names]
    assert all(map(same_bits, found, wanted))


@settings(deadline=None)
@given(data=st.data(), given_=versions(), density=HUNDREDTHS, seed=st.integers(0, 9))
def test_dare(data: st.DataObject, given_: Given, density: float, seed: int) -> None:
    models, base = given_
    weights = data.draw(weighings(len(models)))
    rows = []
    for which, row in enumerate(deltas(models, base)):
        luck = TENSOR.uniform((len(row),), seed, which)
        rows.append([x / Fraction(density) if u < density else Fraction(0) for x, u in zip(row, luck, strict=True)])
    options = {"density": density, "weight": weights, "seed": seed, "lambda": 0.75}
    exact = 1e-10  # Divided by 0.01.
    close(merge("dare_linear", models, base, **options), added(base, rows, weights, 0.75), exact)
    if all(Fraction(x).denominator < 2**20 for row in rows for x in row):  # Else rounding may elect.
        close(merge("dare_ties", models, base, **options), agreed(base, rows, weights, 0.75), exact)


@settings(deadline=None)
@given(data=st.data(), given_=versions(), density=HUNDREDTHS, epsilon=HUNDREDTHS)
def test_della(data: st.DataObject, given_: Given, density: float, epsilon: float) -> None:
    models, base = given_
    weights = data.draw(weighings(len(models), low=1))
    spread = min(epsilon, 2 * density, 2 * (1 - density))
    columns = int(np.prod(base.shape[1:])) if base.ndim > 1 else base.size
    rows = []
    for which, row in enumerate(deltas(models, base)):
        luck = TENSOR.uniform((len(row),), 4, which)
        out = []
        for index, x in enumerate(row):
            first = index // columns * columns
            line = row[first : first + columns]
            before = [y for y in line if abs(y) > abs(x)] + [y for y in line[: index - first] if abs(y) == abs(x)]
            drop = 1 - density - spread / 2 + spread * len(before) / columns
            out.append(float(x) / (1 - drop) if luck[index] < 1 - drop else 0.0)
        rows.append(out)
    found = merge("della", models, base, density=density, epsilon=epsilon, weight=weights, seed=4)
    for place, (value, start) in enumerate(zip(found.reshape(-1), base.reshape(-1), strict=True)):
        votes = [(w, row[place]) for w, row in zip(weights, rows, strict=True)]
        mass = sum(w * x for w, x in votes)
        size = sum(abs(w * x) for w, x in votes)
        if size and abs(mass) < 1e-4 * size:
            continue  # Rounding elects.
        winners = [(w, x) for w, x in votes if x * mass > 0]
        step = sum(w * x for w, x in winners) / sum(w for w, _ in winners) if winners else 0.0
        assert value == pytest.approx(start + step, rel=1e-4 if base.dtype == F32 else 1e-9, abs=1e-6)


def test_della_drops_small_changes_more_often() -> None:
    change = np.arange(1.0, 10_001.0)
    found = merge("della", [change, change], np.zeros(10_000), density=0.5, epsilon=0.8, weight=[1, 0])
    kept = found != 0
    quarters = kept.reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(quarters, [0.2, 0.4, 0.6, 0.8], atol=0.03)
    assert found.sum() == pytest.approx(change.sum(), rel=0.03), "what stays makes good for what goes"


@settings(deadline=None)
@given(data=st.data(), given_=versions(), density=HUNDREDTHS, gamma=HUNDREDTHS)
def test_breadcrumbs(data: st.DataObject, given_: Given, density: float, gamma: float) -> None:
    models, base = given_
    weights = data.draw(weighings(len(models)))
    rows = []
    for row in deltas(models, base):
        sizes = [abs(x) for x in row]
        top = share_of(gamma, len(row))
        rows.append(keep(row, largest(sizes, top + share_of(density, len(row))) - largest(sizes, top)))
    found = merge("breadcrumbs", models, base, density=density, gamma=gamma, weight=weights, **{"lambda": 0.5})
    close(found, added(base, rows, weights, 0.5))


def test_breadcrumbs_by_hand() -> None:
    change = np.array([0.1, -9.0, 3.0, 0.2, -2.0, 0.0, 1.0, 0.3, 0.1, 0.1])
    found = merge("breadcrumbs", [change, change], np.zeros(10), density=0.3, gamma=0.1, weight=0.5)
    assert found.tolist() == [0, 0, 3, 0, -2, 0, 1, 0, 0, 0]


@settings(deadline=None)
@given(given_=versions(), topk=HUNDREDTHS)
def test_sce(given_: Given, topk: float) -> None:
    models, base = given_
    rows = deltas(models, base)
    count = len(rows)
    variances = []
    for column in zip(*rows, strict=True):
        middle = sum(column) / count
        variances.append(sum(((x - middle) ** 2 for x in column), Fraction(0)) / count)
    chosen = largest(variances, share_of(topk, base.size))
    rows = [keep(row, chosen) for row in rows]
    squares = [sum(x * x for x in row) for row in rows]
    weights = [float(Fraction(square) / sum(squares)) if sum(squares) else 0.0 for square in squares]
    sums = [sum(column) for column in zip(*rows, strict=True)]
    rows = [[x if x * total > 0 else Fraction(0) for x, total in zip(row, sums, strict=True)] for row in rows]
    close(merge("sce", models, base, select_topk=topk), added(base, rows, weights, 1.0))


def test_sce_by_hand() -> None:
    one, two = np.array([3.0, 1.0, -4.0, 2.0]), np.array([3.0, -2.0, 2.0, 2.0])
    # The models differ most in the third value, then in the second; squares 17 and 8; signs minus and minus.
    found = merge("sce", [one, two], np.zeros(4), select_topk=0.5)
    close(found, [0, -2 * 8 / 25, -4 * 17 / 25, 0])


@settings(deadline=None)
@given(given_=versions(), filter_wise=st.booleans())
def test_model_stock(given_: Given, filter_wise: bool) -> None:
    models, base = given_
    count = len(models)
    width = base.size if base.ndim < 2 or not filter_wise else base.size // base.shape[0]
    rows = [[float(x) for x in row] for row in deltas(models, base)]
    wanted: list[float] = []
    for start in range(0, base.size, max(1, width)):
        parts = [row[start : start + width] for row in rows]
        cosines = []
        for one, two in itertools.combinations(parts, 2):
            lengths = math.hypot(*one) * math.hypot(*two)
            cosines.append(sum(x * y for x, y in zip(one, two, strict=True)) / lengths if lengths else 0.0)
        cosine = max(0.0, sum(cosines) / len(cosines))
        ratio = count * cosine / (1 + (count - 1) * cosine)
        for place in range(width):
            middle = sum(part[place] for part in parts) / count
            wanted.append(float(base.reshape(-1)[start + place]) + ratio * middle)
    close(merge("model_stock", models, base, filter_wise=filter_wise), wanted)


def test_model_stock_by_hand() -> None:
    base = np.array([[1.0, 1.0], [1.0, 1.0]])
    one, two = base + np.array([[1.0, 0.0], [2.0, 0.0]]), base + np.array([[0.0, 1.0], [1.0, 0.0]])
    # The first rows' changes are at a right angle (the base), the second's parallel (the mean).
    assert merge("model_stock", [one, two], base, filter_wise=True).tolist() == [[1, 1], [2.5, 1]]
    cosine = 2 / math.sqrt(5 * 2)
    ratio = 2 * cosine / (1 + cosine)
    close(merge("model_stock", [one, two], base), [1 + ratio / 2, 1 + ratio / 2, 1 + 1.5 * ratio, 1])
    assert same_bits(merge("model_stock", [base + 1, base - 1], base), base), "opposite changes: the base"


def test_slerp_by_hand() -> None:
    x, y = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    close(merge("slerp", [x, y]), [math.sqrt(0.5), math.sqrt(0.5)], 1e-15)
    close(merge("slerp", [x, y], t=1 / 3), [math.cos(math.pi / 6), math.sin(math.pi / 6)], 1e-15)
    close(merge("slerp", [2 * x, 4 * y], t=0.5), [2 * math.sqrt(0.5), 4 * math.sqrt(0.5)], 1e-15)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_slerp(dtype: npt.DTypeLike, t: float) -> None:
    for seed in range(20):
        one, two = some((3, 4), 2, dtype, seed)
        a, b = one.reshape(-1).tolist(), two.reshape(-1).tolist()
        angle = math.acos(sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b)))
        near, far = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
        close(merge("slerp", [one, two], t=t), [near * x + far * y for x, y in zip(a, b, strict=True)])


def test_slerp_at_the_ends_is_either() -> None:
    one, two = some((5,), 2)
    one[0] = two[1] = -0.0
    assert same_bits(merge("slerp", [one, two], t=0), one)
    assert same_bits(merge("slerp", [one, two], t=1), two)


@pytest.mark.parametrize("factor", [0.0, 3.0, -2.0, 1 + 1e-12])
@pytest.mark.parametrize("name", ["slerp", "multislerp"])
def test_where_there_is_no_arc_there_is_a_line(name: str, factor: float) -> None:
    one = some((6,), 1)[0]
    found = merge(name, [one, factor * one])
    assert same_bits(found, merge("linear", [one, factor * one]))
    assert same_bits(merge(name, [factor * one, one]), merge("linear", [factor * one, one]))


def test_nearly_parallel_arc_and_line_meet() -> None:
    one, two = some((50,), 2)
    for size in (1e-3, 1.2e-4, 0.9e-4, 1e-5):
        found = merge("slerp", [one, one + size * two])
        np.testing.assert_allclose(found, one + size / 2 * two, rtol=1e-6, atol=1e-6)


def test_multislerp_of_two_is_slerp() -> None:
    for seed in range(20):
        one, two = (array / norm(array) for array in some((9,), 2, seed=seed))
        for t in (0.25, 0.5, 0.8):
            wanted = merge("slerp", [one, two], t=t)
            np.testing.assert_allclose(merge("multislerp", [one, two], weight=[1 - t, t]), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_multislerp_is_where_the_pulls_cancel_out(dtype: npt.DTypeLike, count: int) -> None:
    for seed in range(10):
        models = some((4, 5), count, dtype, seed)
        models = [np.asarray(model + models[0], dtype) for model in models]  # In one hemisphere.
        weights = np.arange(1.0, count + 1) / sum(range(1, count + 1))
        found = merge("multislerp", models, weight=weights.tolist()).astype(np.float64).reshape(-1)
        vectors = [model.astype(np.float64).reshape(-1) for model in models]
        length = sum(w * math.hypot(*v) for w, v in zip(weights, vectors, strict=True))
        assert math.hypot(*found) == pytest.approx(length, rel=1e-6)
        point = found / math.hypot(*found)
        pull = np.zeros_like(point)
        for weight, vector in zip(weights, vectors, strict=True):
            unit = vector / math.hypot(*vector)
            cosine = float(np.sum(unit * point))
            tangent = unit - cosine * point
            pull += weight * math.acos(cosine) * tangent / math.hypot(*tangent)
        assert math.hypot(*pull) < (1e-6 if dtype == F32 else 1e-9)


def test_multislerp_by_hand() -> None:
    axes = list(np.eye(3))
    close(merge("multislerp", axes), [1 / math.sqrt(3)] * 3)
    close(merge("multislerp", [2 * axes[0], 4 * axes[1], 6 * axes[2]]), [4 / math.sqrt(3)] * 3)
    triangle = [np.array([math.cos(a), math.sin(a)]) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    assert same_bits(merge("multislerp", triangle), merge("linear", triangle)), "they cancel out"
    assert same_bits(merge("multislerp", [axes[0], -axes[0]]), np.zeros(3)), "and so do two"
    close(merge("multislerp", [axes[0], axes[1], -axes[0]], weight=[1, 2, 1]), [0, 1, 0])
    with pytest.raises(RequestError, match="weight cannot be"):
        merge("multislerp", axes, weight=[1, 1, -1])


def test_own_sine_and_arc_cosine() -> None:
    for angle in np.linspace(0, math.pi, 1001):
        assert _sine(float(angle)) == pytest.approx(math.sin(angle), rel=1e-14, abs=1e-15)
    for cosine in np.linspace(-1, 1, 1001):
        assert _angle(float(cosine)) == pytest.approx(math.acos(cosine), rel=3e-15)
    assert _angle(1 + 1e-16) == 0
    assert _angle(-1 - 1e-15) == pytest.approx(math.pi)


FISHERS = st.integers(0, 6).map(lambda number: number / 2)


@settings(deadline=None)
@given(data=st.data(), given_=versions())
def test_fisher(data: st.DataObject, given_: Given) -> None:
    models, _ = given_
    weights = data.draw(weighings(len(models), low=0))
    facts = [data.draw(hnp.arrays(np.float32, model.shape, elements=FISHERS)) for model in models]
    wanted = []
    columns = zip(zip(*map(fractions, models), strict=True), zip(*map(fractions, facts), strict=True), strict=True)
    for values, information in columns:
        pulls = [Fraction(w) * max(f, Fraction(1e-10)) for w, f in zip(weights, information, strict=True)]
        wanted.append(sum(p * x for p, x in zip(pulls, values, strict=True)) / sum(pulls))
    close(merge("fisher", models, fisher=facts, weight=weights), wanted)


def test_fisher_without_information_is_the_mean() -> None:
    models = some((6,), 3)
    zeros: Statistics = [np.zeros(6)] * 3
    wanted = merge("linear", models, weight=[1, 2, 3])
    for facts in (zeros, [np.ones(6), None, np.ones(6)], [None, None, None]):
        for eps in (0, 1e-6):
            found = merge("fisher", models, fisher=facts, weight=[1, 2, 3], eps=eps)
            np.testing.assert_allclose(found, wanted, rtol=1e-14)
    sure: Statistics = [np.zeros(6), np.full(6, 1e-3), np.zeros(6)]
    np.testing.assert_allclose(merge("fisher", models, fisher=sure, eps=0), models[1], rtol=1e-14)


def solved(matrix: list[Row], right: list[Row]) -> list[Row]:
    """Solve for a matrix of unknowns, by elimination."""
    lines = [left + more for left, more in zip(matrix, right, strict=True)]
    size = len(lines)
    for column in range(size):
        pivot = next(index for index in range(column, size) if lines[index][column])
        lines[column], lines[pivot] = lines[pivot], lines[column]
        lines[column] = [x / lines[column][column] for x in lines[column]]
        for index in set(range(size)) - {column}:
            factor = lines[index][column]
            lines[index] = [x - factor * y for x, y in zip(lines[index], lines[column], strict=True)]
    return [line[size:] for line in lines]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("reduce", "count"), [(0.0, 2), (0.5, 3), (0.9, 2), (1.0, 2)])
def test_regmean(dtype: npt.DTypeLike, reduce: float, count: int) -> None:
    random = np.random.default_rng(3)
    models = [random.integers(-8, 9, (3, 4)).astype(dtype) / 4 for _ in range(count)]
    samples = [random.integers(-4, 5, (9, 4)).astype(dtype) for _ in range(count)]
    grams = [x.T @ x for x in samples]
    total = [[Fraction(0)] * 4 for _ in range(4)]
    right = [[Fraction(0)] * 3 for _ in range(4)]
    for model, gram in zip(models, grams, strict=True):
        for i, j in itertools.product(range(4), range(4)):
            entry = Fraction(float(gram[i, j])) * (1 if i == j else Fraction(reduce))
            total[i][j] += entry
            for out in range(3):
                right[i][out] += entry * Fraction(float(model[out, j]))
    wanted = np.array(solved(total, right), float).T
    close(merge("regmean", models, gram=grams, reduce=reduce), wanted.reshape(-1), 1e-10)


def test_regmean_has_the_least_squared_error() -> None:
    models = some((3, 5), 2)
    inputs = some((20, 5), 2, seed=1)
    wanted = np.linalg.lstsq(
        np.concatenate(inputs), np.concatenate([x @ w.T for x, w in zip(inputs, models, strict=True)])
    )[0]
    found = merge("regmean", models, gram=[x.T @ x for x in inputs], reduce=1)
    np.testing.assert_allclose(found, wanted.T, rtol=1e-9)


@pytest.mark.parametrize("reduce", [0.0, 0.9, 1.0])
def test_regmean_takes_the_mean_where_nothing_is_known(reduce: float) -> None:
    models = some((3, 5), 2)
    middle = merge("linear", models)
    inputs = [x * [1, 1, 0, 1, 0] for x in some((20, 5), 2, seed=1)]
    found = merge("regmean", models, gram=[x.T @ x for x in inputs], reduce=reduce)
    np.testing.assert_allclose(found[:, [2, 4]], middle[:, [2, 4]], rtol=1e-14)
    assert np.all(found[:, [0, 1, 3]] != middle[:, [0, 1, 3]])
    for gram in ([None, None], [np.eye(5), None], [np.zeros((5, 5))] * 2):
        assert np.array_equal(merge("regmean", models, gram=gram, reduce=reduce), middle)
    few = [x[:1].T @ x[:1] for x in some((20, 5), 2, seed=1)]  # Two samples for five inputs.
    found = merge("regmean", models, gram=few, reduce=reduce)
    assert np.max(np.abs(found - middle)) < 10 * np.max(np.abs(models[0] - models[1]))
    for shape in [(), (4,), (2, 3, 4)]:
        flat = some(shape, 2)
        assert same_bits(merge("regmean", flat, gram=[np.eye(4)] * 2), merge("linear", flat))


def test_regmean_shares_what_cannot_be_told_apart() -> None:
    models = some((3, 5), 2)
    random = np.random.default_rng(1)
    inputs = [random.integers(-3, 4, (20, 4))[:, [0, 0, 1, 2, 3]].astype(np.float64) for _ in range(2)]
    found = merge("regmean", models, gram=[x.T @ x for x in inputs], reduce=1)
    change = found - merge("linear", models)
    np.testing.assert_allclose(change[:, 0], change[:, 1], rtol=1e-9)
    assert np.all(change != 0)


def test_regmean_says_which_gram_matrix_does_not_fit() -> None:
    with pytest.raises(RequestError, match=r"encoder.weight is \(3, 3\)") as caught:
        merge("regmean", some((3, 5), 2), gram=[np.eye(5), np.eye(3)])
    assert "(5, 5)" in caught.value.hint


# ---------------------------------------------------------------- what always holds


def options_of(name: str, count: int) -> dict[str, Any]:
    return {"weight": [0.3, 0.7, 0.2][:count]} if any(p.name == "weight" for p in find(name).parameters) else {}


def counts(name: str) -> tuple[int, ...]:
    return (2,) if find(name).pairs else (2, 3)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", NAMES)
def test_equal_versions_give_themselves(name: str, dtype: npt.DTypeLike) -> None:
    for count, shape in itertools.product(counts(name), SHAPES):
        value = some(shape, 1, dtype, seed=count)[0]
        value.reshape(-1)[::3] = -0.0
        given = [value.copy() for _ in range(count)]
        found = merge(name, given, value.copy(), **options_of(name, count), **known(name, given))
        assert same_bits(found.astype(dtype), value), shape


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", ["linear", "slerp", "multislerp", "model_stock", "fisher", "regmean"])
def test_a_mean_of_equal_models_is_the_model(name: str, dtype: npt.DTypeLike) -> None:
    for count, shape in itertools.product(counts(name), SHAPES):
        base, value = some(shape, 2, dtype, seed=count)
        value.reshape(-1)[::3] = -0.0
        given = [value.copy() for _ in range(count)]
        found = merge(name, given, base, **options_of(name, count), **known(name, given))
        assert same_bits(found.astype(dtype), value), shape


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", NAMES)
def test_zeros_scalars_and_empties_work(name: str, dtype: npt.DTypeLike) -> None:
    for count, shape in itertools.product(counts(name), SHAPES):
        zero = np.zeros(shape, dtype)
        mixed = [zero, *some(shape, count - 1, dtype)]
        none = {key: [0 * value for value in values if value is not None] for key, values in known(name, mixed).items()}
        for models, base in [([zero] * count, zero), (mixed, zero), (mixed, mixed[1]), ([zero] * count, mixed[1])]:
            for facts in (known(name, models), none):
                merge(name, models, base, **options_of(name, count), **facts)


@pytest.mark.parametrize("name", NAMES)
def test_versions_may_lie_in_memory_in_any_order(name: str) -> None:
    models = some((4, 4), 2, F32)
    base = some((4, 4), 1, F32, seed=1)[0]
    wanted = merge(name, models, base, **known(name, models))
    arrays = (*models, base)
    for moved in [np.asfortranarray(one) for one in arrays], [np.repeat(one, 2, axis=1)[:, ::2] for one in arrays]:
        assert np.array_equal(merge(name, moved[:2], moved[2], **known(name, models)), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_versions_give_the_same_bits(name: str) -> None:
    for dtype in (F32, F64):
        models, base = some((40, 30), 2, dtype), some((40, 30), 1, dtype, seed=1)[0]
        facts = known(name, models)
        assert same_bits(merge(name, models, base, **facts), merge(name, models, base, **facts))


@pytest.mark.parametrize("name", [name for name in NAMES if find(name).elementwise])
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=4))
def test_elementwise_strategies_do_not_depend_on_how_a_tensor_is_cut(name: str, cuts: list[int]) -> None:
    # Of tenths, so that many changes are equal.
    *models, base = (np.round(one, 1) for one in (*some((60,), 2), *some((60,), 1, seed=1)))
    facts = known(name, models)
    whole = merge(name, models, base, **facts)
    parts = []
    slices = [slice(start, stop) for start, stop in itertools.pairwise([0, *sorted(cuts), 60])]
    strategy = find(name)
    seen = strategy.looked(
        lambda: (([model[cut] for model in models], base[cut]) for cut in slices),
        strategy.read({key: ["a"] * len(models) for key in facts}, len(models)),
    )
    for cut in slices:
        here = {key: [None if v is None else v[cut] for v in values] for key, values in facts.items()}
        tensor = Tensor(TENSOR.name, start=cut.start)
        parts.append(merge(name, [one[cut] for one in models], base[cut], tensor=tensor, seen=seen, **here))
    assert same_bits(np.concatenate(parts), whole)


ANY_ORDER = [
    "linear",
    "multislerp",
    "task_arithmetic",
    "ties",
    "breadcrumbs",
    "sce",
    "model_stock",
    "fisher",
    "regmean",
]


@pytest.mark.parametrize("name", ANY_ORDER)
def test_the_order_of_models_does_not_matter(name: str) -> None:
    for shape in SHAPES:
        models, base = some(shape, 3), some(shape, 1, seed=1)[0]
        facts, options = known(name, models), options_of(name, 3)
        wanted = merge(name, models, base, **facts, **options)
        for order in itertools.permutations(range(3)):
            turned: dict[str, Any] = {
                key: [values[index] for index in order] for key, values in {**facts, **options}.items()
            }
            found = merge(name, [models[index] for index in order], base, **turned)
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


NOTHING: dict[str, dict[str, float]] = {
    "task_arithmetic": {"lambda": 0},
    "ties": {"density": 0},
    "dare_linear": {"density": 0},
    "dare_ties": {"density": 0},
    "della": {"density": 0},
    "breadcrumbs": {"density": 0},
    "sce": {"select_topk": 0},
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_kept_is_the_base_bit_for_bit(name: str) -> None:
    everything: tuple[dict[str, float], ...] = (NOTHING[name],) if name == "sce" else (NOTHING[name], {"lambda": 0})
    for dtype, shape, options in itertools.product((F32, F64), SHAPES, everything):
        base = some(shape, 1, dtype, seed=1)[0]
        base.reshape(-1)[::2] = -0.0
        assert same_bits(merge(name, some(shape, 3, dtype), base, **options), base)


def test_everything_kept_is_the_plain_method() -> None:
    models, base = some((7, 6), 3), some((7, 6), 1, seed=1)[0]
    plain = merge("task_arithmetic", models, base, weight=0.5)
    assert same_bits(merge("dare_linear", models, base, density=1, weight=0.5), plain)
    assert same_bits(merge("breadcrumbs", models, base, density=1, gamma=0, weight=0.5), plain)
    voted = merge("ties", models, base, density=1, weight=[1, 2, 3])
    assert same_bits(merge("dare_ties", models, base, density=1, weight=[1, 2, 3]), voted)
    assert same_bits(merge("della", models, base, density=1, weight=[1, 2, 3]), voted)
    one_sided = [base + np.abs(model - base) for model in models]
    np.testing.assert_allclose(merge("ties", one_sided, base, density=1), merge("linear", one_sided), rtol=1e-12)
    assert same_bits(merge("della", models, base, epsilon=0), merge("dare_ties", models, base))


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties", "della"])
def test_chance_is_chosen_by_the_seed(name: str) -> None:
    models, base = some((50,), 2), np.zeros(50)
    first = merge(name, models, base, seed=1)
    assert same_bits(merge(name, models, base, seed=1), first)
    assert not np.array_equal(merge(name, models, base, seed=2), first)
    assert not np.array_equal(merge(name, models, base, seed=1, tensor=Tensor("other")), first)
    kept = (
        merge(name, [models[0]] * 2, base, weight=[1, 0]) != 0,
        merge(name, [models[0]] * 2, base, weight=[0, 1]) != 0,
    )
    assert not np.array_equal(*kept), "each model has chances of its own"


# ---------------------------------------------------------------- sums


@pytest.mark.parametrize("columns", [0, 1, 2, 5, 1000, (1 << 15) - 1, 1 << 15, (1 << 15) + 1])
def test_rows_are_summed_as_one_vector_is(columns: int) -> None:
    for dtype in (F32, F64):
        a, b = some((11, columns), 2, dtype)
        found = dots(a, b)
        assert found.tolist() == [dot(x, y) for x, y in zip(a, b, strict=True)]
        exact = [math.fsum(float(x) * float(y) for x, y in zip(*rows, strict=True)) for rows in zip(a, b, strict=True)]
        np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-9)


def test_rows_are_summed_in_any_number() -> None:
    for shape in [(0, 4), (0, 0), (3, 0), (300, 1000)]:
        a, b = some(shape, 2)
        assert dots(a, b).tolist() == [dot(x, y) for x, y in zip(a, b, strict=True)]


def test_norm() -> None:
    assert norm(np.array([[3.0, 0.0], [0.0, -4.0]], np.float32)) == 5
    assert norm(np.zeros((0, 3))) == 0
