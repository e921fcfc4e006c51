"""Pictures of a diff. Each is made once, here, and shown wherever a diff is shown."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from theta_jupyter.results import plain, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.grid import Grid

__all__ = ["heatmap", "png"]

_INK = "#808080"
"""Readable on white and on black: the picture has no background of its own, because it cannot know the page's."""
_FLOOR, _CEILING = 1e-6, 1.0
_MOST = 48
"""Rows and columns drawn; larger grids are shown in part, and say so."""
_LABEL = 36
"""Letters of a name."""


def heatmap(grid: Grid, title: str = "") -> Figure:
    """Draw relative change by block and kind, on a log scale; what did not change is background."""
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    rows, columns = grid.rows[:_MOST], grid.columns[:_MOST]
    values = np.full((len(rows), len(columns)), np.nan)
    unknown, same = [], []
    for (row, column), value in grid.cells.items():
        if row in rows and column in columns:
            place = rows.index(row), columns.index(column)
            if value is None:
                unknown.append(place)
            elif value:
                values[place] = min(_CEILING, max(_FLOOR, value))
            else:
                same.append(place)
    shown = values[~np.isnan(values)]
    low = 10 ** math.floor(math.log10(float(shown.min()))) if shown.size else 1e-4
    high = 10 ** math.ceil(math.log10(float(shown.max()))) if shown.size else 1e-2
    across, down = ([short(plain(name), _LABEL) for name in names] for names in (columns, rows))
    # In inches; a letter of a label takes about 0.07, and those across hang down, aslant.
    beside, below = (0.07 * max(map(len, names), default=1) for names in (down, across))
    wide = max(beside, 0.5 * below) + min(7.0, max(0.8, 0.3 * len(columns))) + 1.4
    deep = max(1.2, 0.24 * len(rows)) + 0.9 * below + 0.5
    figure = Figure(figsize=(wide, deep), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        values, cmap="cividis", norm=LogNorm(low, max(high, low * 10)), aspect="auto", interpolation="nearest"
    )
    for row_index, column_index in unknown:
        axes.text(column_index, row_index, "?", color=_INK, ha="center", va="center", fontsize=7)
    # A dot where a tensor is as it was; nothing where there is none.
    axes.scatter([place[1] for place in same], [place[0] for place in same], s=1.5, color=_INK)
    # Names are data: no mathematics in them.
    axes.set_xticks(range(len(columns)), across, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(rows)), down, parse_math=False)
    axes.set_xticks([x - 0.5 for x in range(1, len(columns))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color=_INK, alpha=0.25, linewidth=0.5)
    axes.tick_params(which="both", length=0, labelsize=7, colors=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=14, shrink=min(0.9, 2.5 / deep), anchor=(0.0, 1.0))
    bar.set_label("relative change", color=_INK, fontsize=8)
    bar.ax.tick_params(labelsize=7, colors=_INK, which="both", length=2)
    bar.outline.set_visible(False)
    cut = len(grid.rows) > _MOST or len(grid.columns) > _MOST
    heading = f"{title} (the first {_MOST} of {max(len(grid.rows), len(grid.columns))})" if cut else title
    if heading:
        axes.set_title(heading, color=_INK, fontsize=9, loc="left", parse_math=False)
    figure.patch.set_alpha(0.0)
    axes.patch.set_alpha(0.0)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn in boxes; nobody needs to be told for each letter.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
