"""A diff on a page of its own: HTML that needs no other file, or Markdown for a pull request.

The page has the whole story: summary, pictures, every changed tensor. Nothing on it runs, and it says so to the
browser, because the names on it may come from a stranger.
"""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from theta_jupyter.diffs.plots import draw, image, png
from theta_jupyter.errors import RequestError
from theta_jupyter.results import plain

if TYPE_CHECKING:
    from theta_jupyter.diffs.report import Diff, FileDiff
    from theta_jupyter.results import Table

__all__ = ["markdown", "page", "write"]

MOST = 2000
"""Tensors listed on a page."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 32px auto; max-width: 1100px; padding: 0 16px;
  background: Canvas; color: CanvasText; }
h1 { font-size: 20px; font-weight: 600; margin: 0 0 24px; }
h2 { font-size: 16px; font-weight: 600; margin: 32px 0 4px; }
section { overflow-x: auto; }
table { border-collapse: collapse; margin: 16px 0; font-size: 13px; }
th { position: sticky; top: 0; background: Canvas; }
tr:nth-child(even) td { background: color-mix(in srgb, CanvasText 4%, transparent); }
p { margin: 4px 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; margin: 16px 0; }
.notes { opacity: 0.75; }
"""


def write(diff: Diff, target: str | Path) -> Path:
    """Write a diff to a file; see :meth:`theta_jupyter.diffs.report.Diff.report`."""
    path = Path(target)
    match path.suffix.lower():
        case ".html" | ".htm":
            text = page(diff)
        case ".md" | ".markdown":
            text = markdown(diff, path)
        case ".json":
            text = json.dumps(diff.to_dict(), indent=2)
        case ".txt":
            text = diff.text() + "\n"
        case _:
            raise RequestError(f"a report is .html, .md, .json or .txt, not {path.name!r}")
    _replace(path, text.encode(errors="backslashreplace"))
    return path


def page(diff: Diff) -> str:
    """The diff as an HTML document."""
    title = html.escape(plain(f"{diff.old} → {diff.new}"))
    parts = [_section(file) for file in diff.files] or [f"<p>{html.escape(plain(diff.headline()))}</p>"]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{title}</h1>\n{''.join(parts)}</body>\n</html>\n"
    )


def markdown(diff: Diff, path: Path | None = None) -> str:
    """The diff as Markdown.

    Parameters
    ----------
    path
        Where it will be written: pictures are then written beside it, and linked. Without, the heatmap is drawn in
        Unicode shades.
    """
    parts = [f"## {_literal(f'{diff.old} → {diff.new}')}"]
    if not diff.files:
        parts.append(_literal(diff.headline()))
    for number, file in enumerate(diff.files):
        parts += [f"### {_literal(file.path)}", " · ".join(map(_literal, file.facts()))]
        picture = file.spec()
        if picture and path:
            beside = path.with_name(f"{path.stem}-{number + 1}.png" if len(diff.files) > 1 else f"{path.stem}.png")
            _replace(beside, png(draw([picture])))
            parts.append(f"![Relative change by block and kind]({quote(beside.name)})")
        elif picture:
            # Indented, because a name may look like the end of a fence.
            parts.append("\n".join(f"    {line}" for line in file.shades()))
        table = file.table()
        if table.rows:
            parts.append(_rows(table))
        parts += [_literal(note) for note in file.notes()]
    return "\n\n".join(parts) + "\n"


def _section(file: FileDiff) -> str:
    facts = " &nbsp;·&nbsp; ".join(html.escape(plain(fact)) for fact in file.facts())
    pictures = "".join(
        image(draw([spec]), what)
        for what, spec in (
            ("Heatmap of relative change by block and kind", file.spec("heatmap")),
            ("Histogram of tensors by relative change", file.spec("norms")),
        )
        if spec
    )
    table = file.table(MOST)
    rest = len(file.changed) - len(table.rows)
    notes = [note for note in file.notes() if not note.startswith("and ")]
    notes += [f"and {rest} more"] if rest > 0 and not file.opaque else []
    return (
        f"<section><h2>{html.escape(plain(file.headline()))}</h2>\n<p>{facts}</p>\n"
        + (f'<div class="pictures">{pictures}</div>\n' if pictures else "")
        + (table.html() if table.rows else "")
        + "".join(f'<p class="notes">{html.escape(plain(note))}</p>' for note in notes)
        + "</section>\n"
    )


def _rows(table: Table) -> str:
    lines = [
        [column.removeprefix(">") or " " for column in table.columns],
        ["---:" if column.startswith(">") else "---" for column in table.columns],
        *([_literal(str(cell)) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _literal(text: str) -> str:
    """Text as it is: no character of it is Markdown, or HTML."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+-!|~&$:@" else char for char in plain(text))


def _replace(path: Path, data: bytes) -> None:
    """Write a file as a whole, or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
