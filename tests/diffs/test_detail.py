"""One tensor looked at closely: histograms and singular values, against NumPy on the whole of it."""

from __future__ import annotations

import json
import math
import warnings
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from theta_jupyter.diffs import detail
from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.detail import BINS, LEADING, Detail, Histogram, look, singular_values
from theta_jupyter.diffs.plots import png
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import RequestError
from theta_jupyter.results import finite

if TYPE_CHECKING:
    import numpy.typing as npt

    from theta_jupyter.diffs.compare import Status

RNG = np.random.default_rng(0)
LABELS = ("m.pt", "HEAD", "work tree")
NAMES = {np.dtype(getattr(np, d.numpy, None) or getattr(ml_dtypes, d.numpy)): n for n, d in DTYPES.items()}


def seen(
    old: npt.NDArray[Any] | None, new: npt.NDArray[Any] | None, status: Status = "M", flips: float | None = None
) -> Detail:
    """Look at two arrays."""
    shown = new if new is not None else old
    assert shown is not None
    diff = TensorDiff("x", status, shown.shape, NAMES[shown.dtype], shown.size)
    if old is not None and new is not None and old.dtype != new.dtype:
        diff = TensorDiff("x", "T", new.shape, NAMES[new.dtype], new.size, old_dtype=NAMES[old.dtype])
    if old is not None and new is not None and old.shape != new.shape:
        diff = TensorDiff("x", "S", new.shape, NAMES[new.dtype], new.size, old_shape=old.shape)
    one, two = (None if side is None else memoryview(side.tobytes()) for side in (old, new))
    return look(diff, one, two, flips, LABELS)


def check_histogram(found: Histogram | None, values: npt.NDArray[Any]) -> None:
    """Hold a histogram against NumPy's, value for value."""
    assert found is not None
    wide = values.reshape(-1).astype(np.float64)
    real = wide[np.isfinite(wide)]
    assert len(found.edges) == len(found.counts) + 1 == BINS + 1
    assert all(a < b for a, b in zip(found.edges, found.edges[1:], strict=False))
    assert found.not_finite == wide.size - real.size
    assert sum(found.counts) + found.outside + found.not_finite == wide.size
    assert found.outside == np.count_nonzero((real < found.edges[0]) | (real > found.edges[-1]))
    inside = real[(real >= found.edges[0]) & (real <= found.edges[-1])]
    assert list(found.counts) == np.histogram(inside, np.array(found.edges))[0].tolist()


def check_figures(found: Detail) -> None:
    """Every figure is one to plotly and to matplotlib, and can be said in JSON."""
    for title, spec in found.specs():
        assert title
        go.Figure(spec)
        json.dumps(finite(spec), allow_nan=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(found.plot()).startswith(b"\x89PNG")
    figure = found.figure()
    assert len(figure.data) == sum(len(spec["data"]) for _, spec in found.specs())
    json.dumps(found.to_dict(), allow_nan=False)
    assert ("<img" in found.html()) == bool(found.specs())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int8, np.int64, np.uint8])
def test_histograms(dtype: Any) -> None:
    old = (RNG.standard_normal((300, 50)) * 20).astype(dtype)
    new = (old.astype(np.float64) + RNG.standard_normal((300, 50))).astype(dtype)
    found = seen(old, new)
    check_histogram(found.before, old)
    check_histogram(found.after, new)
    check_histogram(found.difference, new.astype(np.float64) - old.astype(np.float64))
    assert found.before
    assert found.after
    assert found.before.edges == found.after.edges
    # The picture is of the many, not of the one furthest out.
    assert 0 <= found.before.outside <= 0.001 * old.size + 1
    assert np.count_nonzero(found.before.counts) > 20
    if dtype is np.float32:
        check_figures(found)


def test_one_stray_value_does_not_squeeze_the_rest() -> None:
    old = RNG.standard_normal(100_000).astype(np.float32)
    new = old.copy()
    new[7] = 1e30
    found = seen(old, new)
    assert found.after
    assert found.after.outside >= 1
    assert found.after.edges[-1] < 10
    check_histogram(found.after, new)


ODD: dict[str, tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None]] = {
    "added": (None, RNG.standard_normal((4, 4)).astype(np.float32)),
    "deleted": (RNG.standard_normal((4, 4)).astype(np.float32), None),
    "reshaped": (np.ones((4, 4), np.float32), np.ones((2, 8), np.float32)),
    "grown": (np.ones((4, 4), np.float32), np.ones((5, 8), np.float32)),
    "recast": (np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(12).reshape(3, 4).astype(ml_dtypes.bfloat16)),
    "real to complex": (np.ones((2, 2), np.float32), np.ones((2, 2), np.complex64)),
    "complex": (np.ones((2, 2), np.complex64), np.full((2, 2), 2 + 1j, np.complex64)),
    "unchanged": (np.ones((3, 3), np.float32), np.ones((3, 3), np.float32)),
    "scalar": (np.array(3.0, np.float32), np.array(4.0, np.float32)),
    "empty": (np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)),
    "not a number": (np.full((5, 5), np.nan, np.float32), np.full((5, 5), np.nan, np.float32)),
    "became not a number": (np.ones((5, 5), np.float32), np.full((5, 5), np.nan, np.float32)),
    "infinite": (np.full((5, 5), np.inf), np.full((5, 5), -np.inf)),
    "constant": (np.full((5, 5), 3, np.float32), np.full((5, 5), -3, np.float32)),
    "nearly constant": (np.full((5, 5), 1.0), np.full((5, 5), 1.0) + 2.2e-16 * np.arange(25).reshape(5, 5)),
    "huge": (np.full((3, 3), 1.7e308), np.full((3, 3), -1.7e308)),
    "huge and not": (np.array([[1.7e308, 1], [2, 3]]), np.array([[-1.7e308, 1], [2.5, 3]])),
    "tiny": (np.full((3, 3), 5e-324), np.full((3, 3), 1e-320) * np.eye(3)),
    "truth values": (np.eye(4) > 0, np.eye(4) < 1),
    "large integers": (np.full((2, 2), 1 << 62), np.full((2, 2), -1 << 62)),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_tensors(what: str) -> None:
    old, new = ODD[what]
    status: Status = "A" if old is None else "D" if new is None else "" if what == "unchanged" else "M"
    found = seen(old, new, status)
    for side, values in ((found.before, old), (found.after, new)):
        if values is None:
            assert side is None
        else:
            check_histogram(side, values.reshape(-1).view(values.real.dtype))
    comparable = what not in {"added", "deleted", "reshaped", "grown", "real to complex", "unchanged"}
    assert (found.difference is not None) == comparable
    if found.difference and old is not None and new is not None and what != "complex":
        with np.errstate(all="ignore"):
            check_histogram(found.difference, new.astype(np.float64) - old.astype(np.float64))
    matrices = {"constant", "nearly constant", "huge and not", "tiny", "truth values", "large integers"}
    assert bool(found.singular) == (what in matrices)
    assert found.text()
    check_figures(found)


@settings(deadline=None, max_examples=40)
@given(arrays(np.float64, (3, 4)), arrays(np.float64, (3, 4)))
def test_any_doubles(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> None:
    found = seen(old, new)
    check_histogram(found.before, old)
    check_histogram(found.after, new)
    with np.errstate(all="ignore"):
        check_histogram(found.difference, new - old)
    for _, spec in found.specs():
        json.dumps(finite(spec), allow_nan=False)


def test_without_bytes_there_is_nothing_to_see() -> None:
    with pytest.raises(RequestError, match="'x' has no values to look at"):
        look(TensorDiff("x", "M", (2,), "F32", 2), None, None, None, LABELS)


# Singular values.


def low_rank(shape: tuple[int, int], rank: int, noise: float = 0.0) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng([*shape, rank])
    product = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    return product + noise * rng.standard_normal(shape)


@pytest.mark.parametrize(
    "shape", [(200, 30), (30, 200), (64, 64), (2, 2), (16, 8, 3, 3), (4, 1, 1, 60), (2, 5000), (5000, 2)]
)
def test_singular_values(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(list(shape)).standard_normal(shape)
    values, _ = singular_values(array.reshape(-1), shape)
    true = np.linalg.svd(array.reshape(shape[0], -1), compute_uv=False)[:LEADING]
    assert values == pytest.approx(true, rel=1e-6)


@pytest.mark.parametrize("gram", [1024, 60])
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (200, 200)])
@pytest.mark.parametrize("rank", [1, 8, 30])
def test_the_rank_of_an_update_is_found(
    monkeypatch: pytest.MonkeyPatch, gram: int, shape: tuple[int, int], rank: int
) -> None:
    """Through the Gram matrix, and, when both sides are longer than that may be, through a random subspace."""
    monkeypatch.setattr(detail, "GRAM", gram)
    update = low_rank(shape, rank, 1e-7)
    values, found = singular_values(update.reshape(-1), shape)
    true = np.linalg.svd(update, compute_uv=False)
    assert values[:rank] == pytest.approx(true[:rank], rel=1e-6)
    assert all(value < 1e-4 * true[0] for value in values[rank:])
    # All that is needed for 99 % of the squared change, and no more.
    share = np.cumsum(true**2) / np.sum(true**2)
    assert found == int(np.argmax(share >= 0.99)) + 1
    assert rank - 6 <= found <= rank


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_a_random_subspace_is_near_the_truth_where_values_fall_slowly(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """The worst case: noise. The first values are a little low, none is too high, and there is no rank."""
    monkeypatch.setattr(detail, "GRAM", 60)
    array = np.random.default_rng(3).standard_normal(shape)
    solved: list[tuple[int, ...]] = []
    solve = np.linalg.eigvalsh

    def eigvalsh(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        solved.append(matrix.shape)
        return solve(matrix)

    monkeypatch.setattr(np.linalg, "eigvalsh", eigvalsh)
    values, rank = singular_values(array.reshape(-1), shape)
    assert solved == [(LEADING + 8, LEADING + 8)]
    true = np.linalg.svd(array, compute_uv=False)[:LEADING]
    assert len(values) == LEADING
    assert values == tuple(sorted(values, reverse=True))
    assert all(0.8 * b <= a <= b * (1 + 1e-9) for a, b in zip(values, true, strict=True))
    assert rank is None


def test_a_rank_of_eight_is_eight() -> None:
    left, right = np.linalg.qr(low_rank((128, 128), 128))[0][:, :8], np.linalg.qr(low_rank((96, 96), 96))[0][:, :8]
    old = RNG.standard_normal((128, 96)).astype(np.float32)
    found = seen(old, (old + left @ right.T).astype(np.float32))
    assert found.rank == 8
    assert found.singular[:8] == pytest.approx([1] * 8, rel=1e-4)
    assert ("rank", "~8") in found.facts()
    assert "99%" in found.text()
    # A dense change has none that these values could show.
    dense = seen(old, (old + 0.1 * RNG.standard_normal(old.shape)).astype(np.float32))
    assert dense.rank is None
    assert ("rank", f"over {LEADING}") in dense.facts()


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_singular_values_of_any_size(factor: float) -> None:
    array = low_rank((40, 30), 5)
    values, rank = singular_values((array * factor).reshape(-1), array.shape)
    true = np.linalg.svd(array, compute_uv=False)
    assert [value / factor for value in values[:5]] == pytest.approx(true[:5], rel=1e-6)
    assert rank == int(np.argmax(np.cumsum(true**2) / np.sum(true**2) >= 0.99)) + 1


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (np.ones(6), (6,)),
        (np.ones(1), ()),
        (np.ones(6), (6, 1)),
        (np.ones(6), (1, 6)),
        (np.zeros(6), (2, 3)),
        (np.full(6, np.nan), (2, 3)),
        (np.zeros(0), (0, 3)),
        (np.ones(12), (2, 3)),
    ],
)
def test_what_is_no_matrix_has_no_singular_values(values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
    assert singular_values(values, shape) == ((), None)


def test_values_that_are_not_finite_count_as_no_change() -> None:
    array = low_rank((20, 10), 2)
    broken = array.copy()
    broken[3, 4], broken[5, 6], broken[7, 8] = np.nan, np.inf, -np.inf
    array[3, 4] = array[5, 6] = array[7, 8] = 0
    assert singular_values(broken.reshape(-1), broken.shape)[0] == pytest.approx(
        np.linalg.svd(array, compute_uv=False), rel=1e-6, abs=1e-6
    )


def test_what_is_measured_is_left_as_it_is() -> None:
    array = low_rank((20, 10), 2)
    kept = array.copy()
    singular_values(array.reshape(-1), array.shape)
    np.testing.assert_array_equal(array, kept)


def test_a_matrix_that_is_too_large_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "_MOST", 99)
    assert singular_values(np.ones(100), (10, 10)) == ((), None)
    assert singular_values(np.ones(99), (11, 9))[1] == 1


# What is said of it.


def test_facts() -> None:
    diff = TensorDiff(
        "new",
        "T",
        (2, 3),
        "BF16",
        6,
        old_name="old",
        old_dtype="F32",
        norm=2.0,
        l2=0.5,
        largest=0.25,
        cosine=0.9375,
        changed=0.5,
        update="delta",
        stored=1234,
    )
    before = Histogram((0.0, 1.0), (5,), 0, 1)
    found = Detail(*LABELS, diff, before, Histogram((0.0, 1.0), (6,)), flips=1 / 6, singular=(0.5, 0.0), rank=1)
    assert dict(found.facts()) == {
        "type": "F32 → BF16",
        "shape": "2 x 3",
        "was called": "old",
        "values": "6",
        "changed": "50 %",
        "relative": "0.25",
        "largest": "0.25",
        "cosine": "0.937500",
        "signs flipped": "16.7 %",
        "rank": "~1",
        "not finite before": "1",
        "stored as": "delta, 1.2 kB",
    }
    assert "new   HEAD → work tree" in found.text()
    assert set(found.findings()) < set(found.facts())
    alone = Detail(*LABELS, TensorDiff("x", "S", (), "F32", 1, old_shape=(2, 2)))
    assert dict(alone.facts()) == {"type": "F32", "shape": "2 x 2 → scalar", "values": "1"}
    assert alone.specs() == ()
    deleted = Detail(*LABELS, TensorDiff("x", "D", (2,), "F32", 2, update="whole", stored=8))
    assert "stored as" not in dict(deleted.facts())
    infinite = Detail(*LABELS, TensorDiff("x", "M", (2,), "F32", 2, norm=0.0, l2=1.0))
    assert dict(infinite.facts())["relative"] == "∞"
    assert math.isinf(infinite.tensor.relative or 0)


def test_hostile_names_are_text() -> None:
    name = "<img src=x onerror=alert(1)>\x1b[31m$\\frac$"
    array = np.eye(3, dtype=np.float32)
    raw = memoryview(array.tobytes())
    found = look(TensorDiff(name, "M", (3, 3), "F32", 9), raw, memoryview((array * 2).tobytes()), None, LABELS)
    assert "<img src=x" not in found.html()
    assert "\x1b" not in found.html() + found.text()
    title = found.figure().layout.title.text
    assert title.startswith("&lt;img src=x onerror=alert(1)&gt;\\x1b[31m&#36;\\frac&#36;")
    check_figures(found)
