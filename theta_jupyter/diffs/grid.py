"""Names of tensors folded into a grid: blocks down, kinds across.

The numbered part of ``encoder.layer.7.attention.query.weight`` is the row, the rest the column. Tensors without a
number are taken together by their first word, in a column of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.diffs.compare import overall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from theta_jupyter.diffs.compare import TensorDiff

__all__ = ["Grid", "fold"]

_NUMBERED = re.compile(r"(?P<block>(?:.*?[./])??(?:[^./]*[._])?\d+)[./](?P<kind>.+)")
ALL = "all"
"""The column of tensors that have no number."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Relative change by block and kind.

    Parameters
    ----------
    rows, columns
        Labels, in natural order (layer 2 before layer 10).
    cells
        Relative change of the tensors at (row, column), taken as one vector; 0 if unchanged, None if not known. What is
        not there is missing from the mapping.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], float | None]


def fold(diffs: Iterable[TensorDiff]) -> Grid:
    """Fold tensors into a grid."""
    members: dict[tuple[str, str], list[TensorDiff]] = {}
    for diff in diffs:
        match = _NUMBERED.fullmatch(diff.name)
        cell = (match["block"], match["kind"]) if match else (re.split("[./]", diff.name)[0], ALL)
        members.setdefault(cell, []).append(diff)
    rows = sorted({row for row, _ in members}, key=_natural)
    columns = sorted({column for _, column in members}, key=lambda column: (column == ALL, _natural(column)))
    return Grid(tuple(rows), tuple(columns), {cell: _together(group) for cell, group in members.items()})


def _together(group: list[TensorDiff]) -> float | None:
    if all(diff.status == "" for diff in group):
        return 0.0
    if any(diff.status in {"A", "D", "S"} for diff in group):
        return 1.0
    if any(diff.status and diff.relative is None for diff in group):
        return None
    return overall(group)[0]


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
