"""Files whose objects are not here, put off until Git has named all of them, so that one fetch brings everything.

Git offers to wait (``can-delay``, gitattributes(5)): it goes on with other files, and then asks which of those put off
are ready. That is when they are fetched, whatever comes of it; what is still missing then is told file by file.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from theta_jupyter.git.worktree import Worktree

__all__ = ["Delayed"]


class Delayed:
    """Manifests that wait, by path."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._ready: dict[str, bytes] = {}

    def puts_off(self, worktree: Worktree, path: str, text: bytes) -> bool:
        """Whether a file has to wait; if so, its manifest is kept."""
        from theta_jupyter.git.needed import objects_of

        # By a look at its text: to read it takes longer, and comes when it is needed.
        waits = not all(worktree.store.path(name).exists() for name in objects_of(text))
        if waits:
            self._waiting[path] = text
        return waits

    def available(self, worktree: Worktree) -> list[str]:
        """Fetch what all that wait need; return their paths, none if none does."""
        if self._waiting:
            from theta_jupyter.errors import ManifestError, ThetaError
            from theta_jupyter.git.transfer import fetch_missing
            from theta_jupyter.storage.manifest import parse

            found = []
            for text in self._waiting.values():
                with suppress(ManifestError):  # It will be passed on as it is.
                    found.append(parse(text))
            with suppress(ThetaError):
                fetch_missing(worktree, found)
        self._ready |= self._waiting
        self._waiting.clear()
        return list(self._ready)

    def take(self, path: str) -> bytes:
        """The manifest of a file that Git asks for again; empty if it was not put off."""
        return self._ready.pop(path, b"")
