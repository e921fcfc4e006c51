"""The same figures, drawn with matplotlib: for saved notebooks, exported pages, terminals and papers.

A picture has no background of its own, because it cannot know the page's, and one ink that is readable on white and on
black.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.figures import Spec

__all__ = ["draw", "image", "png"]

INK = "#808080"
_MOST = 200
"""Rows and columns of a heatmap drawn; larger ones are shown in part, and say so."""
_FINE = 60
"""Of more rows or columns, lines between them would hide them."""


def draw(specs: Sequence[Spec], titles: Sequence[str] = (), heading: str = "") -> Figure:
    """Draw figures side by side.

    Parameters
    ----------
    titles
        Of each figure.
    heading
        Of all of them.
    """
    from matplotlib.figure import Figure

    sizes = [_size(spec) for spec in specs]
    # The headings stand above; a letter takes about 0.07 inches.
    wide = max(sum(width for width, _ in sizes), 0.07 * len(heading))
    deep = max((depth for _, depth in sizes), default=1.0) + (0.3 if heading else 0.0)
    figure = Figure(figsize=(wide, deep), dpi=110, layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.subplots(1, max(1, len(specs)), squeeze=False, width_ratios=[width for width, _ in sizes] or None)[0]
    for place, spec, title in zip(axes, specs, [*titles, *[""] * len(specs)], strict=False):
        _draw(figure, place, spec)
        if title:
            place.set_title(title, color=INK, fontsize=9, loc="left", parse_math=False)
    if heading:
        figure.suptitle(heading, color=INK, fontsize=9, x=0.01, ha="left", parse_math=False)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, of 256 colours: a third of the size, which is kept in every notebook."""
    import warnings

    from PIL import Image

    buffer, small = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn in boxes; nobody needs to be told for each letter.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="png")
    with Image.open(buffer) as picture:
        picture.quantize(256, Image.Quantize.FASTOCTREE).save(small, "png", optimize=True, dpi=picture.info.get("dpi"))
    return small.getvalue()


def image(figure: Figure, alt: str) -> str:
    """The figure as an HTML element that needs no other file."""
    data = base64.b64encode(png(figure)).decode()
    return f'<img alt="{html.escape(alt)}" style="max-width:100%" src="data:image/png;base64,{data}">'


def _size(spec: Spec) -> tuple[float, float]:
    """Inches across and down."""
    if spec["data"] and spec["data"][0]["type"] == "heatmap":
        rows, columns = (_labels(spec, axis) for axis in ("yaxis", "xaxis"))
        # Labels across hang down, aslant.
        beside, below = (0.07 * max(map(len, names), default=1) for names in (rows, columns))
        wide = max(beside, 0.5 * below) + min(7.0, max(0.8, 0.3 * len(spec["data"][0]["x"][:_MOST]))) + 1.4
        return wide, min(6.5, max(1.2, 0.24 * len(spec["data"][0]["y"][:_MOST]))) + 0.9 * below + 0.5
    return 3.6, 2.2


def _draw(figure: Figure, axes: Axes, spec: Spec) -> None:
    axes.patch.set_alpha(0.0)
    for trace in spec["data"]:
        match trace:
            case {"type": "heatmap"}:
                _heatmap(figure, axes, trace)
            case {"type": "bar"}:
                _bars(axes, trace)
            case {"mode": "text"}:
                _letters(axes, trace)
            case _:
                _line(axes, trace)
    for name in ("xaxis", "yaxis"):
        _axis(axes, spec, name)
    axes.tick_params(which="both", colors=INK, labelsize=7, length=2)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.4)
    if spec["layout"].get("showlegend"):
        axes.legend(fontsize=7, labelcolor=INK, frameon=False)
    if spec["data"] and spec["data"][0]["type"] == "heatmap":
        _cells(axes, spec)


def _axis(axes: Axes, spec: Spec, name: str) -> None:
    axis = axes.xaxis if name == "xaxis" else axes.yaxis
    wanted = spec["layout"].get(name, {})
    if wanted.get("type") == "log":
        axes.set_yscale("log")
        if "range" in wanted:
            axes.set_ylim(*(10.0**end for end in wanted["range"]))
    if "tickvals" in wanted:
        ticks = [value for value in wanted["tickvals"] if value < _MOST]
        rotation: Any = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if "tickangle" in wanted else {}
        # Names are data: no mathematics in them.
        axis.set_ticks(ticks, _labels(spec, name)[: len(ticks)], parse_math=False, **rotation)
    elif wanted.get("type") != "log":
        from matplotlib.ticker import MaxNLocator, MultipleLocator

        axis.set_major_locator(MultipleLocator(wanted["dtick"]) if "dtick" in wanted else MaxNLocator(5))
    if "title" in wanted:
        axis.set_label_text(wanted["title"]["text"], color=INK, fontsize=8)


_DASHES = {"solid": "-", "dash": "--", "dot": ":"}


def _line(axes: Axes, trace: Spec) -> None:
    heights = [float("nan") if y is None else y for y in trace["y"]]
    style = "steps-mid" if trace["line"].get("shape") == "hvh" else "default"
    modes = trace["mode"].split("+")
    axes.plot(
        trace["x"],
        heights,
        color=trace["line"]["color"],
        linewidth=1.2 if "lines" in modes else 0,
        linestyle=_DASHES[trace["line"].get("dash", "solid")],
        marker="o" if "markers" in modes else "",
        markersize=4,
        drawstyle=style,
        label=trace.get("name"),
    )


def _heatmap(figure: Figure, axes: Axes, trace: Spec) -> None:
    import numpy as np
    from matplotlib.colors import LogNorm

    values = np.array([[np.nan if z is None else 10.0**z for z in row[:_MOST]] for row in trace["z"][:_MOST]], float)
    drawn = axes.imshow(
        values.reshape(len(trace["y"][:_MOST]), len(trace["x"][:_MOST])),
        cmap=trace["colorscale"].lower(),
        norm=LogNorm(10.0 ** trace["zmin"], 10.0 ** trace["zmax"]),
        aspect="auto",
        interpolation="nearest",
    )
    deep = figure.get_size_inches()[1]
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=14, shrink=min(0.9, 2.5 / deep), anchor=(0.0, 1.0))
    bar.set_label(trace["colorbar"]["title"]["text"], color=INK, fontsize=8)
    bar.ax.tick_params(labelsize=7, colors=INK, which="both", length=2)
    bar.outline.set_visible(False)


def _bars(axes: Axes, trace: Spec) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    colors = trace["marker"]["color"]
    if "colorscale" in trace["marker"]:
        scale = Normalize(trace["marker"]["cmin"], trace["marker"]["cmax"])
        colors = colormaps[trace["marker"]["colorscale"].lower()](scale(colors))
    axes.bar(
        trace["x"],
        [y or 0 for y in trace["y"]],
        width=trace.get("width", 0.8),
        color=colors,
        label=trace.get("name"),
        edgecolor="none",
    )


def _letters(axes: Axes, trace: Spec) -> None:
    inside = [mark for mark in zip(trace["x"], trace["y"], trace["text"], strict=True) if max(mark[:2]) < _MOST]
    # A dot where a tensor is as it was; nothing where there is none.
    dots = [(x, y) for x, y, letter in inside if letter == "·"]
    axes.scatter([x for x, _ in dots], [y for _, y in dots], s=1.5, color=INK)
    for x, y, letter in inside:
        if letter != "·":
            axes.text(x, y, letter, color=INK, ha="center", va="center", fontsize=7)


def _cells(axes: Axes, spec: Spec) -> None:
    """Lines between the cells, no frame around them, and a word on what is not drawn."""
    across, down = len(spec["data"][0]["x"]), len(spec["data"][0]["y"])
    axes.set_xticks([x - 0.5 for x in range(1, min(across, _MOST))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, min(down, _MOST))], minor=True)
    if max(across, down) <= _FINE:
        axes.grid(which="minor", color=INK, alpha=0.25, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if max(across, down) > _MOST:
        axes.set_title(f"the first {_MOST} of {max(across, down)}", color=INK, fontsize=8, loc="left")


def _labels(spec: Spec, axis: str) -> list[str]:
    return [html.unescape(name) for name in spec["layout"].get(axis, {}).get("ticktext", [])]
