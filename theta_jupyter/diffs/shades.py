"""The heatmap where there is only text: a terminal, a mail, a pull request."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from theta_jupyter.results import plain, short

if TYPE_CHECKING:
    from theta_jupyter.diffs.grid import Grid

__all__ = ["shaded"]

_SHADES = "░▒▓█"


def shaded(grid: Grid) -> list[str]:
    """The grid in Unicode shades, a character a cell: · unchanged, then under 1e-4, 1e-3, 1e-2, and above."""
    rows, columns = grid.rows[:24], grid.columns[:60]
    labels = [short(plain(row), 40) for row in rows]
    width = max(map(len, labels))
    lines = []
    for row, label in zip(rows, labels, strict=True):
        cells = "".join(_shade(grid, row, column) for column in columns)
        lines.append(f"{label:<{width}}  {cells}".rstrip())
    if len(rows) < len(grid.rows):
        lines.append(f"and {len(grid.rows) - len(rows)} more blocks")
    across = textwrap.shorten(plain(", ".join(columns)), 100, placeholder=" …")
    lines.append(f"{'':<{width}}  {across}")
    lines.append(f"{'':<{width}}  · none  ░ under 1e-4  ▒ 1e-3  ▓ 1e-2  █ more")
    return lines


def _shade(grid: Grid, row: str, column: str) -> str:
    cell = grid.cells.get((row, column))
    if cell is None:
        return " "
    if not cell.relative:
        return cell.letter
    return _SHADES[sum(cell.relative >= limit for limit in (1e-4, 1e-3, 1e-2))]
