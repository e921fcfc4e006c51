"""Lines over the versions of a file: how large tensors are, and how much each step changed them.

As in :mod:`theta_jupyter.diffs.figures`, a figure is a plain dictionary for plotly, and names are escaped for it;
:func:`draw` makes the same picture with matplotlib, without a background, in an ink that any page can bear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.diffs import figures
from theta_jupyter.diffs.plots import INK
from theta_jupyter.results import plain, relative_text, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.figures import Spec

__all__ = ["Curve", "curves", "draw"]

_COLOURS = ("#3b7dd8", "#e07b28", "#3c9d57", "#c44e9b", "#8a6fd1", "#b5891b", "#2a9fa8", "#d1493f")
_MARKS = ("circle", "square", "diamond", "triangle-up", "cross")
_MATPLOTLIB = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P"}
"""Never colour alone: from one line to the next both change, and both come round at different times."""
_LABEL = 40
"""Letters of a name."""
_TICKS = 24
"""Versions named on the axis; of more, every so many."""
_CHANGE = "relative change"


@dataclass(frozen=True, slots=True)
class Curve:
    """One tensor, or a whole file, over versions; None where there is nothing to tell.

    Parameters
    ----------
    name
        Whose it is.
    norms
        L2 norm in each version.
    changes
        Relative change from the version before.
    """

    name: str
    norms: tuple[float | None, ...]
    changes: tuple[float | None, ...]


def curves(lines: Sequence[Curve], versions: Sequence[str], words: Sequence[str]) -> Spec:
    """Norms above, changes below, over versions.

    Parameters
    ----------
    versions
        Short names, for the axis.
    words
        What to say of each version where the pointer rests.
    """
    count = len(versions)
    what, heights = _norms(lines)
    data = []
    for index, line in enumerate(lines):
        name, colour, mark = _text(line.name, _LABEL), _COLOURS[index % len(_COLOURS)], _MARKS[index % len(_MARKS)]
        changes = _positive(line.changes)
        said = (
            ("", heights[index], [f"norm {_figures(norm)}" for norm in line.norms]),
            ("2", changes, [f"{_CHANGE} {relative_text(change)}" for change in changes]),
        )
        for axis, values, numbers in said:
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "x": list(range(count)),
                    "y": list(values),
                    "xaxis": "x",
                    "yaxis": f"y{axis}",
                    "name": name,
                    "legendgroup": str(index),
                    "showlegend": not axis and len(lines) > 1,
                    "line": {"color": colour, "width": 1.5},
                    "marker": {"symbol": mark, "size": 6},
                    "hovertext": [
                        f"{_text(line.name)}<br>{number}<br>{_text(word)}"
                        for number, word in zip(numbers, words, strict=True)
                    ],
                    "hovertemplate": "%{hovertext}<extra></extra>",
                }
            )
    known = [change for line in lines for change in _positive(line.changes) if change]
    step = _step(count)
    layout = {
        "xaxis": {
            "tickvals": list(range(0, count, step)),
            "ticktext": list(versions[::step]),
            "tickangle": -50,
            "range": [-0.5, count - 0.5],
            "anchor": "y2",
            "zeroline": False,
            "automargin": True,
        },
        "yaxis": {"title": {"text": what}, "domain": [0.54, 1.0], "nticks": 6},
        "yaxis2": {
            "title": {"text": _CHANGE},
            "domain": [0.0, 0.46],
            "type": "log",
            "dtick": 1 if known and max(known) > 10 * min(known) else "D2",
            "exponentformat": "power",
        },
        "legend": {"font": {"size": 10}, "tracegroupgap": 0},
        "margin": {"l": 60, "r": 8, "t": 8, "b": 8},
        "height": 420,
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def draw(lines: Sequence[Curve], versions: Sequence[str], title: str = "") -> Figure:
    """Draw the same with matplotlib."""
    from matplotlib.figure import Figure

    many = len(lines) > 1
    what, heights = _norms(lines)
    figure = Figure(figsize=(9.5 if many else 6.5, 4.2), dpi=110, layout="constrained")
    figure.patch.set_alpha(0.0)
    above, below = figure.subplots(2, 1, sharex=True)
    handles = []
    for index, line in enumerate(lines):
        for axes, values in ((above, heights[index]), (below, _positive(line.changes))):
            (drawn,) = axes.plot(
                range(len(versions)),
                [math.nan if value is None else value for value in values],
                color=_COLOURS[index % len(_COLOURS)],
                marker=_MATPLOTLIB[_MARKS[index % len(_MARKS)]],
                markersize=3.5,
                linewidth=1.2,
            )
        handles.append(drawn)
    _dress(above, what, log=False)
    _dress(below, _CHANGE, log=True)
    if not any(value for line in lines for value in _positive(line.changes)):
        below.set(ylim=(1e-6, 1.0))
        below.text(0.5, 0.5, "no change that is known", transform=below.transAxes, color=INK, fontsize=8, ha="center")
    step = _step(len(versions))
    below.set_xlim(-0.5, len(versions) - 0.5)
    below.set_xticks(
        range(0, len(versions), step),
        versions[::step],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        parse_math=False,
    )
    if title:
        above.set_title(short(plain(title), 100), color=INK, fontsize=9, loc="left", parse_math=False)
    if many:
        # Names are data: no mathematics in them, and none is left out because it begins with an underscore.
        numbers = [str(index) for index in range(len(lines))]
        legend = figure.legend(handles, numbers, loc="outside right upper", fontsize=7, frameon=False, labelcolor=INK)
        for said, line in zip(legend.get_texts(), lines, strict=True):
            said.set_parse_math(False)
            said.set_text(short(plain(line.name), _LABEL))
    return figure


def _dress(axes: Axes, what: str, *, log: bool) -> None:
    axes.patch.set_alpha(0.0)
    if log:
        axes.set_yscale("log")
    axes.set_ylabel(what, color=INK, fontsize=8)
    axes.grid(axis="y", color=INK, alpha=0.25, linewidth=0.5)
    axes.tick_params(which="both", colors=INK, labelsize=7, length=2)
    axes.yaxis.get_offset_text().set(color=INK, fontsize=7)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.4)


def _positive(values: Sequence[float | None]) -> list[float | None]:
    """What a log scale can hold; what did not change leaves a gap."""
    return [value if value and math.isfinite(value) else None for value in values]


def _norms(lines: Sequence[Curve]) -> tuple[str, list[list[float | None]]]:
    """What to draw of norms: of one tensor as they are; of several how they grew, or only their sizes would be seen."""
    if len(lines) == 1:
        return "norm", [list(line.norms) for line in lines]
    first = [next((norm for norm in line.norms if norm), 1.0) for line in lines]
    return "norm, over its first", [
        [None if norm is None else norm / start for norm in line.norms]
        for line, start in zip(lines, first, strict=True)
    ]


def _figures(norm: float | None) -> str:
    return "?" if norm is None else f"{norm:.4g}"


def _step(count: int) -> int:
    return max(1, -(-count // _TICKS))


def _text(name: str, width: int = 200) -> str:
    # Between dollars plotly would see mathematics.
    return figures.text(name, width).replace("$", "&#36;")
