"""Figures of a diff, each made once, here, as plotly describes them: plain dictionaries of data and layout.

A widget hands them to plotly.js, :func:`to_plotly` to the user, and :mod:`theta_jupyter.diffs.plots` draws the same
with matplotlib where a page must stand still. Colours of text, grid and background are left to whoever shows them,
because only they know the page. Names are hostile text, and plotly reads a little HTML: they are escaped.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from theta_jupyter.results import count_text, plain, relative_text, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import plotly.graph_objects as go

    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.diffs.detail import Histogram
    from theta_jupyter.diffs.grid import Grid

__all__ = [
    "BASE",
    "DIFFERENCE",
    "FLOOR",
    "OURS",
    "RESULT",
    "SINGULAR",
    "THEIRS",
    "VALUES",
    "Spec",
    "beside",
    "heatmap",
    "histogram",
    "norms",
    "overlaid",
    "singular",
    "text",
    "to_plotly",
]

Spec = dict[str, Any]
"""A figure as plotly has it: ``data``, a list of traces, and ``layout``."""

OURS, THEIRS, BASE, RESULT = "#3b7dd8", "#e07b28", "#8c8c8c", "#3c9d57"
"""The same in every chart, chip and table."""
VALUES, DIFFERENCE, SINGULAR = "values, before and after", "difference", "singular values of the difference"
FLOOR, CEILING = 1e-7, 1.0
"""Relative changes beyond are drawn as these."""
_LABEL = 32
"""Letters of a name on an axis."""
_TICKS = 40
"""Names on an axis; of more, every so many."""
_NONE = 0.25
"""Where no value lies, on a log scale: under the edge of the picture."""
_STEP = 0.25
"""Width of a bin of the histogram of changes, in decades."""


def text(name: str, width: int = 200) -> str:
    """A name as plotly shows it: as it is."""
    # Between dollars, plotly reads TeX, if the page has MathJax.
    return html.escape(short(plain(name), width), quote=False).replace("$", "&#36;")


def heatmap(grid: Grid) -> Spec:
    """Relative change by block and kind, on a log scale; what did not change is background, with a dot.

    ``layout.meta`` has the names of the rows and columns, whose numbers are the coordinates.
    """
    rows = {name: index for index, name in enumerate(grid.rows)}
    columns = {name: index for index, name in enumerate(grid.columns)}
    z: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    hover: list[list[str]] = [[""] * len(columns) for _ in rows]
    marks: list[tuple[int, int, str, str]] = []
    for (row, column), cell in grid.cells.items():
        y, x = rows[row], columns[column]
        words = _WORDS.get(cell.letter) or f"relative change {relative_text(cell.relative)}"
        hover[y][x] = f"{text(row)}<br>{text(column)}<br>{words}"
        if cell.relative:
            z[y][x] = _log(cell.relative)
        else:
            marks.append((x, y, cell.letter, hover[y][x]))
    low, high = _range(value for row_values in z for value in row_values)
    down, across = ([text(name, _LABEL) for name in names] for names in (grid.rows, grid.columns))
    ticks = list(range(low, high + 1))
    squares = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "z": z,
        "text": hover,
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "colorscale": "Cividis",
        "zmin": low,
        "zmax": high,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {
            "title": {"text": "relative change", "side": "right"},
            "tickvals": ticks,
            "ticktext": [f"1e{tick}" for tick in ticks],
            "thickness": 10,
            "outlinewidth": 0,
        },
    }
    letters = {
        "type": "scatter",
        "mode": "text",
        "x": [mark[0] for mark in marks],
        "y": [mark[1] for mark in marks],
        "text": [mark[2] for mark in marks],
        "hovertext": [mark[3] for mark in marks],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "textfont": {"size": 10},
        "showlegend": False,
    }
    layout = {
        "meta": {"rows": list(grid.rows), "columns": list(grid.columns)},
        "xaxis": {**_names_axis(across), "tickangle": -50},
        "yaxis": {**_names_axis(down), "range": [len(rows) - 0.5, -0.5]},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "height": min(460, 90 + 22 * len(rows) + 5 * max(map(len, across), default=0)),
        "hovermode": "closest",
    }
    return {"data": [squares, letters], "layout": layout}


def norms(tensors: Iterable[TensorDiff]) -> Spec:
    """A histogram of tensors by the size of their relative change, on a log scale.

    ``layout.meta`` has the edges of the bins, as decimal logarithms.
    """
    sizes = [_log(diff.relative) for diff in tensors if diff.status and diff.relative]
    low, high = _range(sizes)
    count = round((high - low) / _STEP)
    edges = [low + _STEP * index for index in range(count + 1)]
    counts = [0] * count
    for size in sizes:
        counts[min(count - 1, max(0, math.floor((size - low) / _STEP)))] += 1
    centers = [edge + _STEP / 2 for edge in edges[:-1]]
    bars = {
        "type": "bar",
        "x": centers,
        "y": counts,
        "width": _STEP,
        "hovertext": [
            f"{n} tensor{'s' * (n != 1)}<br>{relative_text(10**a)} to {relative_text(10**b)}"
            for n, a, b in zip(counts, edges, edges[1:], strict=False)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": {"color": centers, "colorscale": "Cividis", "cmin": low, "cmax": high},
    }
    ticks = list(range(low, high + 1))
    layout = {
        "meta": {"edges": edges},
        "xaxis": {
            "title": {"text": "relative change"},
            "tickvals": ticks,
            "ticktext": [f"1e{tick}" for tick in ticks],
            "range": [low, high],
            "zeroline": False,
        },
        "yaxis": {"title": {"text": "tensors"}, "rangemode": "tozero", "dtick": _whole_step(max(counts))},
        "margin": {"l": 44, "r": 8, "t": 8, "b": 40},
        "height": 170,
        "bargap": 0.05,
    }
    return {"data": [bars], "layout": layout}


def histogram(
    before: Histogram | None = None, after: Histogram | None = None, *, difference: Histogram | None = None
) -> Spec:
    """How many values lie where: of two versions, one over the other, or of their difference."""
    sides = (("before", before, BASE), ("after", after, OURS), ("difference", difference, OURS))
    return overlaid([(name, side, color) for name, side, color in sides if side is not None])


def overlaid(sides: Sequence[tuple[str, Histogram, str]]) -> Spec:
    """How many values lie where, of several versions over each other: the first as bars, the others as lines.

    Parameters
    ----------
    sides
        A name, a histogram and a colour each.
    """
    data: list[Spec] = []
    most = 1
    for name, side, color in sides:
        most = max(most, *side.counts)
        trace: Spec = {
            "x": [a / 2 + b / 2 for a, b in zip(side.edges, side.edges[1:], strict=False)],
            "y": [count or _NONE for count in side.counts],
            "customdata": side.counts,
            "name": text(name, _LABEL),
            "hovertemplate": "%{customdata} values near %{x:.3g}<extra>" + text(name, _LABEL) + "</extra>",
        }
        if data:
            # A line over bars: where the two agree, both are seen.
            trace |= {"type": "scatter", "mode": "lines", "line": {"color": color, "width": 1.5, "shape": "hvh"}}
        else:
            trace |= {"type": "bar", "marker": {"color": color}, "width": side.edges[1] - side.edges[0]}
        data.append(trace)
    outside = sum(side.outside for _, side, _ in sides)
    beyond = f"   ({count_text(outside)} beyond)" if outside else ""
    layout = {
        "xaxis": {"title": {"text": f"value{beyond}"}, "zeroline": False, "nticks": 6},
        "yaxis": {
            "type": "log",
            "title": {"text": "values"},
            "dtick": 1,
            "exponentformat": "SI",
            "range": [math.log10(2 * _NONE), math.log10(2 * most)],
        },
        "margin": {"l": 52, "r": 8, "t": 8, "b": 40},
        "height": 170,
        "bargap": 0,
        "barmode": "overlay",
        "showlegend": len(data) > 1,
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.12},
    }
    return {"data": data, "layout": layout}


def singular(values: Sequence[float], rank: int | None) -> Spec:
    """The leading singular values of a difference; those that make up its rank stand out."""
    bars = {
        "type": "bar",
        "x": list(range(1, len(values) + 1)),
        "y": [value or None for value in values],
        "marker": {"color": [OURS if rank and index < rank else BASE for index in range(len(values))]},
        "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": f"rank ~{rank}" if rank else f"the first {len(values)}"}, "nticks": 8},
        "yaxis": {"type": "log", "title": {"text": "singular value"}, "nticks": 5, "exponentformat": "e"},
        "margin": {"l": 52, "r": 8, "t": 8, "b": 40},
        "height": 150,
        "bargap": 0.2,
    }
    return {"data": [bars], "layout": layout}


def beside(specs: Sequence[tuple[str, Spec]], title: str) -> Spec:
    """Several figures in one, side by side, each under its title."""
    data, annotations = [], []
    layout: Spec = {"title": {"text": text(title)}, "barmode": "overlay", "bargap": 0.1}
    share = 1 / max(1, len(specs))
    for index, (heading, spec) in enumerate(specs):
        number = "" if index == 0 else str(index + 1)
        left, right = index * share, (index + 1) * share - (0.06 if index + 1 < len(specs) else 0)
        layout[f"xaxis{number}"] = {**spec["layout"]["xaxis"], "domain": [left, right], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {**spec["layout"]["yaxis"], "anchor": f"x{number}"}
        data += [{**trace, "xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": False} for trace in spec["data"]]
        annotations.append(
            {
                "text": text(heading),
                "x": (left + right) / 2,
                "y": 1.02,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "center",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    layout["annotations"] = annotations
    return {"data": data, "layout": layout}


def to_plotly(spec: Spec, title: str = "") -> go.Figure:
    """A figure of plotly's own, to show, change and keep."""
    import plotly.graph_objects as go

    figure = go.Figure(spec)
    if title:
        figure.update_layout(title={"text": text(title)}, margin={"t": 48})
    return figure


_WORDS = {
    "·": "unchanged",
    "?": "changed, not known how much",
    "A": "added",
    "D": "removed",
    "S": "reshaped",
}


def _log(relative: float) -> float:
    return math.log10(min(CEILING, max(FLOOR, relative)))


def _range(logs: Iterable[float | None]) -> tuple[int, int]:
    """Whole decades that hold these."""
    known = [value for value in logs if value is not None]
    if not known:
        return -4, -2
    low, high = math.floor(min(known)), math.ceil(max(known))
    return (low, high) if high > low else (low - 1, high)


def _whole_step(most: int) -> int:
    """Between ticks of an axis that counts: 1, 2 or 5 times a power of ten, so that there are about four."""
    wanted = max(1.0, most / 4)
    power = int(10 ** math.floor(math.log10(wanted)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted)


def _names_axis(names: Sequence[str]) -> Spec:
    step = -(-len(names) // _TICKS) or 1
    return {
        "tickvals": list(range(0, len(names), step)),
        "ticktext": list(names[::step]),
        "range": [-0.5, len(names) - 0.5],
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "automargin": True,
    }
