"""Trees of a history: which files are where, and the same trees with other files in their places.

A history has far fewer trees than commits times folders, because most folders do not change. So each is looked at once.
One process reads them all.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

from theta_jupyter.errors import GitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from theta_jupyter.git.worktree import Worktree

__all__ = ["PLAIN", "Leaf", "Objects", "Trees"]

PLAIN = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull}
"""Set in the environment of git: history as it was made."""
_TREE, _COMMIT = "40000", "160000"
_FILE = "100"
"""How modes of files begin; links and submodules have others."""


class Leaf(NamedTuple):
    """A file in a tree."""

    mode: str
    blob: str


class _Entry(NamedTuple):
    mode: str
    name: str
    id: str


class Objects:
    """Objects of Git, each read whole, one after the other; used as a context."""

    def __init__(self, worktree: Worktree) -> None:
        self._top = worktree.top

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["git", "cat-file", "--batch"],
            cwd=self._top,
            env={**os.environ, **PLAIN},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()

    def read(self, name: str) -> bytes:
        """Read an object.

        Raises
        ------
        GitError
            If it is not here.
        """
        source, sink = cast("BinaryIO", self._process.stdout), cast("BinaryIO", self._process.stdin)
        sink.write(name.encode() + b"\n")
        sink.flush()
        fields = source.readline().split()
        if len(fields) != 3:
            raise GitError(f"object {name[:12]} is not in this repository", hint="see: git fsck")
        data = source.read(int(fields[2]))
        source.read(1)
        return data


class Trees:
    """Trees, and what has been found out of them.

    Parameters
    ----------
    wanted
        Paths that are of interest.
    """

    def __init__(self, worktree: Worktree, objects: Objects, wanted: AbstractSet[str] = frozenset()) -> None:
        self._worktree, self._objects = worktree, objects
        self._wanted = wanted
        self._folders = {path[: at + 1] for path in wanted for at, sign in enumerate(path) if sign == "/"}
        self._walked: set[tuple[str, str]] = set()
        self._found: dict[tuple[str, str], dict[str, Leaf]] = {}
        self._made: dict[tuple[str, tuple[tuple[str, Leaf], ...]], str] = {}

    def new(self, tree: str, below: str = "") -> Iterator[tuple[str, Leaf]]:
        """Files of a tree, with their paths, but for those in folders that were given before."""
        if (tree, below) in self._walked:
            return
        self._walked.add((tree, below))
        for entry in self._entries(tree):
            if entry.mode == _TREE:
                yield from self.new(entry.id, f"{below}{entry.name}/")
            elif entry.mode.startswith(_FILE):
                yield below + entry.name, Leaf(entry.mode, entry.id)

    def find(self, tree: str, below: str = "") -> Mapping[str, Leaf]:
        """The files of interest in a tree."""
        if (tree, below) not in self._found:
            found: dict[str, Leaf] = {}
            for entry in self._entries(tree):
                path = below + entry.name
                if entry.mode == _TREE and f"{path}/" in self._folders:
                    found |= self.find(entry.id, f"{path}/")
                elif entry.mode.startswith(_FILE) and path in self._wanted:
                    found[path] = Leaf(entry.mode, entry.id)
            self._found[tree, below] = found
        return self._found[tree, below]

    def replaced(self, tree: str, files: Mapping[str, Leaf]) -> str:
        """Write a tree that has these files in place of its own, or besides, in folders that it has."""
        if not files:
            return tree
        key = tree, tuple(sorted(files.items()))
        if key not in self._made:
            self._made[key] = self._replaced(tree, files)
        return self._made[key]

    def _replaced(self, tree: str, files: Mapping[str, Leaf]) -> str:
        before = {entry.name: entry for entry in self._entries(tree)}
        after = dict(before)
        folders: dict[str, dict[str, Leaf]] = {}
        for path, leaf in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(name, {})[rest] = leaf
            else:
                after[name] = _Entry(leaf.mode, name, leaf.blob)
        for name, inside in folders.items():
            after[name] = _Entry(_TREE, name, self.replaced(before[name].id, inside))
        if after == before:
            return tree
        kinds = {_TREE: "tree", _COMMIT: "commit"}
        lines = (f"{entry.mode} {kinds.get(entry.mode, 'blob')} {entry.id}\t{entry.name}\0" for entry in after.values())
        return self._worktree.git("mktree", "-z", "--missing", data=os.fsencode("".join(lines))).decode().strip()

    def _entries(self, tree: str) -> Iterator[_Entry]:
        data, size, at = self._objects.read(tree), len(tree) // 2, 0
        while at < len(data):
            end = data.index(b"\0", at)
            mode, _, name = data[at:end].partition(b" ")
            at = end + 1 + size
            yield _Entry(mode.decode(), os.fsdecode(name), data[end + 1 : at].hex())
