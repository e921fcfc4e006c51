"""What a history has that is to be migrated: which files, in which versions, kept by what means.

Nothing is converted here, and no large blob is read but for its beginning. Objects of Git LFS that are not here are
fetched now, all at once, so that what cannot be done is known before anything is.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from theta_jupyter.changes import SUFFIXES
from theta_jupyter.errors import MissingObjectError, RequestError
from theta_jupyter.git import attributes as lines
from theta_jupyter.git import pointers
from theta_jupyter.git.commits import Commit, history
from theta_jupyter.git.trees import Objects, Trees
from theta_jupyter.git.worktree import shown
from theta_jupyter.migration import attributes, git_theta
from theta_jupyter.storage.manifest import looks_like_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree

__all__ = ["Kind", "Scan", "Source", "fetch", "scan"]

Kind = Literal["git", "lfs", "git-theta"]


@dataclass(frozen=True)
class Source:
    """One version of a file, as the history has it.

    Parameters
    ----------
    kind
        ``git``: the file itself; ``lfs``: a pointer; ``git-theta``: metadata of the published package.
    blob
        What Git has.
    objects
        Size by id of what lies outside Git; of a file that Git has, nothing.
    size
        Bytes, of the blob or of the objects.
    path, commit
        Where it stands first.
    """

    kind: Kind
    blob: str
    objects: Mapping[str, int]
    size: int
    path: str
    commit: str


@dataclass(frozen=True)
class Scan:
    """What was found.

    Parameters
    ----------
    commits
        All of the history, each after its parents.
    patterns
        What ``.gitattributes`` will track.
    paths
        Files to be migrated.
    attributes
        Paths of ``.gitattributes`` that have a say in that.
    sources
        Versions by blob; blobs that are manifests already are not among them.
    versions
        Blobs of each of the files that has any, the oldest first.
    touched
        How many commits will be other ones: those with such a version, and those after them.
    """

    commits: tuple[str, ...]
    patterns: tuple[str, ...]
    paths: frozenset[str]
    attributes: frozenset[str]
    sources: Mapping[str, Source]
    versions: Mapping[str, tuple[str, ...]]
    touched: int


def scan(worktree: Worktree, objects: Objects, tip: str, patterns: Sequence[str]) -> Scan:
    """Look through the history of a commit.

    Parameters
    ----------
    patterns
        Which files; if there are none, those with the usual endings, and those that git-theta has.

    Raises
    ------
    RequestError
        If a pattern cannot be one, or would track what tells Git of patterns.
    """
    attributes.check(patterns)
    commits = history(worktree, tip)
    trees = {commit: Commit.parse(objects.read(commit)) for commit in commits}
    every: set[str] = set()
    told: set[str] = set()
    walk = Trees(worktree, objects)
    for commit in commits:
        for path, leaf in walk.new(trees[commit].tree):
            every.add(path)
            if path == lines.FILE:
                told.add(leaf.blob)
    named = attributes.matching(worktree, patterns or [f"*{suffix}" for suffix in SUFFIXES], every)
    for path in sorted(named | attributes.matching(worktree, patterns, [lines.FILE])):
        if path.rpartition("/")[2].startswith(".git"):
            raise RequestError(f"such patterns would track {shown(path)}, which is Git's own", hint="be more specific")
    texts = (objects.read(blob).decode(errors="surrogateescape") for blob in sorted(told))
    tracked = dict.fromkeys(pattern for text in texts for pattern in lines.patterns_of(text))
    others = set() if patterns else attributes.matching(worktree, [*tracked], every) - named
    seen = _seen(Trees(worktree, objects, named | others), trees)
    sources = _sources(worktree, objects, seen)
    # Of what another line tracks, only git-theta's are to be migrated: ours are.
    theirs = {path for path in others if any(b in sources and sources[b].kind == "git-theta" for b in seen[path])}
    paths = named | theirs
    versions = {path: tuple(blob for blob in seen.get(path, {}) if blob in sources) for path in sorted(paths)}
    versions = {path: blobs for path, blobs in versions.items() if blobs}
    endings = [f"*{suffix}" for suffix in SUFFIXES if any(path.endswith(suffix) for path in named)]
    return Scan(
        tuple(commits),
        (*(patterns or endings), *map(lines.literal, sorted(theirs))),
        frozenset(paths),
        frozenset(path for path in every if path.rpartition("/")[2] == lines.FILE and _is_above(path, paths)),
        {blob: sources[blob] for blobs in versions.values() for blob in blobs},
        versions,
        _touched(Trees(worktree, objects, paths), trees, sources),
    )


def fetch(worktree: Worktree, sources: Mapping[str, Source]) -> None:
    """Bring what lies outside Git and is not here.

    Raises
    ------
    MissingObjectError
        If no remote has it. It says of the first such object which version needs it.
    """
    needed: dict[str, int] = {}
    for source in sources.values():
        needed |= source.objects
    left = pointers.fetch(worktree, needed) if needed else {}
    for source in sources.values():
        for oid in source.objects:
            if oid in left:
                raise absent(source, oid)


def absent(source: Source, oid: str) -> MissingObjectError:
    """The error about an object of Git LFS that is not to be had."""
    return MissingObjectError(
        oid,
        f"{shown(source.path)} of commit {source.commit[:12]} needs object {oid} of Git LFS, which is not here",
        hint="fetch it with: git lfs fetch --all",
    )


def _seen(trees: Trees, commits: Mapping[str, Commit]) -> dict[str, dict[str, str]]:
    """Blobs of each path, and the first commit that has each."""
    seen: dict[str, dict[str, str]] = {}
    for name, commit in commits.items():
        for path, leaf in trees.find(commit.tree).items():
            seen.setdefault(path, {}).setdefault(leaf.blob, name)
    return seen


def _touched(trees: Trees, commits: Mapping[str, Commit], sources: Mapping[str, Source]) -> int:
    touched: set[str] = set()
    for name, commit in commits.items():
        has = any(leaf.blob in sources for leaf in trees.find(commit.tree).values())
        if has or not touched.isdisjoint(commit.parents):
            touched.add(name)
    return len(touched)


def _sources(worktree: Worktree, objects: Objects, seen: Mapping[str, Mapping[str, str]]) -> dict[str, Source]:
    """Every blob that is not a manifest already."""
    first: dict[str, tuple[str, str]] = {}
    for path, blobs in seen.items():
        for blob, commit in blobs.items():
            first.setdefault(blob, (path, commit))
    asked = "".join(f"{blob}\n" for blob in first).encode()
    out = worktree.git("cat-file", "--batch-check=%(objectname) %(objectsize)", data=asked) if first else b""
    found: dict[str, Source] = {}
    for line in out.decode().splitlines():
        blob, _, size = line.partition(" ")
        if not size.isdecimal():
            raise RequestError(f"blob {blob[:12]} is not in this repository", hint="see: git fsck")
        source = _source(worktree, objects, blob, int(size), *first[blob])
        if source:
            found[blob] = source
    return found


def _source(worktree: Worktree, objects: Objects, blob: str, size: int, path: str, commit: str) -> Source | None:
    head = objects.read(blob) if size <= git_theta.HEAD else _head(worktree, blob)
    if looks_like_manifest(memoryview(head)):
        return None
    try:
        pointer = pointers.parse(head) if size < pointers.LONGEST else None
    except RequestError as error:
        raise RequestError(f"{shown(path)} of commit {commit[:12]}: {error.message}", hint=error.hint) from None
    if pointer:
        return Source("lfs", blob, {pointer.oid: pointer.size}, pointer.size, path, commit)
    named = git_theta.metadata(objects.read(blob)) if git_theta.is_likely(head) else None
    if named:
        needed = git_theta.objects(named)
        return Source("git-theta", blob, needed, sum(needed.values()), path, commit)
    return Source("git", blob, {}, size, path, commit)


def _head(worktree: Worktree, blob: str) -> bytes:
    """How a large blob begins; the rest of it is not even written by Git."""
    with subprocess.Popen(
        ["git", "cat-file", "blob", blob], cwd=worktree.top, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        head = process.stdout.read(git_theta.HEAD) if process.stdout else b""
        process.kill()
    return head


def _is_above(path: str, files: set[str]) -> bool:
    folder = path.removesuffix(lines.FILE)
    return any(file.startswith(folder) for file in files)
