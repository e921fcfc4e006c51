"""Objects to and from remotes: which of them have to travel, and where from. :mod:`theta_jupyter.git.lfs` carries them.

A push sends what the pushed commits need and the other side is not known to have. Whatever reads fetches just what it
reads, from the likeliest remote that has it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from theta_jupyter.errors import GitError, ManifestError, MissingObjectError, TransferError
from theta_jupyter.git import lfs
from theta_jupyter.git.worktree import Worktree, elsewhere
from theta_jupyter.storage.manifest import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from theta_jupyter.storage.manifest import Manifest
    from theta_jupyter.storage.objects import ObjectStore

__all__ = [
    "OFFER_ALL",
    "POINTERS",
    "PUBLISH",
    "fetch",
    "fetch_missing",
    "fetch_objects",
    "has_lfs",
    "heads",
    "objects_between",
    "one_of",
    "publish",
    "push",
    "remotes",
]

OFFER_ALL = "THETA_OFFER_ALL"
"""Set in the environment, it has the pre-push hook offer also what the other side should have already."""
POINTERS = "refs/theta/pointers"
"""A ref, in a remote, whose files are LFS pointers to all objects that were pushed there."""
PUBLISH = "theta.publishPointers"
"""Configuration that has a push write it."""
_TRIES = 5
_SPECIAL = frozenset("#?%")
"""What means something in a URL, and nothing in a path."""
_EDGE = 16
"""Commits the other side has that are looked into for what it need not be sent."""


def push(worktree: Worktree, remote: str, objects: Mapping[str, int]) -> None:
    """Send objects; the remote says which it has already.

    Parameters
    ----------
    remote
        A remote's name or its URL.
    objects
        Size by id.

    Raises
    ------
    TransferError
        If git-lfs is not there, or fails.
    """
    # A clone has only what it was asked for. What is not here may be there, where it came from, or at another remote.
    missing = worktree.store.missing(objects)
    if missing and not _has(worktree, remote, missing):
        fetch_objects(worktree, missing)
        missing = {}
    here = [name for name in objects if name not in missing]
    if here:
        _freshen(worktree, remote, here)
        lfs.push_objects(worktree, _for_lfs(worktree, remote, push=True), {name: objects[name] for name in here})


def publish(worktree: Worktree, remote: str, objects: Mapping[str, int]) -> None:
    """Name objects in a ref of the remote, :data:`POINTERS`, as files of Git LFS are named by a branch.

    Objects of LFS that no ref names are nothing to a mirror, and to some servers rubbish. The ref only grows; of two
    who push at once, one looks again at what the other has written.

    Raises
    ------
    TransferError
        If the remote does not take it.
    """
    if not objects:
        return
    reason = ""
    for _ in range(_TRIES):
        tip = worktree.git("ls-remote", "--refs", "--", remote, POINTERS).decode().partition("\t")[0]
        named: list[str] = []
        if tip:
            worktree.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", remote, POINTERS)
            named = worktree.git("ls-tree", tip).decode().splitlines()
            if objects.keys() <= {line.rpartition("\t")[2] for line in named}:
                return
        commit = lfs.pointer_commit(worktree, objects, named, [tip] if tip else [])
        lease = f"--force-with-lease={POINTERS}:{tip}"
        try:
            worktree.git("push", "--quiet", "--no-verify", lease, "--", remote, f"{commit}:{POINTERS}")
        except GitError as error:
            reason = error.message
        else:
            return
    raise TransferError(f"{remote} does not take {POINTERS}: {reason}", hint=f"do without: git config {PUBLISH} false")


def fetch(worktree: Worktree, remote: str, objects: Mapping[str, int]) -> None:
    """Fetch objects, in one batch; each is checked against its id, and a damaged one is removed again.

    Raises
    ------
    TransferError
        If git-lfs is not there or fails, or the remote lacks some of them.
    """
    if not objects:
        return
    lfs.fetch_pointers(worktree, _for_lfs(worktree, remote, push=False), objects)
    store = worktree.store
    damaged = [name for name in objects if not store.sound(name)]
    for path in map(store.path, damaged):
        if os.access(path, os.R_OK):
            path.unlink()
    if damaged:
        raise TransferError(
            f"{remote} does not have {len(damaged)} of {len(objects)} objects, such as {damaged[0][:12]}",
            hint="whoever committed them must push them: git theta push",
        )


def fetch_missing(worktree: Worktree, manifests: Iterable[Manifest]) -> int:
    """Fetch what these manifests need and is not here, from whichever remote has it.

    Returns
    -------
    int
        Bytes fetched.

    Raises
    ------
    TransferError
        If something is still missing; with the last remote's reason.
    """
    needed: dict[str, int] = {}
    for manifest in manifests:
        needed |= manifest.places()
    return fetch_objects(worktree, needed)


def fetch_objects(worktree: Worktree, objects: Mapping[str, int]) -> int:
    """Fetch those of these objects that are not here, as :func:`fetch_missing` does."""
    missing = worktree.store.missing(objects)
    if not missing:
        return 0
    reason = TransferError(
        f"{len(missing)} objects are not here, and there is no remote to fetch them from",
        hint="add one with: git remote add origin URL",
    )
    fetched = 0
    for remote in remotes(worktree):
        try:
            fetch(worktree, remote, missing)
        except TransferError as error:
            reason = error
        # A remote that lacks some of them may have sent the others.
        left = worktree.store.missing(missing)
        fetched, missing = fetched + sum(missing.values()) - sum(left.values()), left
        if not missing:
            return fetched
    raise reason


def remotes(worktree: Worktree) -> list[str]:
    """Remotes, the likeliest first: the branch's own, then origin, then the others."""
    names = worktree.git("remote").decode().split()
    try:
        # Before the first commit, too: that is where `git checkout` stands in a repository that has only been fetched.
        branch = worktree.git("symbolic-ref", "--quiet", "--short", "HEAD").decode().strip()
    except GitError:
        branch = ""  # Detached.
    own = worktree.config(f"branch.{branch}.remote") if branch else ""
    return sorted(names, key=lambda name: (name != own, name != "origin"))


def one_of(worktree: Worktree, remote: str, url: str) -> str:
    """The URL itself, if a remote has several to push to: LFS, given the remote's name, knows only one of them."""
    if remote not in remotes(worktree):
        return remote
    urls = worktree.git("remote", "get-url", "--push", "--all", remote).decode().splitlines()
    return url if len(urls) > 1 else remote


def has_lfs(worktree: Worktree, remote: str) -> bool:
    """Whether it is said where the LFS of a remote is: then that holds for all its URLs."""
    keys = [f"remote.{remote}.{key}" for key in ("lfspushurl", "lfsurl")]
    return any(worktree.config(key) or worktree.config(key, ".lfsconfig") for key in keys)


def heads(worktree: Worktree, url: str) -> list[str]:
    """Commits of branches and tags over there, those that are here, too; none if it does not answer."""
    try:
        out = worktree.git("ls-remote", "--heads", "--tags", "--refs", "--", url, env={"GIT_TERMINAL_PROMPT": "0"})
    except GitError:
        return []
    return _here(worktree, (line.partition("\t")[0] for line in out.decode(errors="replace").split("\n")[:-1]))


def objects_between(worktree: Worktree, new: Iterable[str], known: Iterable[str]) -> dict[str, int]:
    """Size by id of the objects that the other side needs and is not known to have.

    Parameters
    ----------
    new
        Commits to be pushed.
    known
        Commits the other side says it has. Tracking branches are no such word: the remote may be another by now.
    """
    wanted = [commit for commit in new if commit]
    if not wanted:
        return {}
    spec = "\n".join([*wanted, *(f"^{commit}" for commit in _here(worktree, known)), ""]).encode()
    out = worktree.git("rev-list", "--objects", "--stdin", data=spec)
    checked = worktree.git("cat-file", "--batch-check=%(objectname) %(objecttype) %(rest)", data=out).split(b"\n")
    fields = [line.split(b" ", 2) for line in checked]
    paths = {field[0].decode(): os.fsdecode(field[2]) for field in fields if field[1:2] == [b"blob"]}
    objects: dict[str, int] = {}
    changed: set[str] = set()
    for blob, manifest in _manifests(worktree, list(paths)):
        objects |= manifest.places()
        changed.add(paths[blob])
    if not objects:
        return {}
    # What the last versions that are there already need is there as well; most tensors have not changed since.
    edge = worktree.git("rev-list", "--boundary", "--stdin", data=spec).decode().split()
    commits = [commit[1:] for commit in edge if commit.startswith("-")][:_EDGE]
    there = (
        {blob for commit in commits for blob in worktree.tree(commit, changed - {""}).values()} if changed else set()
    )
    for _, manifest in _manifests(worktree, sorted(there)):
        for name in manifest.places():
            objects.pop(name, None)
    return objects


def _manifests(worktree: Worktree, blobs: list[str]) -> Iterator[tuple[str, Manifest]]:
    """Those blobs that are valid manifests."""
    for blob, text in worktree.manifests(blobs):
        with contextlib.suppress(ManifestError):
            yield blob, parse(text)


def _here(worktree: Worktree, commits: Iterable[str]) -> list[str]:
    """Those commits that are here; of a tag, the commit it is of."""
    asked = "".join(f"{commit}^{{commit}}\n" for commit in commits)
    out = worktree.git("cat-file", "--batch-check=%(objectname) %(objecttype)", data=asked.encode()) if asked else b""
    return [line.split()[0] for line in out.decode().splitlines() if line.endswith(" commit")]


def _store_of(worktree: Worktree, remote: str) -> ObjectStore | None:
    """The objects of a remote that is a folder."""
    url = worktree.git("remote", "get-url", "--push", remote).decode() if remote in remotes(worktree) else remote
    folder = worktree.top / url.strip().removeprefix("file://")
    with contextlib.suppress(GitError):
        if folder.is_dir():
            with elsewhere():
                return Worktree.find(folder, bare=True).store
    return None


def _freshen(worktree: Worktree, remote: str, objects: Iterable[str]) -> None:
    """Spare objects from a collector over there until the commits that need them have arrived.

    To a folder, LFS sends neither what is there nor, where it makes links, the time of now.
    """
    for store in filter(None, (worktree.store, _store_of(worktree, remote))):
        for name in objects:
            with contextlib.suppress(MissingObjectError):
                store.freshen([name])


def _has(worktree: Worktree, remote: str, objects: Mapping[str, int]) -> bool:
    """Ask a remote whether it has objects that are not here."""
    store = _store_of(worktree, remote)
    if store is not None:
        # LFS does not ask a folder.
        objects = store.missing(objects)
    try:
        # LFS asks for objects of a commit before it misses them here.
        if objects:
            lfs.push_pointers(worktree, _for_lfs(worktree, remote, push=True), lfs.pointer_commit(worktree, objects))
    except TransferError:
        return False
    return True


def _for_lfs(worktree: Worktree, remote: str, *, push: bool) -> str:
    """Name a remote so that LFS understands: of repositories given by path it wants a URL, and takes a path for one.

    Raises
    ------
    TransferError
        If it would be taken for an option.
    """
    if remote.startswith("-"):
        raise TransferError(f"{remote!r} cannot be the name of a remote")
    is_named, which = remote in remotes(worktree), ["--push"] if push else []
    url = worktree.git("remote", "get-url", *which, remote).decode().rstrip("\n") if is_named else remote
    folder = worktree.top / url
    if is_named and (not _SPECIAL.intersection(url) or has_lfs(worktree, remote)):
        return remote
    return f"file://{quote(os.fsencode(folder))}" if folder.is_dir() else remote
