"""The two roads between a work tree and Git: a file to the text of its manifest, and that text to a file.

Filter and commands both take them. Both fill the cache, so that whoever comes next by the same content is answered at
once.
"""

from __future__ import annotations

import mmap
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from theta_jupyter.checkpoints import locate
from theta_jupyter.errors import ManifestError, MissingObjectError, ThetaError, TransferError
from theta_jupyter.git.entries import note
from theta_jupyter.git.install import ensure_hooks
from theta_jupyter.git.known import remember
from theta_jupyter.git.transfer import fetch_missing
from theta_jupyter.storage import snapshot
from theta_jupyter.storage.digest import hashed
from theta_jupyter.storage.manifest import Manifest, dump, looks_like_manifest, parse
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.storage.snapshot import owners_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from theta_jupyter.git.known import Known
    from theta_jupyter.git.worktree import Worktree

__all__ = ["at_hand", "lay", "mapped", "materialise", "rebuild", "store"]

_PAST = 2_000_000_000
"""Nanoseconds by which a file that is checked out is dated back."""
_FUTURE = re.compile(rb"theta manifest (?!1\n)[0-9]+\n")


def store(worktree: Worktree, known: Known, data: memoryview, digest: str, progress: Progress = silent) -> bytes:
    """Store a file and return the text of its manifest; a manifest is its own, as is what smudge left as it was.

    Parameters
    ----------
    digest
        BLAKE3 of the data.

    Raises
    ------
    ManifestError
        If it is a manifest with conflict markers.
    ThetaError
        If it cannot be stored, or somebody wrote to it meanwhile.
    """
    if looks_like_manifest(data):
        text = bytes(data)
        if _passes(text, known):
            return text
    manifest = snapshot.take(data, known, worktree.store, progress)
    if hashed(data) != digest:
        # Remembered, this manifest would come back for content that it is not of.
        raise ThetaError("the file was changed while it was being stored", hint="add it again when it is complete")
    text = known.text_of(manifest) or dump(manifest)
    remember(worktree, digest, manifest, text, known.texts)
    # Objects that are here must be pushed with the commits that name them, however the filter came to be configured.
    ensure_hooks(worktree)
    return text


def rebuild(worktree: Worktree, text: bytes, progress: Progress = silent) -> Path:
    """Write the file of a manifest to a temporary file, checked; objects that are missing are fetched.

    Raises
    ------
    ThetaError
        If it cannot be done; nothing is left behind.
    """
    manifest = parse(text)
    missing = worktree.store.missing(manifest.places())
    if missing:
        try:
            fetch_missing(worktree, [manifest])
        except TransferError as error:
            raise MissingObjectError(next(iter(missing)), error.message, hint=error.hint) from error
    path = worktree.store.temporary()
    try:
        with path.open("w+b") as file:
            _reserve(file.fileno(), manifest.header.size)
            if manifest.header.size:
                _fill(manifest, worktree, file.fileno(), text, progress)
            else:
                snapshot.restore(manifest, worktree.store, memoryview(bytearray()), progress)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"cannot write a file of {manifest.header.size} bytes: {error.strerror}"
            raise ThetaError(message, hint="free some space and check it out again") from error
        raise
    return path


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """See a file as memory, without reading it."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            yield memoryview(b"")
            return
        area = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        # Not closed: arrays may still look at it. It goes with the last of them.
        yield memoryview(area)


@contextmanager
def at_hand(worktree: Worktree, files: Iterable[tuple[str, Manifest]]) -> Iterator[None]:
    """Read tensors from files of the work tree where they are there, and keep what is made, to write it into others.

    Parameters
    ----------
    files
        Paths from the top, and manifests of what may lie there; a file that is something else does no harm.
    """
    with worktree.nearby.open(worktree.store.temporary):
        for name, manifest in files:
            path = worktree.top / name
            if path.is_symlink() or not path.is_file():
                continue
            with mapped(path) as data:
                layout, _ = locate(data)
            places = {view.name: span for view, span in zip(owners_of(layout), layout.storages, strict=True)}
            spans = {
                record.blake3: (places[tensor].start, places[tensor].size)
                for tensor, record in manifest.records.items()
                if tensor in places and record.nodes
            }
            worktree.nearby.offer(path, spans)
        yield


def _fill(manifest: Manifest, worktree: Worktree, descriptor: int, text: bytes, progress: Progress) -> None:
    area = mmap.mmap(descriptor, manifest.header.size)
    try:
        with memoryview(area) as view:
            snapshot.restore(manifest, worktree.store, view, progress)
            digest = hashed(view)
    finally:
        # Whatever stopped it may still look at it; then it goes with the last of them.
        with suppress(BufferError):
            area.close()
    remember(worktree, digest, manifest, text)


def _reserve(descriptor: int, size: int) -> None:
    """Take the room first: writing to memory that has no disk behind it kills the process."""
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _passes(text: bytes, known: Known) -> bool:
    """Whether clean leaves a text that begins as a manifest as it is."""
    try:
        parse(text)
    except ManifestError as error:
        if "conflict markers" in error.message:
            raise
        # Of a version to come; or a damaged one that smudge has passed on, which must not come back as something else.
        return _FUTURE.match(text) is not None or text in known.texts
    return True


def lay(worktree: Worktree, name: str, text: bytes, progress: Progress = silent) -> os.stat_result | None:
    """Put the file of a manifest into the work tree; written by Git, all of it would be held in memory.

    Returns
    -------
    os.stat_result or None
        What the file system says of it, for the index; None if somebody has written to it since.

    Raises
    ------
    ThetaError
        If its weights are neither here nor on any remote.
    """
    path = worktree.top / name
    rebuilt = rebuild(worktree, text, progress)
    try:
        present = path.is_file() and not path.is_symlink()
        # As Git gives a new file its permissions: what the user's mask leaves.
        mask = os.umask(0)
        os.umask(mask)
        rebuilt.chmod(path.stat().st_mode & 0o777 if present else 0o666 & ~mask)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A little in the past: a file that is no older than the index is looked at again and again.
        written = rebuilt.stat()
        os.utime(rebuilt, ns=(written.st_atime_ns, written.st_mtime_ns - _PAST))
        before = rebuilt.stat()
        os.replace(rebuilt, path)  # noqa: PTH105 - whatever is there, also a link
        after = path.stat()
        return after if _is_same(before, after) else None
    finally:
        rebuilt.unlink(missing_ok=True)


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody has written to a file."""
    return all(
        getattr(before, field) == getattr(after, field) for field in ("st_mtime_ns", "st_size", "st_ino", "st_dev")
    )


def materialise(worktree: Worktree, names: Iterable[str], progress: Progress = silent) -> list[str]:
    """Replace manifests that lie in the work tree by the files they stand for; return which.

    Of a file in conflict, that is the one that a merge has left there.

    Raises
    ------
    ThetaError
        If the weights of one are neither here nor on any remote.
    """
    mended = []
    index = worktree.index()
    laid: dict[str, tuple[str, os.stat_result]] = {}
    unsure: list[str] = []
    for name in names:
        path = worktree.top / name
        if path.is_symlink() or not path.is_file() or name not in index:
            continue
        with path.open("rb") as file:
            text = file.read() if looks_like_manifest(file.peek(64)) else b""
        if not text or (0 in index[name] and text != worktree.blobs([index[name][0]])[0]):
            continue
        try:
            stat = lay(worktree, name, text, progress)
        except ManifestError:
            if 0 in index[name]:
                raise
            continue  # In conflict, and merged as text: there is nothing that it stands for.
        if 0 in index[name]:
            if stat is None:
                unsure.append(name)
            else:
                laid[name] = index[name][0], stat
        mended.append(name)
    unsure += note(worktree, laid) if laid else []
    if unsure:
        worktree.git("add", "--", *unsure)
    return mended
