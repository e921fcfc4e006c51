"""A diff in one line: how much each block of a model changed, small enough to stand beside a commit in a list.

On a page it is a PNG in an ``<img>``. Of all that could be drawn there, only this comes through: what cleans the pages
of a notebook that is not trusted takes ``<svg>`` away, and GitHub takes styles.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.diffs.compare import overall
from theta_jupyter.diffs.grid import fold, places
from theta_jupyter.results import relative_text, short

if TYPE_CHECKING:
    from collections.abc import Iterable

    from theta_jupyter.diffs.compare import TensorDiff

__all__ = ["LEGEND", "Miniature", "Value", "glyph", "miniature"]

Value = float | str | None
"""A relative change, 0 if there is none; None if it is not known. Or a sign where there is no such thing: ``+`` tensors
came, ``-`` went, ``±`` have another shape, or some of each."""

MOST = 32
"""Bars; of more blocks, neighbours are taken together."""
LEGEND = "· unchanged, ▁ to █ relative change from 1e-6 to 1, + added, - removed, ± reshaped, ? not known"

_BARS = "▁▂▃▄▅▆▇█"
_SIGN = {"A": "+", "D": "-", "S": "±"}
_WORDS = {"+": "added", "-": "removed", "±": "reshaped"}
_FLOOR = 1e-6
_LABEL = 40
"""Letters of the name of a block."""

# In pixels, two of which are one on the page: sharp on fine screens, too.
_WIDE, _GAP, _TALL, _LEAST = 10, 2, 28, 6
_DARKEST = 0.25
"""Where in the colours the smallest change stands: the very dark ones are lost on a dark page."""
_INK = (128, 128, 128, 255)
"""Readable on white and on black."""
_SIGNS = {
    "+": ("     ", "  #  ", "  #  ", "#####", "  #  ", "  #  ", "     "),
    "-": ("     ", "     ", "     ", "#####", "     ", "     ", "     "),
    "±": ("  #  ", "  #  ", "#####", "  #  ", "  #  ", "     ", "#####"),
    "?": (" ### ", "#   #", "    #", "  ## ", "  #  ", "     ", "  #  "),
}


@dataclass(frozen=True, slots=True)
class Miniature:
    """How much each block of a model changed.

    Parameters
    ----------
    path
        The model, from the top of the repository.
    blocks
        Their names, in natural order; ``first … last`` where neighbours are taken together.
    values
        One for each; all tensors of a block count as one vector.
    """

    path: str
    blocks: tuple[str, ...]
    values: tuple[Value, ...]

    def text(self) -> str:
        """A character a block; :data:`LEGEND` explains them."""
        return "".join(map(glyph, self.values))

    def alt(self) -> str:
        """The same in words, for who cannot see it or looks closer."""
        pairs = zip(self.blocks, self.values, strict=True)
        return f"Change by block of {self.path}: " + ", ".join(f"{block} {_word(value)}" for block, value in pairs)

    def png(self) -> bytes:
        """The same as a picture, a bar a block: the more, the higher and the brighter."""
        import numpy as np
        from matplotlib import colormaps
        from matplotlib.image import imsave

        colours = colormaps["cividis"]
        pixels = np.zeros((_TALL, max(1, len(self.values) * (_WIDE + _GAP) - _GAP), 4), np.uint8)
        # What is unchanged is no more than the line they all stand on.
        pixels[-2:] = _INK
        for index, value in enumerate(self.values):
            cell = pixels[:, index * (_WIDE + _GAP) :][:, :_WIDE]
            if isinstance(value, float) and value:
                share = _share(value)
                height = _LEAST + round(share * (_TALL - _LEAST))
                cell[_TALL - height : -2] = [round(255 * part) for part in colours(_DARKEST + share * (1 - _DARKEST))]
            elif value != 0:
                sign = np.array([[char == "#" for char in row] for row in _SIGNS[str(value or "?")]])
                cell[_TALL // 2 - len(sign) - 2 :][: 2 * len(sign)][sign.repeat(2, 0).repeat(2, 1)] = _INK
        buffer = io.BytesIO()
        imsave(buffer, pixels, format="png")
        return buffer.getvalue()


def miniature(path: str, diffs: Iterable[TensorDiff]) -> Miniature:
    """Take the tensors of each block together."""
    tensors = list(diffs)
    rows = fold(tensors).rows
    block = {name: row for name, (row, _) in places(tensor.name for tensor in tensors).items()}
    bars = min(MOST, len(rows))
    bar = {row: index * bars // len(rows) for index, row in enumerate(rows)}
    names: list[list[str]] = [[] for _ in range(bars)]
    groups: list[list[TensorDiff]] = [[] for _ in range(bars)]
    for row in rows:
        names[bar[row]].append(short(row, _LABEL))
    for tensor in tensors:
        groups[bar[block[tensor.name]]].append(tensor)
    blocks = (name[0] if len(name) == 1 else f"{name[0]} … {name[-1]}" for name in names)
    return Miniature(path, tuple(blocks), tuple(map(_together, groups)))


def glyph(value: Value) -> str:
    """A value as one character."""
    if isinstance(value, str):
        return value
    if value is None:
        return "?"
    return _BARS[min(len(_BARS) - 1, int(_share(value) * len(_BARS)))] if value else "·"


def _together(group: list[TensorDiff]) -> Value:
    comparable = [tensor for tensor in group if tensor.status not in {"A", "D", "S"}]
    if any(tensor.status for tensor in comparable):
        return overall(comparable)[0]
    # Beside tensors that stayed as they were, or alone: what came, went or was reshaped is the news.
    signs = {_SIGN[tensor.status] for tensor in group if tensor.status}
    return "±" if len(signs) > 1 else signs.pop() if signs else 0.0


def _share(value: float) -> float:
    """Where a change stands between the smallest and the largest that are told apart."""
    return 1 - math.log10(min(1.0, max(_FLOOR, value))) / math.log10(_FLOOR)


def _word(value: Value) -> str:
    if isinstance(value, str):
        return _WORDS[value]
    if value is None:
        return "not known"
    return relative_text(value, estimated=True) if value else "unchanged"
