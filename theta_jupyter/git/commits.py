"""Commits as Git writes them down, and the same commits with other trees and parents.

All else stays: who, when, the message and how it is encoded. Signatures go, because they are of what was there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.git.trees import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from theta_jupyter.git.worktree import Worktree

__all__ = ["Commit", "history", "write"]

_SIGNED = (b"gpgsig", b"gpgsig-sha256", b"mergetag")
"""``mergetag`` is a signed tag of a parent, which will be another commit."""


@dataclass(frozen=True)
class Commit:
    """A commit.

    Parameters
    ----------
    tree, parents
        Their ids.
    fields
        What else its head has, in order: each a name and a value, which may have several lines.
    message
        What follows, to the byte.
    """

    tree: str
    parents: tuple[str, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    message: bytes

    @classmethod
    def parse(cls, data: bytes) -> Commit:
        """Read a commit from what Git keeps."""
        head, _, message = data.partition(b"\n\n")
        # A line that begins with a space goes on with the one before.
        lines = head.rstrip(b"\n").replace(b"\n ", b"\0").split(b"\n")
        pairs = [line.replace(b"\0", b"\n ").partition(b" ")[::2] for line in lines]
        trees = [value.decode() for name, value in pairs if name == b"tree"]
        parents = tuple(value.decode() for name, value in pairs if name == b"parent")
        fields = tuple((name, value) for name, value in pairs if name not in {b"tree", b"parent"})
        return cls(trees[0], parents, fields, message)

    def moved(self, tree: str, parents: Iterable[str]) -> Commit:
        """The same commit of another tree, after other parents, and not signed."""
        fields = tuple((name, value) for name, value in self.fields if name not in _SIGNED)
        return Commit(tree, tuple(parents), fields, self.message)

    def data(self) -> bytes:
        """What Git keeps of it."""
        named = [(b"tree", self.tree.encode()), *((b"parent", parent.encode()) for parent in self.parents)]
        return b"".join(b"%s %s\n" % pair for pair in [*named, *self.fields]) + b"\n" + self.message


def history(worktree: Worktree, tip: str) -> list[str]:
    """Commits from this one back, each after its parents."""
    return worktree.git("rev-list", "--reverse", "--topo-order", tip, env=PLAIN).decode().split()


def write(worktree: Worktree, commit: Commit) -> str:
    """Write a commit, on no branch, and return its id."""
    # As literally as it was: Git refuses to write what old tools have written, such as an author without a name.
    words = ["hash-object", "-t", "commit", "--literally", "-w", "--stdin"]
    return worktree.git(*words, data=commit.data()).decode().strip()
