"""Names of tensors folded into a grid: blocks down, kinds across.

The numbered part of ``encoder.layer.7.attention.query.weight`` is the row, the rest the column. Tensors without a
number are taken together by their first word, in a column of their own. A model without any numbers is folded by
module instead: ``decoder.attention.weight`` is in row ``decoder.attention``, column ``weight``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.diffs.compare import overall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from theta_jupyter.diffs.compare import TensorDiff

__all__ = ["ALL", "Cell", "Grid", "fold", "places"]

_NUMBERED = re.compile(r"(?P<block>(?:.*?[./])??(?:[^./]*[._])?\d+)[./](?P<kind>.+)")
ALL = "all"
"""The column of tensors that have no number."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The tensors of one block and kind, taken together.

    Parameters
    ----------
    relative
        Their change as one vector; 0 if they are unchanged, None if it is not known or there is no such thing.
    letter
        What to write where there is no colour: ``·`` unchanged, ``?`` not known, or the status of its tensors: A, D, S.
        Empty where ``relative`` says it all.
    """

    relative: float | None
    letter: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """Change by block and kind.

    Parameters
    ----------
    rows, columns
        Labels, in natural order (layer 2 before layer 10).
    cells
        By (row, column). What is not there is missing from the mapping.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]


def places(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Row and column of every tensor of a model."""
    found: dict[str, tuple[str, str]] = {}
    numbered = False
    for name in names:
        match = _NUMBERED.fullmatch(name)
        numbered |= match is not None
        found[name] = (match["block"], match["kind"]) if match else (re.split("[./]", name)[0], ALL)
    if numbered or all(row == name for name, (row, _) in found.items()):
        return found
    return {name: _module(name) for name in found}


def fold(diffs: Iterable[TensorDiff]) -> Grid:
    """Fold tensors into a grid."""
    members: dict[tuple[str, str], list[TensorDiff]] = {}
    tensors = list(diffs)
    cells = places(diff.name for diff in tensors)
    for diff in tensors:
        members.setdefault(cells[diff.name], []).append(diff)
    rows = sorted({row for row, _ in members}, key=_natural)
    columns = sorted({column for _, column in members}, key=lambda column: (column == ALL, _natural(column)))
    return Grid(tuple(rows), tuple(columns), {cell: _together(group) for cell, group in members.items()})


def _module(name: str) -> tuple[str, str]:
    *path, last = re.split("[./]", name)
    return (name[: -len(last) - 1], last) if path else (name, ALL)


def _together(group: list[TensorDiff]) -> Cell:
    if all(diff.status == "" for diff in group):
        return Cell(0.0, "·")
    comparable = [diff for diff in group if diff.status not in {"A", "D", "S"}]
    if not any(diff.status for diff in comparable):
        # Beside tensors that stayed as they were, or alone: what came, went or was reshaped is the news.
        ((letter, _),) = Counter(diff.status for diff in group if diff.status).most_common(1)
        return Cell(None, letter)
    if any(diff.status and diff.relative is None for diff in comparable):
        return Cell(None, "?")
    relative = overall(comparable)[0]
    if relative:
        return Cell(relative)
    # Under another name, a tensor may be what it was; one whose bits changed is not, however small the change.
    return Cell(relative, "·" if all(diff.status in {"", "R"} for diff in comparable) else "?")


def _natural(text: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", text)
    # Not as numbers: Python reads no more than some thousand digits.
    return [(len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (-1, part) for part in parts]
