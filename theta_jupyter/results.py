"""What commands return: plain typed data that knows how to be read.

A result is a frozen dataclass. The same one is text in a terminal, a table in a notebook, a dictionary for a script
and a data frame for analysis; nothing is ever parsed back out of text. Everything that came from a repository (names
of tensors, refs, paths, messages) is hostile text and is escaped here, in one place.
"""

from __future__ import annotations

import base64
import html
import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from theta_jupyter.errors import ThetaError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Cell",
    "Message",
    "Picture",
    "Result",
    "Table",
    "count_text",
    "finite",
    "for_notebook",
    "plain",
    "relative_text",
    "short",
    "size_text",
]


class Picture(Protocol):
    """A small picture in a line of text. It says what it is; it is made safe, as all text is, where it is shown."""

    def text(self) -> str:
        """The picture in characters."""
        ...

    def alt(self) -> str:
        """The picture in words."""
        ...

    def png(self) -> bytes:
        """The picture as a file, with 28 pixels from top to bottom."""
        ...


Cell = str | tuple[str | Picture, ...]
"""Text; or text and pictures, one after the other."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Parameters
    ----------
    columns
        Headings; one that begins with ``>`` heads a column of numbers, set to the right.
    rows
        Cells, ready to be read.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()

    def text(self) -> str:
        """Set in columns, for a terminal."""
        names = [column.removeprefix(">") for column in self.columns]
        cells = [names, *([_cell_text(cell) for cell in row] for row in self.rows)]
        widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        lines = []
        for row in cells:
            parts = []
            for cell, width, column in zip(row, widths, self.columns, strict=True):
                space = " " * (width - _width(cell))
                parts.append(space + cell if column.startswith(">") else cell + space)
            lines.append("  ".join(parts).rstrip())
        return "\n".join(lines if any(names) else lines[1:])

    def html(self) -> str:
        """Set as a table, in the colours and fonts of the page around it."""
        sides = ["right" if column.startswith(">") else "left" for column in self.columns]
        cell = 'style="text-align:{};padding:2px 12px 2px 0;white-space:pre;font-variant-numeric:tabular-nums"'
        head = "".join(
            f"<th {cell.format(side)}>{html.escape(column.removeprefix('>'))}</th>"
            for side, column in zip(sides, self.columns, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f"<td {cell.format(side)}>{_cell_html(value)}</td>" for side, value in zip(sides, row, strict=True)
            )
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Result:
    """A result; subclasses are frozen dataclasses and say what they hold."""

    @property
    def exit_status(self) -> int:
        """What a terminal is told: 0, or 1 if what was asked for is not done."""
        return 0

    def headline(self) -> str:
        """The one sentence that matters."""
        raise NotImplementedError

    def table(self) -> Table:
        """The details, if there are any."""
        return Table()

    def notes(self) -> tuple[str, ...]:
        """What to know besides, and what to do next; a line each."""
        return ()

    def text(self) -> str:
        """Everything, for a terminal."""
        table = self.table()
        body = ("\n".join("  " + line for line in table.text().split("\n")),) if table.rows else ()
        return "\n".join([plain(self.headline()), *body, *map(plain, self.notes())])

    def html(self) -> str:
        """Everything, for a notebook; safe to show whatever it holds."""
        table = self.table()
        lines = (html.escape(for_notebook(plain(note))) for note in self.notes())
        notes = "".join(f'<div style="opacity:0.8">{line}</div>' for line in lines)
        return (
            f'<div style="margin:4px 0"><strong>{html.escape(plain(self.headline()))}</strong></div>'
            f"{table.html() if table.rows else ''}{notes}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain dictionaries, lists, numbers and strings, ready for JSON."""
        built: dict[str, Any] = finite(msgspec.to_builtins(self))
        return built

    def to_pandas(self) -> pd.DataFrame:
        """The details, as a data frame, numbers as numbers.

        Raises
        ------
        ThetaError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ThetaError("to_pandas() needs pandas", hint="pip install pandas") from error
        return pd.DataFrame([finite(msgspec.to_builtins(row)) for row in self._records()])

    def _records(self) -> tuple[Any, ...]:
        """What becomes the rows of a data frame."""
        return (self,)

    def __str__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Tell IPython how to show it: there, the next step is a magic."""
        return {"text/plain": for_notebook(self.text()), "text/html": self.html()}


@dataclass(frozen=True)
class Message(Result):
    """A command that has only this to say."""

    message: str
    details: tuple[str, ...] = ()

    def headline(self) -> str:
        """The message."""
        return self.message

    def notes(self) -> tuple[str, ...]:
        """The details."""
        return self.details


def plain(text: str) -> str:
    """Make text safe to print on its line: control and formatting characters are shown, not obeyed."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def for_notebook(text: str) -> str:
    """Say the commands in a text as they are said in a notebook."""
    return text.replace("git theta ", "%theta ")


def short(text: str, width: int) -> str:
    """Cut the middle out of a text that is too long; the end of a name tells more than its middle."""
    return text if len(text) <= width else f"{text[: width // 3]}…{text[len(text) - width + width // 3 + 1 :]}"


def size_text(size: float) -> str:
    """Bytes, for people: ``1.2 MB``; powers of ten, as disks and networks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.2g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def count_text(count: float) -> str:
    """A number of things, for people: ``23.5 M``."""
    for unit in ("", " k", " M", " G"):
        if count < 999.5:
            return f"{count:.0f}{unit}" if not unit or count >= 99.95 else f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.4g} T"


def relative_text(value: float | None, *, estimated: bool = False) -> str:
    """A relative change, for people; ``~`` marks an estimate, and what was zero has grown without bounds."""
    if value is None or math.isnan(value):
        return "?"
    return f"{'~' if estimated else ''}{'∞' if math.isinf(value) else f'{value:.2g}'}"


def _cell_text(cell: Cell) -> str:
    parts = (cell,) if isinstance(cell, str) else cell
    return " ".join(plain(part if isinstance(part, str) else part.text()) for part in parts)


def _cell_html(cell: Cell) -> str:
    parts = (cell,) if isinstance(cell, str) else cell
    return " ".join(html.escape(plain(part)) if isinstance(part, str) else _image(part) for part in parts)


def _image(picture: Picture) -> str:
    words = html.escape(plain(picture.alt()))
    data = base64.b64encode(picture.png()).decode()
    style = "display:inline-block;height:14px;max-width:none;margin:0;vertical-align:text-bottom"
    return f'<img alt="{words}" title="{words}" style="{style}" src="data:image/png;base64,{data}">'


def finite(value: Any) -> Any:
    """Put None for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _width(text: str) -> int:
    """Columns a text takes in a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
