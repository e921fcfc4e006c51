"""A diff as a result: the same story in a terminal, in a notebook and for a script."""

from __future__ import annotations

import base64
import html
import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theta_jupyter.diffs.compare import TensorDiff, overall
from theta_jupyter.diffs.grid import Grid, fold
from theta_jupyter.errors import RequestError
from theta_jupyter.results import Result, Table, count_text, plain, relative_text, short, size_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Diff", "FileDiff"]

TOP = 10
"""Tensors listed; the rest is counted."""
_SHADES = "·░▒▓█"
_KINDS = {"A": "added", "M": "changed", "D": "removed", "R": "renamed", "S": "reshaped", "T": "recast"}


@dataclass(frozen=True)
class FileDiff(Result):
    """One checkpoint in two versions.

    Parameters
    ----------
    path
        From the top of the repository.
    status
        A added, M changed, D deleted, or empty.
    old, new
        What was compared: refs, ``index``, ``work tree``.
    tensors
        Every tensor of either version.
    stored
        Bytes of the objects that the new version needs and the old one does not.
    size
        Bytes of the new file.
    opaque
        Whether the file is kept whole, because no plug-in understood it.
    """

    path: str
    status: str
    old: str
    new: str
    tensors: tuple[TensorDiff, ...]
    stored: int = 0
    size: int = 0
    opaque: bool = False

    @property
    def changed(self) -> tuple[TensorDiff, ...]:
        """Tensors that are not the same, the most changed first."""
        return tuple(sorted((diff for diff in self.tensors if diff.status), key=_rank))

    def headline(self) -> str:
        """Which file, between what, and how much of it changed."""
        return f"{self.path}   {self.old} → {self.new}"

    def facts(self) -> str:
        """The change in one line."""
        stores = f"stores {size_text(self.stored)} of {size_text(self.size)}"
        if self.opaque:
            return f"kept whole: not a format any plug-in knows; {stores}"
        changed = self.changed
        if self.status in {"A", "D"}:
            tensors = f"{len(changed)} tensor{'s' * (len(changed) != 1)}"
            parameters = f"{count_text(sum(diff.size for diff in changed))} parameters"
            size = f"{tensors}   {parameters}"
            return f"new: {size}   {stores}" if self.status == "A" else f"removed: {size}"
        if not changed:
            return "no tensor changed" if not self.status else "no tensor changed; the rest of the file did"
        counts = [f"{sum(d.status == k for d in changed)} {word}" for k, word in _KINDS.items() if k != "M"]
        others = ", ".join(text for text in counts if not text.startswith("0 "))
        values = sum(diff.size for diff in changed)
        total = sum(diff.size for diff in self.tensors)
        relative, estimated = overall(diff for diff in self.tensors if diff.status in {"", "M", "R", "T"})
        parts = [
            f"{len(changed)} of {len(self.tensors)} tensors changed" + (f" ({others})" if others else ""),
            f"{count_text(values)} of {count_text(total)} parameters",
        ]
        if relative is not None:
            parts.append(f"relative change {relative_text(relative, estimated=estimated)}")
        return "   ".join([*parts, stores])

    def table(self) -> Table:
        """The tensors that changed most."""
        rows = []
        for diff in () if self.opaque else self.changed[:TOP]:
            shape = "x".join(map(str, diff.shape)) or "scalar"
            if diff.old_shape is not None:
                shape = f"{'x'.join(map(str, diff.old_shape)) or 'scalar'} → {shape}"
            kind = f"{diff.old_dtype} → {diff.dtype}" if diff.old_dtype else diff.dtype
            name = " → ".join(short(part, 80) for part in (diff.old_name, diff.name) if part)
            known = diff.status not in {"A", "D", "S"}
            rows.append(
                (
                    diff.status,
                    name,
                    kind,
                    shape,
                    relative_text(diff.relative, estimated=diff.estimated) if known else "",
                    "" if diff.largest is None else f"{diff.largest:.2g}",
                    "" if diff.changed is None else f"{100 * diff.changed:.3g} %",
                    diff.update if diff.status != "D" else "",
                    size_text(diff.stored) if diff.status != "D" else "",
                )
            )
        columns = ("", "tensor", "dtype", "shape", ">relative", ">largest", ">values", "stored as", ">stored")
        used = [i for i in range(len(columns)) if i < 5 or any(row[i] for row in rows)]
        return Table(tuple(columns[i] for i in used), tuple(tuple(row[i] for i in used) for row in rows))

    def notes(self) -> tuple[str, ...]:
        """How many more there are, and what ~ means."""
        changed = self.changed
        notes = []
        if len(changed) > TOP and not self.opaque:
            notes.append(f"and {len(changed) - TOP} more")
        if any(diff.estimated for diff in changed):
            notes.append("~ is estimated from the manifests, without reading a weight; --exact measures")
        return tuple(notes)

    def grid(self) -> Grid:
        """Relative change by block and kind."""
        return fold(self.tensors)

    def figure(self) -> Figure:
        """The heatmap of relative change by block and kind, as a matplotlib figure."""
        from theta_jupyter.diffs.figures import heatmap

        return heatmap(self.grid(), self.path)

    def text(self) -> str:
        """Summary, a small heatmap in shades, and the most changed tensors."""
        table = self.table()
        parts = [plain(self.headline()), "  " + self.facts()]
        if self._pictured:
            parts.append(_shaded(self.grid()))
        if table.rows:
            parts += ["  " + line for line in table.text().split("\n")]
        return "\n".join([*parts, *("  " + note for note in self.notes())])

    def html(self) -> str:
        """Summary, the heatmap as a picture, and the most changed tensors."""
        parts = [
            f'<div style="margin:4px 0"><strong>{html.escape(plain(self.headline()))}</strong></div>',
            f"<div>{html.escape(plain(self.facts())).replace('   ', ' &nbsp;·&nbsp; ')}</div>",
        ]
        if self._pictured:
            from theta_jupyter.diffs.figures import heatmap, png

            picture = base64.b64encode(png(heatmap(self.grid()))).decode()
            alt = html.escape(f"Heatmap of relative change by block and kind for {plain(self.path)}")
            parts.append(f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{picture}">')
        if self.table().rows:
            parts.append(self.table().html())
        parts += [f'<div style="opacity:0.8">{html.escape(note)}</div>' for note in self.notes()]
        return "".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Everything; tensors carry their relative change as well."""
        built = super().to_dict()
        for record, diff in zip(built["tensors"], self.tensors, strict=True):
            relative = diff.relative
            record["relative"] = relative if relative is not None and math.isfinite(relative) else None
        return built

    @property
    def _pictured(self) -> bool:
        """Whether a heatmap says something: all of a file that is new, or gone, is."""
        return bool(self.changed) and self.status == "M" and not self.opaque

    def _records(self) -> tuple[Any, ...]:
        return tuple(self.to_dict()["tensors"])


@dataclass(frozen=True)
class Diff(Result):
    """Every tracked checkpoint that differs between two versions of a repository."""

    old: str
    new: str
    files: tuple[FileDiff, ...]

    def headline(self) -> str:
        """How many files differ."""
        if not self.files:
            return f"no tracked model differs between {self.old} and {self.new}"
        return f"{len(self.files)} tracked model{'s' * (len(self.files) > 1)} differ{'s' * (len(self.files) == 1)}"

    def text(self) -> str:
        """Each file in turn."""
        return "\n\n".join(file.text() for file in self.files) or self.headline()

    def html(self) -> str:
        """Each file in turn."""
        return "<hr>".join(file.html() for file in self.files) or super().html()

    def figure(self) -> Figure:
        """The heatmap of the first file.

        Raises
        ------
        RequestError
            If no file differs.
        """
        if not self.files:
            raise RequestError(self.headline(), hint="a file that is the same has no picture")
        return self.files[0].figure()

    def to_dict(self) -> dict[str, Any]:
        """Everything."""
        return {"old": self.old, "new": self.new, "files": [file.to_dict() for file in self.files]}

    def _records(self) -> tuple[Any, ...]:
        return tuple({"path": file.path, **row} for file in self.files for row in file.to_dict()["tensors"])


def _rank(diff: TensorDiff) -> tuple[float, str]:
    relative = diff.relative
    size = math.inf if diff.status in {"A", "D", "S"} else relative if relative is not None else 0.0
    return -size, diff.name


def _shaded(grid: Grid) -> str:
    """The grid in Unicode shades, a character a cell: · unchanged, then under 1e-4, 1e-3, 1e-2, and above."""
    rows, columns = grid.rows[:24], grid.columns[:60]
    labels = [short(plain(row), 40) for row in rows]
    width = max(map(len, labels))
    lines = []
    for row, label in zip(rows, labels, strict=True):
        cells = "".join(_shade(grid, row, column) for column in columns)
        lines.append(f"  {label:<{width}}  {cells}".rstrip())
    if len(rows) < len(grid.rows):
        lines.append(f"  and {len(grid.rows) - len(rows)} more blocks")
    across = textwrap.shorten(plain(", ".join(columns)), 100, placeholder=" …")
    lines.append(f"  {'':<{width}}  {across}")
    lines.append(f"  {'':<{width}}  · none  ░ under 1e-4  ▒ 1e-3  ▓ 1e-2  █ more")
    return "\n".join(lines)


def _shade(grid: Grid, row: str, column: str) -> str:
    if (row, column) not in grid.cells:
        return " "
    value = grid.cells[row, column]
    if value is None:
        return "?"
    return _SHADES[0 if not value else 1 + sum(value >= limit for limit in (1e-4, 1e-3, 1e-2))]
