"""Attributes in a history: which paths a pattern means, and ``.gitattributes`` that give files to the filter.

Git itself is asked what a line means, by an index that is made for the question; the user's own is not touched.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from theta_jupyter.errors import RequestError
from theta_jupyter.git import attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["check", "claimed", "matching", "store"]

_MARK = "theta-migrate"
_OURS = {"filter": "theta", "diff": "theta", "merge": "theta", "text": "unset"}


def check(patterns: Iterable[str]) -> None:
    """Refuse what a line of ``.gitattributes`` cannot begin with.

    Raises
    ------
    RequestError
        If there is such a pattern.
    """
    for pattern in patterns:
        if not pattern.strip() or "\0" in pattern or pattern.startswith("!"):
            raise RequestError(f"{pattern!r} is not a pattern that {attributes.FILE} can hold")


def matching(worktree: Worktree, patterns: Sequence[str], paths: Iterable[str]) -> set[str]:
    """Those of these paths that a pattern means, written as in ``.gitattributes`` at the top."""
    listed = [*paths]
    if not patterns or not listed:
        return set()
    lines = "".join(f"{attributes.quoted(pattern)} {_MARK}\n" for pattern in patterns)
    with _temporary(worktree) as file, _temporary(worktree) as index:
        file.write_bytes(os.fsencode(lines))
        found = _values(worktree, index, listed, [_MARK], "-c", f"core.attributesFile={file}")
    return {path for path, [value] in found.items() if value == "set"}


def claimed(
    worktree: Worktree, texts: Mapping[str, bytes], patterns: Sequence[str], paths: Sequence[str]
) -> dict[str, bytes]:
    """Texts of ``.gitattributes`` with which the filter has these files, and these patterns are tracked.

    Parameters
    ----------
    texts
        Those there are, by path, in the folders above the files.
    paths
        Files; where another line has one in spite of the patterns, a line for just this file follows it.

    Returns
    -------
    dict
        Texts that have changed, by path.
    """
    found = {path: text.decode(errors="surrogateescape") for path, text in texts.items()}
    before = found.get(attributes.FILE, "")
    for pattern in patterns:
        before = attributes.added(before, pattern)
    found[attributes.FILE] = before
    for path in _denied(worktree, found, paths):
        # The nearest one has the last word.
        folders = [name.removesuffix(attributes.FILE) for name in found]
        folder = max((name for name in folders if path.startswith(name)), key=len)
        name, pattern = folder + attributes.FILE, attributes.literal(path.removeprefix(folder))
        # Where our line is there, but not the last, it comes once more.
        line = f"{attributes.quoted(pattern)} {attributes.ATTRIBUTES}\n"
        text = attributes.added(found[name], pattern)
        found[name] = text if text != found[name] else text + line
    encoded = {path: text.encode(errors="surrogateescape") for path, text in found.items()}
    return {path: text for path, text in encoded.items() if text and texts.get(path) != text}


def store(worktree: Worktree, text: bytes) -> str:
    """Write a blob, and return its id."""
    return worktree.git("hash-object", "-w", "--stdin", data=text).decode().strip()


def _denied(worktree: Worktree, texts: Mapping[str, str], paths: Sequence[str]) -> list[str]:
    """Those of these files that would not be ours."""
    with _temporary(worktree) as index:
        entries = "".join(
            f"100644 {store(worktree, text.encode(errors='surrogateescape'))}\t{path}\0" for path, text in texts.items()
        )
        env = {"GIT_INDEX_FILE": str(index)}
        worktree.git("update-index", "-z", "--index-info", data=os.fsencode(entries), env=env)
        found = _values(worktree, index, paths, [*_OURS])
    return [path for path, values in found.items() if values != [*_OURS.values()]]


def _values(
    worktree: Worktree, index: Path, paths: Sequence[str], names: Sequence[str], *options: str
) -> dict[str, list[str]]:
    """Values of these attributes for each path, going by an index alone."""
    listed = b"".join(os.fsencode(path) + b"\0" for path in paths)
    words = (*options, "check-attr", "--cached", "-z", "--stdin", *names)
    out = worktree.git(*words, data=listed, env={"GIT_INDEX_FILE": str(index)}).split(b"\0")
    found: dict[str, list[str]] = {}
    for path, value in zip(out[0:-1:3], out[2:-1:3], strict=True):
        found.setdefault(os.fsdecode(path), []).append(value.decode(errors="replace"))
    return found


@contextlib.contextmanager
def _temporary(worktree: Worktree) -> Iterator[Path]:
    path = worktree.store.temporary()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
