"""How two changes stand to each other, beside plain NumPy; and the page that shows it, whatever a tensor is called."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.storage.samples import flushed
from theta_jupyter.dtypes import from_floats, to_floats
from theta_jupyter.merges import preview as module
from theta_jupyter.merges.blend import Version
from theta_jupyter.merges.preview import Preview, Row, Standing, estimated, measured, preview
from theta_jupyter.storage.manifest import Record
from theta_jupyter.storage.sketch import MINIMUM, summarize

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

NAN, INF = math.nan, math.inf


def version(values: Any, dtype: str = "F32") -> Version:
    array = np.asarray(values, np.float64)
    with np.errstate(all="ignore"):
        return Version(memoryview(from_floats(array, dtype)), dtype, array.shape)


def record(values: Any, dtype: str = "F32") -> Record:
    """What the manifest says of a tensor."""
    found = version(values, dtype)
    made = Record(dtype, found.shape, blake3=str(hash(bytes(found.data))))
    return made.with_summary(summarize(found.data, dtype))


def stand(base: Any, ours: Any, theirs: Any) -> Standing:
    return measured(None if base is None else version(base), version(ours), version(theirs))


# Exactly.


def oracle(base: Floats | None, ours: Floats, theirs: Floats) -> Standing:
    """The same in long doubles, at once."""
    a, b = (side.astype(np.longdouble) for side in (ours, theirs))
    c = np.zeros_like(a) if base is None else base.astype(np.longdouble)
    ground = math.sqrt(float(np.sum(np.square(c[np.isfinite(c)]))))
    with np.errstate(all="ignore"):
        x, y = a - c, b - c
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    lengths = [math.sqrt(float(np.sum(np.square(side)))) for side in (x, y)]
    both = (x != 0) & (y != 0)
    shares = [length / ground if ground else (INF if length else 0.0) for length in lengths]
    cosine = float(np.sum(x * y)) / (lengths[0] * lengths[1]) if all(lengths) else None
    return Standing(
        None if base is None else shares[0],
        None if base is None else shares[1],
        None if cosine is None else math.degrees(math.acos(max(-1, min(1, cosine)))),
        float(np.mean(np.sign(x[both]) == np.sign(y[both]))) if both.any() else None,
    )


def check(found: Standing, wanted: Standing) -> None:
    assert not found.estimated
    for one, other, exact in (
        (found.ours, wanted.ours, 0.0),
        (found.theirs, wanted.theirs, 0.0),
        (found.angle, wanted.angle, 1e-4),
        (found.signs, wanted.signs, 0.0),
    ):
        assert one == (None if other is None else pytest.approx(other, rel=1e-9, abs=exact))


@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "F16", "F8_E4M3", "I32", "U8", "C64", "F4"])
@pytest.mark.parametrize("size", [0, 4, 1000, module._BLOCK, 2 * module._BLOCK + 6])
def test_it_agrees_with_numpy(dtype: str, size: int) -> None:
    random = np.random.default_rng([size, *dtype.encode()])
    start = random.normal(size=size) * 2
    sides = [version(start + random.normal(size=size) * (random.random(size) < 0.7), dtype) for _ in range(2)]
    if dtype == "C64":
        sides = [side._replace(shape=(size // 2,)) for side in sides]
    base = version(start, dtype)._replace(shape=sides[0].shape)
    read = [to_floats(side.data, dtype) for side in (*sides, base)]
    check(measured(base, *sides), oracle(read[2], *read[:2]))
    check(measured(None, *sides), oracle(None, *read[:2]))


NUMBERS = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0])


@settings(deadline=None)
@given(*[arrays(np.float32, 12, elements=NUMBERS)] * 3)
def test_any_numbers(base: Floats, ours: Floats, theirs: Floats) -> None:
    """What is not finite on one side spoils nothing of the rest."""
    with np.errstate(all="ignore"):
        check(stand(base, ours, theirs), oracle(base, ours, theirs))
        check(stand(None, ours, theirs), oracle(None, ours, theirs))


@pytest.mark.parametrize("factor", [1.0, 1e-30, 1e30, 0.1])
@pytest.mark.parametrize("size", [3, 50_000])
def test_straight_and_right_angles_are_just_that(factor: float, size: int) -> None:
    base = np.zeros(size)
    change = np.random.default_rng(size).normal(size=size) * factor
    even, odd = change * (np.arange(size) % 2 == 0), change * (np.arange(size) % 2)
    for ours, theirs, angle, signs in [
        (change, change, 0.0, 1.0),
        (change, 2 * change, 0.0, 1.0),
        (change, -change, 180.0, 0.0),
        (change, -4 * change, 180.0, 0.0),
        (even, odd, 90.0, None),
    ]:
        found = stand(base, ours, theirs)
        assert (found.angle, found.signs) == (angle, signs)
        assert stand(None, ours, theirs).angle == angle


def test_changes_and_signs() -> None:
    found = stand([3, 4, 0, 0, 0], [3, 4, 1, 0, 0], [3, 4, 0, 2, 0])
    assert found == Standing(0.2, 0.4, 90.0, None)
    found = stand([1, 1, 1, 1], [2, 2, 0, 1], [3, 0, 0, 5])
    assert found.signs == 2 / 3
    check(stand([1, 2], [1, 2], [3, 4]), Standing(0.0, math.sqrt(8 / 5), None, None))
    assert stand([0, 0], [0, 0], [1, 0]) == Standing(0.0, INF, None, None)
    assert stand([], [], []) == Standing(0.0, 0.0, None, None)
    check(stand(3, 4, 5), Standing(1 / 3, 2 / 3, 0.0, 1.0))


def test_what_is_not_finite_spoils_nothing() -> None:
    whole = stand([3, 4, 0], [3, 4, 1], [3, 4, 2])
    for at in range(3):
        sides = [[3.0, 4.0, 0.0, 1.0], [3.0, 4.0, 1.0, 1.0], [3.0, 4.0, 2.0, 1.0]]
        for bad in (NAN, INF, -INF):
            sides[at][3] = bad
            sides[0][3] = bad if at == 0 else 0.0
            assert stand(*sides) == whole
    assert stand([1, 1], [NAN, NAN], [2, 2]) == Standing(0.0, 0.0, None, None)


def test_doubles_whose_squares_overflow() -> None:
    big = np.array([1e200, 0.0])
    found = measured(version(np.ones(2), "F64"), version(big, "F64"), version(big, "F64"))
    assert found.angle is None
    assert found.signs == 1


def test_complex_beside_real_numbers_are_not_compared() -> None:
    complex_ = Version(memoryview(bytes(16)), "C64", (2,))
    assert measured(None, version([1, 2]), complex_) == Standing()
    assert measured(complex_, version([1, 2]), version([1, 2])) == Standing()


def test_arithmetic_is_not_assumed() -> None:
    sides = [version(side) for side in ([1e-39, 0.0], [2e-39, 0.0], [1e-39, 5e-40])]
    with flushed():
        found = measured(*sides)
    check(found, Standing(1.0, 0.5, 90.0, None))


# From sketches.


@pytest.mark.parametrize("angle", [0, 30, 60, 90, 135, 180])
def test_an_estimate_is_near(angle: int) -> None:
    """64 sums: about 9 % of a length, and so about as much of a radian of an angle."""
    random = np.random.default_rng(angle)
    errors = []
    for _ in range(12):
        base = random.normal(size=20_000)
        one, two = random.normal(size=(2, 20_000)) * 0.01
        turned = math.cos(math.radians(angle)) * one + math.sin(math.radians(angle)) * two
        found = estimated(*map(record, (base, base + one, base + 2 * turned)))
        exact = stand(base, base + one, base + 2 * turned)
        assert found.estimated
        assert found.ours == pytest.approx(exact.ours, rel=0.35)
        assert found.theirs == pytest.approx(exact.theirs, rel=0.35)
        assert found.angle is not None
        assert exact.angle is not None
        assert found.signs == pytest.approx(1 - found.angle / 180)
        assert found.signs == pytest.approx(exact.signs, abs=0.2)
        errors.append(found.angle - exact.angle)
    assert max(map(abs, errors)) < 30
    assert abs(np.mean(errors)) < 8


def test_an_estimate_of_what_was_added_on_both_sides() -> None:
    random = np.random.default_rng(1)
    one = random.normal(size=MINIMUM)
    found = estimated(None, record(one), record(3 * one))
    assert (found.ours, found.theirs, found.estimated) == (None, None, True)
    assert found.angle == pytest.approx(0, abs=1e-3)
    assert found.signs == pytest.approx(1)
    assert estimated(None, record(one), record(-one)).angle == pytest.approx(180, abs=1e-3)


def test_an_estimate_of_one_side() -> None:
    base = np.random.default_rng(1).normal(size=MINIMUM)
    found = estimated(record(base), record(base * 1.5), None)
    assert found.ours == pytest.approx(0.5, rel=0.35)
    assert found == Standing(found.ours, estimated=True)
    assert estimated(record(base), None, record(base * 1.5)) == Standing(None, found.ours, estimated=True)
    assert estimated(record(base), None, None) == estimated(None, None, record(base)) == Standing()


def test_an_estimate_where_nothing_is_known() -> None:
    small, other = record(np.ones(5)), record(np.zeros(5))
    assert estimated(small, other, other) == Standing()
    assert estimated(small, small, other) == Standing(0.0, None, None, None, estimated=True)
    large = np.random.default_rng(1).normal(size=2 * MINIMUM)
    wide = record(large.reshape(2, -1))
    assert estimated(record(large), wide, wide) == Standing()
    assert estimated(None, wide, record(large)) == Standing()
    assert estimated(record(large), record(large), record(-large)).angle is None, "ours did not change"
    assert estimated(record(0 * large), record(large), record(large)).ours == INF


# The page.

HOSTILE = "<img src=x onerror=alert(1)>\n\x1b[31m$x$%{y}"


def page(name: str = "w", **options: Any) -> Preview:
    base, ours, theirs = version([3, 4, 0]), version([3, 4, 1]), version([3, NAN, 2])
    row = Row(name, "both changed", "F32", (3,), standing=Standing(0.2, 0.4, 0.04, 0.5), **options)
    sides = {"base": base, "ours": ours, "theirs": theirs}
    return preview(row, ("main", name, "their ancestor"), sides, version([3, 4, 1.5]), options.get("remark", ""))


def test_numbers_of_a_preview() -> None:
    found = page()
    assert dict(found.norms) == {
        "base": 5.0,
        "ours": pytest.approx(math.sqrt(26)),
        "theirs": pytest.approx(math.sqrt(13)),
        "result": pytest.approx(math.sqrt(27.25)),
    }
    assert dict(found.distances) == {"base": 1.5, "ours": 0.5, "theirs": 0.5}
    histograms = dict(found.histograms)
    assert list(histograms) == ["base", "ours", "theirs", "result"]
    assert [sum(h.counts) + h.outside + h.not_finite for h in histograms.values()] == [3] * 4
    assert histograms["theirs"].not_finite == 1
    assert len({h.edges for h in histograms.values()}) == 1


def test_a_preview_in_words() -> None:
    text = page(strategy="ties", parameters=(("density", 0.2), ("weight", (1.0, 2.0))), remark="laid over").text()
    lines = text.split("\n")
    assert lines[0] == "w   both changed   ties(density=0.2, weight=[1, 2])"
    assert [line.split()[0] for line in lines[1:6]] == ["version", "ours:", "theirs:", "base:", "result"]
    assert lines[2].split()[1:] == ["main", "5.099", "0.2", "0.5"]
    assert lines[-1] == "laid over"
    assert page().facts() == (("type", "F32"), ("shape", "3"), ("angle", "0°"), ("signs agree", "50 %"))
    assert page().headline() == "w   both changed"


def test_a_preview_is_data() -> None:
    for found in (page(HOSTILE), page("w", strategy="ties", ours_shape=(3,), refusals=(("slerp", "no"),))):
        assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["row"]["name"] == found.row.name
        assert json.dumps(found.row.to_dict(), allow_nan=False)
    assert page(rule=3).row.to_dict()["rule"] == 3


def test_a_hostile_name_is_shown_and_not_obeyed() -> None:
    found = page(HOSTILE, remark=HOSTILE)
    for text in (found.text(), str(found)):
        assert "\x1b" not in text
        assert "\\x1b[31m" in text
        assert len(text.split("\n")) == 7
    page_ = found.html()
    assert "<img src=x" not in page_
    assert page_.count("&lt;img src=x") == 4
    assert page_.count("<img ") == 1
    assert 'src="data:image/png;base64,' in page_
    assert "\x1b" not in page_


def test_versions_of_other_sizes() -> None:
    sides = {"ours": version(np.ones(4)), "theirs": version(np.ones(6))}
    found = preview(Row("w", "reshaped"), ("a", "b", "base"), sides, version(np.zeros(6)))
    assert [(side, round(length, 9)) for side, length in found.distances] == [("theirs", round(math.sqrt(6), 9))]
    assert [cells[0] for cells in found.table().rows] == ["ours: a", "theirs: b", "result"]
    assert dict(found.facts())["shape"] == "scalar"
    complex_ = Version(memoryview(bytes(48)), "C64", (6,))
    assert preview(found.row, found.labels, {"ours": complex_}, version(np.zeros(6))).distances == ()


def test_without_a_result() -> None:
    found = preview(Row("w", "both changed"), ("a", "b", "base"), {"ours": version([]), "theirs": version([1])}, None)
    assert found.distances == ()
    assert "result" not in found.text().replace("result differs by", "")
    assert "<img" in found.html()
    nothing = preview(Row("w", "both changed"), ("a", "b", "base"), {}, None)
    assert nothing.specs() == ()
    assert "<img" not in nothing.html()
