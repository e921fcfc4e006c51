"""Figures of a diff: what plotly is told, against an oracle; and pictures of them, pixel by pixel."""

from __future__ import annotations

import html
import io
import itertools
import json
import math
import warnings
from fractions import Fraction
from typing import Any

import matplotlib.image
import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.detail import Histogram
from theta_jupyter.diffs.figures import CEILING, FLOOR, beside, heatmap, histogram, norms, singular, text, to_plotly
from theta_jupyter.diffs.grid import fold
from theta_jupyter.diffs.plots import draw, png
from theta_jupyter.diffs.report import FileDiff
from theta_jupyter.errors import RequestError


def tensor(name: str, l2: float | None, status: Any = "M") -> TensorDiff:
    return TensorDiff(name, status if l2 != 0 else "", (2, 2), "F32", 4, norm=1.0, l2=l2)


def picture(*tensors: TensorDiff) -> Any:
    return matplotlib.image.imread(io.BytesIO(png(draw([heatmap(fold(tensors))], ["m"]))))


def cell(figure: Any, row: int, column: int) -> tuple[int, int]:
    """A pixel in a cell, beside the mark that may stand in its middle."""
    figure.canvas.draw()
    x, y = figure.axes[0].transData.transform((column - 0.25, row - 0.25))
    return round(figure.bbox.height - y), round(x)


def test_a_changed_cell_is_coloured_and_an_unchanged_one_is_not() -> None:
    grid = fold([tensor("l.0.a", 0.001), tensor("l.0.b", 0), tensor("l.1.a", 0), tensor("l.1.b", 0.5)])
    figure = draw([heatmap(grid)], ["m"])
    pixels = matplotlib.image.imread(io.BytesIO(png(figure)))
    at = {(row, column): pixels[cell(figure, row, column)] for row in (0, 1) for column in (0, 1)}
    assert at[0, 0][3] == at[1, 1][3] == 1
    assert at[0, 1][3] == at[1, 0][3] == 0
    # The more, the brighter.
    assert np.sum(at[1, 1][:3]) > np.sum(at[0, 0][:3]) + 0.5


def test_ink_is_readable_on_white_and_on_black() -> None:
    pixels = picture(tensor("l.0.a", 0))
    ink = pixels[pixels[..., 3] > 0.9][:, :3]
    assert len(ink) > 100
    luminance = np.median(ink @ [0.2126, 0.7152, 0.0722])
    assert 0.35 < luminance < 0.65


@pytest.mark.parametrize(
    "names",
    [
        ["x"],
        [""],
        ["$\\frac{1}{$.0.b"],
        ["\n\t\x1b[31m\u202e.0.b"],
        ["漢字.0.ü"],
        ["a" * 400 + ".0." + "b" * 400],
        [f"layer.{i}.{j}" for i in range(60) for j in "abc"],
        [f"layer.0.{j}" for j in range(300)],
    ],
)
def test_any_names_can_be_drawn(names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = picture(*(tensor(name, 0.1) for name in names))
    height, width = pixels.shape[:2]
    assert 100 < height < 2500
    assert 200 < width < 1700
    assert np.count_nonzero(pixels[..., 3]) > 500


def test_a_new_file_has_no_picture() -> None:
    """All of it would be one colour."""
    tensors = (tensor("l.0.a", None, "A"),)
    assert "<img" not in FileDiff("m", "A", "a", "b", tensors).html()
    assert "<img" in FileDiff("m", "M", "a", "b", tensors).html()
    assert "new: 1 tensor" in FileDiff("m", "A", "a", "b", tensors).text()


# What plotly is told.


def drawn(spec: dict[str, Any], title: str = "") -> Any:
    """Check that a figure is one to plotly, to matplotlib and to JSON; give plotly's."""
    json.dumps(spec, allow_nan=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(draw([spec], [title])).startswith(b"\x89PNG")
    return to_plotly(spec, title)


def test_the_heatmap_has_every_cell_in_its_place() -> None:
    tensors = [
        tensor("layer.2.w", 0.01),
        tensor("layer.10.w", 1e-3),
        tensor("layer.10.b", 0),
        tensor("layer.2.b", None),
        tensor("embed.w", None, "A"),
        tensor("layer.0.w", 1e-12),
        tensor("layer.1.w", 40.0),
        TensorDiff("layer.3.w", "M", (2, 2), "F32", 4, norm=0.0, l2=1.0),
    ]
    spec = heatmap(fold(tensors))
    squares, letters = spec["data"]
    meta = spec["layout"]["meta"]
    assert meta == {
        "rows": ["embed", "layer.0", "layer.1", "layer.2", "layer.3", "layer.10"],
        "columns": ["b", "w", "all"],
    }
    assert squares["z"] == [
        [None, None, None],
        [None, math.log10(FLOOR), None],
        [None, math.log10(CEILING), None],
        [None, -2.0, None],
        [None, math.log10(CEILING), None],
        [None, -3.0, None],
    ]
    assert set(zip(letters["x"], letters["y"], letters["text"], strict=True)) == {(0, 5, "·"), (0, 3, "?"), (2, 0, "A")}
    assert (squares["zmin"], squares["zmax"]) == (-7, 0)
    assert squares["colorbar"]["ticktext"][0] == "1e-7"
    for (row, column), words in {
        ("layer.1", "w"): "relative change 40",
        ("layer.3", "w"): "relative change ∞",
        ("layer.10", "b"): "unchanged",
        ("layer.2", "b"): "changed, not known how much",
        ("embed", "all"): "added",
    }.items():
        hover = squares["text"][meta["rows"].index(row)][meta["columns"].index(column)]
        assert hover == f"{row}<br>{column}<br>{words}"
    assert squares["text"][0][0] == ""
    figure = drawn(spec, "m")
    # The first row is at the top.
    assert figure.layout.yaxis.range == (5.5, -0.5)
    assert list(figure.layout.yaxis.ticktext) == meta["rows"]
    assert figure.layout.title.text == "m"


HOSTILE = "<b>&amp;<script>$\\alpha$</b>\x1b\u202e%{x}"


def test_hostile_names_are_text_to_plotly() -> None:
    """Plotly reads a little HTML, entities, and, with MathJax, TeX between dollars."""
    spec = heatmap(fold([tensor(f"{HOSTILE}.0.{HOSTILE}", 0.1), tensor(f"{HOSTILE}.1.x", 0)]))
    squares, letters = spec["data"]
    layout = spec["layout"]
    shown = [*layout["xaxis"]["ticktext"], *layout["yaxis"]["ticktext"], *letters["hovertext"]]
    shown += [words for row in squares["text"] for words in row]
    for words in [*shown, text(HOSTILE), to_plotly(spec, HOSTILE).layout.title.text]:
        bare = words.replace("<br>", "")
        assert not set("<>$\x1b\u202e") & set(bare)
    assert html.unescape(text(HOSTILE)) == "<b>&amp;<script>$\\alpha$</b>\\x1b\\u202e%{x}"
    # Who asks by coordinates gets the name itself.
    assert layout["meta"]["columns"] == [HOSTILE, "x"]
    drawn(spec, HOSTILE)


@given(st.text(max_size=300))
def test_any_name_is_shown_as_it_is(name: str) -> None:
    shown = text(name)
    assert not set("<>$") & set(shown)
    if name.isprintable() and len(name) <= 200:
        assert html.unescape(shown) == name
    assert len(html.unescape(shown)) <= 200


def test_many_rows_have_few_labels() -> None:
    tensors = [tensor(f"layer.{i}.{kind}", 0.1 * (i % 3)) for i in range(300) for kind in ("w", "b")]
    spec = heatmap(fold(tensors))
    axis = spec["layout"]["yaxis"]
    assert len(spec["data"][0]["z"]) == 300
    assert len(axis["tickvals"]) == len(axis["ticktext"]) <= 40
    rows = spec["layout"]["meta"]["rows"]
    assert list(axis["ticktext"]) == [rows[at] for at in axis["tickvals"]]
    assert spec["layout"]["height"] <= 460
    figure = draw([spec])
    assert figure.axes[0].get_title(loc="left") == "the first 200 of 300"
    drawn(spec)


def bins(spec: dict[str, Any]) -> dict[float, int]:
    """Tensors by the lower edge of their bin, where there are any."""
    edges, counts = spec["layout"]["meta"]["edges"], spec["data"][0]["y"]
    assert len(edges) == len(counts) + 1
    return {edge: count for edge, count in zip(edges, counts, strict=False) if count}


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([1e-3], {-3.25: 1}),
        # On an edge, it is in the bin above; on the last one, below.
        ([1e-3, 1e-2, 1e-1], {-3.0: 1, -2.0: 1, -1.25: 1}),
        ([1e-3, 10**-2.75, 10**-2.76, 1e-2], {-3.0: 2, -2.75: 1, -2.25: 1}),
        ([1e-9, 1e-7, 5e-8], {-7.25: 3}),
        ([math.inf, 3.0, 1.0], {-0.25: 3}),
        ([0.05, math.inf, 1e-30], {-7.0: 1, -1.5: 1, -0.25: 1}),
        ([], {}),
    ],
)
def test_norms(sizes: list[float], found: dict[float, int]) -> None:
    tensors = [TensorDiff(str(i), "M", (1,), "F32", 1, norm=1.0, l2=size) for i, size in enumerate(sizes)]
    others = [tensor("same", 0), tensor("unknown", None), tensor("new", None, "A")]
    nowhere = TensorDiff("nan", "M", (1,), "F64", 1, norm=math.inf, l2=math.inf)
    spec = norms([*tensors, *others, nowhere])
    assert bins(spec) == found
    assert sum(spec["data"][0]["y"]) == len(sizes)
    figure = drawn(spec)
    edges = spec["layout"]["meta"]["edges"]
    assert figure.layout.xaxis.range == (edges[0], edges[-1])


@given(st.lists(st.floats(min_value=1e-12, max_value=1e3), min_size=1, max_size=50))
def test_norms_of_anything(sizes: list[float]) -> None:
    """Each tensor is in one bin, and its logarithm between the edges of that bin."""
    spec = norms(TensorDiff(str(i), "M", (1,), "F32", 1, norm=1.0, l2=size) for i, size in enumerate(sizes))
    edges = spec["layout"]["meta"]["edges"]
    assert [Fraction(b) - Fraction(a) for a, b in itertools.pairwise(edges)] == [Fraction(1, 4)] * (len(edges) - 1)
    logs = np.log10(np.clip(sizes, FLOOR, CEILING))
    assert spec["data"][0]["y"] == np.histogram(logs, edges)[0].tolist()
    assert spec["data"][0]["hovertext"][0].partition(" ")[0] == str(spec["data"][0]["y"][0])


BEFORE = Histogram((0.0, 1.0, 2.0, 3.0), (5, 0, 7), 2, 1)
AFTER = Histogram((0.0, 1.0, 2.0, 3.0), (1, 2, 3))


def test_histogram() -> None:
    spec = histogram(BEFORE, AFTER)
    one, two = spec["data"]
    assert (one["type"], two["type"]) == ("bar", "scatter")
    assert one["x"] == two["x"] == [0.5, 1.5, 2.5]
    assert (one["customdata"], two["customdata"]) == (BEFORE.counts, AFTER.counts)
    # On a log scale, none lies under the edge of the picture.
    assert 10 ** spec["layout"]["yaxis"]["range"][0] > one["y"][1] > 0
    assert "2 beyond" in spec["layout"]["xaxis"]["title"]["text"]
    assert spec["layout"]["showlegend"]
    alone = histogram(None, AFTER)
    assert [trace["type"] for trace in alone["data"]] == ["bar"]
    assert not alone["layout"]["showlegend"]
    assert histogram(difference=AFTER)["data"][0]["name"] == "difference"
    for each in (spec, alone, histogram(difference=AFTER), histogram()):
        drawn(each)


def test_singular_values_up_to_the_rank_stand_out() -> None:
    spec = singular([3.0, 2.0, 0.0], 2)
    (bars,) = spec["data"]
    assert (bars["x"], bars["y"]) == ([1, 2, 3], [3.0, 2.0, None])
    assert bars["marker"]["color"][0] == bars["marker"]["color"][1] != bars["marker"]["color"][2]
    assert len(set(singular([3.0, 2.0], None)["data"][0]["marker"]["color"])) == 1
    for values, rank in (([3.0, 2.0, 0.0], 2), ([3.0], None), ([1e-300, 1e-320], 1)):
        drawn(singular(values, rank))


def test_figures_side_by_side() -> None:
    parts = [
        ("one", histogram(BEFORE, AFTER)),
        ("<i>two</i>", singular([1.0], 1)),
        ("three", histogram(difference=AFTER)),
    ]
    figure = go.Figure(beside(parts, HOSTILE))
    assert len(figure.data) == 4
    assert [trace.xaxis for trace in figure.data] == ["x", "x", "x2", "x3"]
    assert [note.text for note in figure.layout.annotations] == ["one", "&lt;i&gt;two&lt;/i&gt;", "three"]
    assert "<" not in figure.layout.title.text
    domains = [figure.layout[f"xaxis{number}"].domain for number in ("", "2", "3")]
    assert domains[0][0] == 0
    assert domains[2][1] == 1
    assert all(a[1] < b[0] for a, b in itertools.pairwise(domains))
    assert (figure.layout.yaxis2.type, figure.layout.xaxis2.anchor) == ("log", "y2")
    assert len(go.Figure(beside([], "")).data) == 0


def test_figures_of_a_file() -> None:
    file = FileDiff("m", "M", "a", "b", (tensor("l.0.a", 0.1), tensor("l.1.a", None)))
    assert file.figure().data[0].type == "heatmap"
    assert file.figure("norms").data[0].type == "bar"
    assert file.plot("norms").axes
    unknown = FileDiff("m", "M", "a", "b", (tensor("l.1.a", None),))
    assert unknown.spec()
    assert unknown.spec("norms") is None
    with pytest.raises(RequestError, match="there is no picture of m: 1 of 1 tensors changed"):
        unknown.figure("norms")
