"""Files of Git LFS in a history: pointers that Git has, and the objects that they are of.

The objects lie where the user's LFS keeps them, apart from ours, and are only read. Those that are not here are fetched
into the same place, by their ids, because git-theta names objects of LFS and writes no pointers.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.errors import RequestError, TransferError
from theta_jupyter.git import lfs
from theta_jupyter.git.transfer import remotes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["LONGEST", "Pointer", "fetch", "missing", "parse", "place"]

LONGEST = 1024
"""No pointer has as many bytes."""
_VERSION = re.compile(
    rb"version (https://git-lfs\.github\.com/spec/v1|http://git-media\.io/v/2|https://hawser\.github\.com/spec/v1)\n"
)
_EXTENSION = re.compile(rb"^ext-", re.MULTILINE)
_BODY = re.compile(rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]+)\s*")


@dataclass(frozen=True)
class Pointer:
    """What stands for a file.

    Parameters
    ----------
    oid, size
        Its SHA-256, and its bytes.
    """

    oid: str
    size: int


def parse(text: bytes) -> Pointer | None:
    """Read a pointer; None if it is something else.

    Raises
    ------
    RequestError
        If it is one of a file that an extension of LFS has changed, which only that extension can change back.
    """
    begin = _VERSION.match(text)
    if begin is None:
        return None
    if _EXTENSION.search(text):
        raise RequestError("an extension of Git LFS was used", hint="give patterns that leave such files out")
    body = _BODY.fullmatch(text, begin.end())
    return Pointer(body[1].decode(), int(body[2])) if body else None


def place(worktree: Worktree, oid: str) -> Path:
    """Where an object of LFS lies, or would."""
    storage = worktree.common_dir / (worktree.config("lfs.storage") or "lfs")
    return storage / "objects" / oid[:2] / oid[2:4] / oid


def missing(worktree: Worktree, objects: Mapping[str, int]) -> dict[str, int]:
    """Of these objects, by id with their sizes, those that are not here."""
    # One look at the settings, for all of them.
    folder = place(worktree, "0" * 64).parents[2]
    return {oid: size for oid, size in objects.items() if not _is_here(folder / oid[:2] / oid[2:4] / oid, size)}


def fetch(worktree: Worktree, objects: Mapping[str, int]) -> dict[str, int]:
    """Fetch objects of LFS from whichever remote has them; return those that none has.

    Raises
    ------
    TransferError
        If there is no git-lfs.
    """
    left = missing(worktree, objects)
    names = remotes(worktree) if left else []
    if names:
        lfs.require()
    for remote in names:
        # One that lacks some of them may have sent the others.
        with contextlib.suppress(TransferError):
            lfs.fetch_pointers(worktree, remote, left, ours=False)
        left = missing(worktree, left)
        if not left:
            break
    return left


def _is_here(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
