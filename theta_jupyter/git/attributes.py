"""Which files are tracked: ``.gitattributes`` at the top of the work tree, kept tidy.

One line a pattern, ``PATTERN filter=theta diff=theta merge=theta -text``, after any line of another tool, because Git
lets the last match win. Lines of others are left as they are, byte for byte.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from theta_jupyter.errors import RequestError
from theta_jupyter.git.worktree import shown
from theta_jupyter.storage.beside import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["ATTRIBUTES", "FILE", "added", "literal", "patterns", "patterns_of", "quoted", "track", "untrack"]

FILE = ".gitattributes"
ATTRIBUTES = "filter=theta diff=theta merge=theta -text"
"""``-text``: a line-ending conversion would reach smudge, and break every manifest."""

_LINE = re.compile(r'\s*(?P<pattern>"(?:\\.|[^"\\])*"|\S+)\s+(?P<attributes>.*)', re.DOTALL)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def patterns(worktree: Worktree) -> list[str]:
    """Tracked patterns, as ``.gitattributes`` has them, unquoted."""
    return patterns_of(_read(worktree.top / FILE))


def patterns_of(text: str) -> list[str]:
    """Patterns that a text of ``.gitattributes`` gives to the filter, unquoted."""
    return [pattern for line in _lines(text) if (pattern := _ours(line)) is not None]


def added(text: str, pattern: str) -> str:
    """A text of ``.gitattributes`` with a line for a pattern, at its end; the same text if it has that line."""
    wanted = {*ATTRIBUTES.split()}
    if any(_ours(line) == pattern and wanted.issubset(line.split()) for line in _lines(text)):
        return text
    return text + ("\n" if text and not text.endswith("\n") else "") + f"{quoted(pattern)} {ATTRIBUTES}\n"


def track(worktree: Worktree, *, path: str = "", pattern: str = "") -> bool:
    """Track one file by its path from the top, or every file that matches a pattern.

    Returns
    -------
    bool
        Whether that is new.

    Raises
    ------
    RequestError
        If another filter, such as Git LFS, already has one of the files, or another line denies us this one. The file
        is then as it was.
    """
    wanted = literal(path) if path else pattern
    if not wanted.strip() or "\0" in wanted or wanted.startswith("!"):
        raise RequestError(f"{wanted!r} is not a pattern that .gitattributes can hold")
    here = worktree.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split(b"\0")[:-1]
    files = dict.fromkeys([*([path] if path else []), *map(os.fsdecode, here)])
    before, text = worktree.filters(files), _read(worktree.top / FILE)
    if path and before[path] not in {"", "theta"}:
        _refuse(path, before[path])
    if wanted in patterns(worktree):
        return False
    _write(worktree.top / FILE, added(text, wanted))
    after = worktree.filters(files)
    taken = [name for name in files if after[name] == "theta" and before[name] not in {"", "theta"}]
    if taken or (path and after[path] != "theta"):
        _write(worktree.top / FILE, text)
    if taken:
        _refuse(taken[0], before[taken[0]])
    if path and after[path] != "theta":
        raise RequestError(
            f"{shown(path)} cannot be tracked: another .gitattributes takes precedence",
            hint=f"see: git check-attr -a {shown(path)}",
        )
    return True


def untrack(worktree: Worktree, pattern: str) -> bool:
    """Stop tracking a path or pattern, as :func:`patterns` or the user writes it; return whether it was tracked."""
    names = {pattern, literal(pattern)}
    text = _read(worktree.top / FILE)
    keep = [line for line in _lines(text) if _ours(line) not in names]
    if len(keep) == len(_lines(text)):
        return False
    _write(worktree.top / FILE, "".join(keep))
    return True


def _refuse(name: str, taken: str) -> None:
    step = f"git lfs untrack {shown(name)}" if taken == "lfs" else f"remove filter={taken} for it from .gitattributes"
    raise RequestError(f"{shown(name)} already has the filter {taken!r}", hint=f"first: {step}")


def _ours(line: str) -> str | None:
    """The pattern of a line, if it is one of ours."""
    match = _LINE.fullmatch(line)
    return _unquote(match["pattern"]) if match and "filter=theta" in match["attributes"].split() else None


def literal(path: str) -> str:
    """The pattern of one file, by its path from where the pattern stands."""
    return "/" + re.sub(r"([*?\[\\])", r"\\\1", path)


def _lines(text: str) -> list[str]:
    """Lines as Git sees them, with their ends: only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    if path.is_symlink():
        raise RequestError(f"{FILE} is a link, where Git does not look for attributes", hint="put a file in its place")
    if not text:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as fresh:
        fresh.write_bytes(text.encode(errors="surrogateescape"))


def quoted(pattern: str) -> str:
    """A pattern as a line of ``.gitattributes`` has it."""
    if re.search(r'[\s"#]', pattern) or not pattern.isprintable() or pattern.startswith("["):
        return '"' + "".join(_ESCAPES.get(sign, sign) for sign in pattern) + '"'
    return pattern


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    plain = {escape[1]: sign for sign, escape in _ESCAPES.items()}
    return re.sub(r"\\(.)", lambda match: plain.get(match[1], match[1]), text[1:-1], flags=re.DOTALL)
