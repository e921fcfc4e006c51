"""What Git, or somebody at work in it, could still ask for: everything that keeps an object from being deleted.

This is the one place that knows. A version can be asked for if its manifest can be reached from

- a reference of any kind: branches, tags of anything, remote ones, notes, the stash, those of one work tree alone;
- HEAD and the like (MERGE_HEAD, ORIG_HEAD, FETCH_HEAD, ...) of any work tree, or a rebase, cherry-pick or ``am`` that
  has stopped there, with what it has put away; or what has been chosen in a merge, which may speak of commits;
- a reflog of any work tree, also of a branch that is gone, where Git has kept it;
- an index of any work tree, whatever the stage, with what brings back a conflict that was resolved;
- a work tree itself, where manifests lie in place of files.

Submodules are repositories of their own, with objects of their own. History that a shallow clone lacks needs nothing
here. Where blobs are lacking, as in a partial clone, it is not known what they need, and that is an error, not a guess.

Manifests are not parsed: also one of a version to come, or a damaged one, keeps every object that it names.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theta_jupyter.errors import GitError
from theta_jupyter.git.worktree import MANIFEST
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["Roots", "blobs", "blobs_of", "indexed", "manifests", "named", "objects_of", "roots", "sizes_of"]

_NAMED = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
"""Ids as they may stand in a manifest of any version; hashes of tensors look the same, and name no object."""
_WORD = re.compile(rb"(?<![0-9A-Za-z])[0-9a-f]{4,64}(?![0-9A-Za-z])")
"""What may name an object of Git, in full or cut short."""
_HEADS = re.compile("[A-Z][A-Z_]*")
"""Files in Git's folder with such names are HEAD and the like, or messages, which do no harm."""
_IDS = 130
"""A line of a reflog begins with two ids, of 64 digits at most; its message comes after them."""
_STOPPED = ("rebase-merge", "rebase-apply", "sequencer")
_INDEXES = ("index", "*index*.lock", "theta-index.*")
"""The index, those that a commit is being made from, and ours of a merge that is being made."""
_SMALLEST, _LARGEST = 150, 1 << 30
"""No manifest is smaller; and what is larger is never read as one, either (:mod:`~theta_jupyter.drivers`)."""
_PLAIN = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull}
"""History as it was made: what has been replaced, or cut off, is still there to be asked for."""


@dataclass(frozen=True)
class Roots:
    """Where looking begins.

    Parameters
    ----------
    refs
        What all references point at.
    words
        What else may name an object of Git; words that name none do no harm.
    blobs
        Files of all indexes.
    texts
        What may name objects of ours by itself: manifests in work trees, patches of an ``am`` that has stopped.
    """

    refs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    texts: tuple[bytes, ...] = ()


def roots(worktree: Worktree) -> Roots:
    """All there is to begin with, as of now.

    Raises
    ------
    GitError
        If Git cannot say.
    """
    refs: dict[str, None] = {}
    words: dict[str, None] = {}
    found: dict[str, None] = {}
    texts: dict[bytes, None] = {}
    for folder in _folders(worktree):
        refs |= dict.fromkeys(_git(worktree, folder, "for-each-ref", "--format=%(objectname)").decode().split())
        for data in (*_states(folder), *_logs(folder)):
            words |= dict.fromkeys(word.decode() for word in _WORD.findall(data))
            if _NAMED.search(data):
                texts[data] = None
        found |= dict.fromkeys(_indexed(worktree, folder))
        top = _top(worktree, folder)
        if top is not None and top.is_dir():
            texts |= dict.fromkeys(_lying(worktree, folder, top))
    return Roots(tuple(refs), tuple(words), tuple(found), tuple(texts))


def indexed(worktree: Worktree) -> dict[str, list[str]]:
    """Paths by blob of the indexes of all work trees."""
    found: dict[str, list[str]] = {}
    for folder in _folders(worktree):
        for blob, paths in _indexed(worktree, folder).items():
            found.setdefault(blob, []).extend(paths)
    return found


def blobs(worktree: Worktree, begin: Roots) -> dict[str, int]:
    """Size by id of every blob that may be a manifest and can be reached from any reference or HEAD, or from these.

    Raises
    ------
    GitError
        If something that can be reached is not here.
    """
    asked = [*begin.refs, *begin.words]
    # --all first: a reference to what is not here is an error, a word that names nothing is none. Reflogs were read as
    # files; where Git keeps them otherwise, as reftables, only it can say.
    options = ["--all", *(["--reflog"] if begin.words else []), "--ignore-missing"]
    return sizes_of(worktree, [*_walk(worktree, asked, options), *begin.blobs])


def blobs_of(worktree: Worktree, commits: Sequence[str]) -> dict[str, int]:
    """The same, of what can be reached from these commits alone."""
    return sizes_of(worktree, _walk(worktree, commits)) if commits else {}


def _walk(worktree: Worktree, asked: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """Ids of all objects of Git that can be reached."""
    what = ("--objects", "--no-object-names", "--missing=print")
    data = "".join(f"{name}\n" for name in asked).encode()
    try:
        names = worktree.git("rev-list", *what, *options, "--stdin", data=data, env=_PLAIN).decode().split()
    except GitError as error:
        raise GitError(
            f"the history cannot be walked, so it is not known what it needs: {error.message}", hint="run: git fsck"
        ) from error
    missing = [name for name in names if name.startswith("?")]
    if missing:
        raise GitError(
            f"{len(missing)} files or folders of the history are not in this repository, as in a partial clone, "
            "so it is not known what they need",
            hint="fetch them first: git fetch --refetch --no-filter",
        )
    return names


def sizes_of(worktree: Worktree, names: Iterable[str]) -> dict[str, int]:
    """Size by id of those objects that are blobs, and may be manifests by their size."""
    listed = "".join(f"{name}\n" for name in dict.fromkeys(names)).encode()
    what = "--batch-check=%(objecttype) %(objectsize) %(objectname)"
    found = {}
    for line in worktree.git("cat-file", what, "--buffer", data=listed, env=_PLAIN).decode().splitlines():
        fields = line.split()
        if len(fields) != 3:
            raise GitError(
                f"blob {fields[0][:12]}, which the index has, is not in this repository", hint="run: git fsck"
            )
        kind, size, name = fields
        if kind == "blob" and _SMALLEST <= int(size) <= _LARGEST:
            found[name] = int(size)
    return found


def manifests(worktree: Worktree, found: dict[str, int], progress: Progress = silent) -> Iterator[tuple[str, bytes]]:
    """Those of these blobs that begin as a manifest does, with their texts."""
    total, done = sum(found.values()), 0
    for blob, text in worktree.manifests(found, _PLAIN):
        done += len(text)
        progress("reading the history", min(done, total), total)
        yield blob, text
    progress("reading the history", total, total)


def objects_of(text: bytes) -> set[str]:
    """Ids of the objects that a manifest names, whether or not it can be read."""
    return {name.decode() for name in _NAMED.findall(text)}


def named(worktree: Worktree, begin: Roots, progress: Progress = silent) -> set[str]:
    """Ids of all objects that are needed.

    Raises
    ------
    GitError
        If that is not known: the history is damaged, or not all of it is here.
    """
    found: set[str] = set()
    for text in begin.texts:
        found |= objects_of(text)
    for _, text in manifests(worktree, blobs(worktree, begin), progress):
        found |= objects_of(text)
    return found


def _folders(worktree: Worktree) -> list[Path]:
    """Git's folder, and those of linked work trees, also of one that is not there at the moment."""
    linked = worktree.common_dir / "worktrees"
    return [
        worktree.common_dir,
        *(sorted(path for path in linked.iterdir() if path.is_dir()) if linked.is_dir() else []),
    ]


def _git(worktree: Worktree, folder: Path, *args: str, index: str = "index", top: Path | None = None) -> bytes:
    """Run git for one of the work trees, whichever this one is."""
    env = {
        "GIT_DIR": str(folder),
        "GIT_INDEX_FILE": str(folder / index),
        **({"GIT_WORK_TREE": str(top)} if top else {}),
    }
    return worktree.git(*(["-C", str(top)] if top else []), *args, env=env)


def _states(folder: Path) -> Iterator[bytes]:
    """What HEAD and the like say, and what lies in the folders of an operation that has stopped."""
    files = [path for path in folder.iterdir() if _HEADS.fullmatch(path.name)]
    for name in _STOPPED:
        files += (folder / name).rglob("*")
    yield from _read(files)


def _logs(folder: Path) -> Iterator[bytes]:
    """The ids in reflogs, also of references that are gone, which Git itself passes over."""
    for data in _read((folder / "logs").rglob("*")):
        yield b"\n".join(line[:_IDS] for line in data.splitlines())


def _read(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # Git is at work.
            if path.is_file():
                yield path.read_bytes()


def _indexed(worktree: Worktree, folder: Path) -> dict[str, list[str]]:
    """Paths by blob of the files in an index, and of those in conflicts that were resolved since."""
    found: dict[str, list[str]] = {}
    for pattern in _INDEXES:
        for path in folder.glob(pattern):
            for how in ("--stage", "--resolve-undo"):
                try:
                    out = _git(worktree, folder, "ls-files", how, "-z", index=path.name)
                except GitError:
                    if pattern == "index":
                        raise
                    continue  # Half-written, or gone by now.
                for line in out.split(b"\0")[:-1]:
                    info, _, name = line.partition(b"\t")
                    mode, blob, _ = info.split()
                    if mode.startswith(b"100"):
                        found.setdefault(blob.decode(), []).append(os.fsdecode(name))
    return found


def _top(worktree: Worktree, folder: Path) -> Path | None:
    """The work tree of one of Git's folders; None of a bare repository."""
    if folder == worktree.git_dir.resolve() != worktree.top.resolve():
        return worktree.top
    if folder != worktree.common_dir:
        try:
            return (folder / os.fsdecode((folder / "gitdir").read_bytes().rstrip(b"\n"))).parent
        except OSError:
            return None  # It is being made, or taken away.
    try:
        set_up = _git(worktree, folder, "config", "--get", "core.worktree").decode().rstrip("\n")
    except GitError:
        set_up = ""
    if set_up:
        return folder / set_up
    bare = _git(worktree, folder, "config", "--type=bool", "--default=false", "--get", "core.bare").strip() == b"true"
    return None if bare else folder.parent


def _lying(worktree: Worktree, folder: Path, top: Path) -> Iterator[bytes]:
    """Manifests that lie in a work tree, tracked or not, in place of files."""
    listed = _git(worktree, folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", top=top)
    for name in dict.fromkeys(listed.split(b"\0")[:-1]):
        path = top / os.fsdecode(name)
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            with path.open("rb") as file:
                if file.read(len(MANIFEST)) == MANIFEST:
                    yield MANIFEST + file.read(_LARGEST)
        except OSError:
            continue  # Deleted meanwhile, or not ours to read.
