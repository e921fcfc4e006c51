"""The two roads between a work tree and Git: a file to the text of its manifest, and that text to a file.

Filter and commands both take them. Both fill the cache, so that whoever comes next by the same content is answered at
once.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import shutil
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from theta_jupyter.checkpoints import locate
from theta_jupyter.errors import GitError, KeptError, ManifestError, MissingObjectError, ThetaError, TransferError, mend
from theta_jupyter.git.entries import note
from theta_jupyter.git.install import ensure_hooks
from theta_jupyter.git.known import remember
from theta_jupyter.git.transfer import fetch_missing
from theta_jupyter.git.worktree import shown
from theta_jupyter.storage import snapshot
from theta_jupyter.storage.beside import beside, sync
from theta_jupyter.storage.digest import hashed
from theta_jupyter.storage.manifest import Manifest, dump, looks_like_manifest, parse
from theta_jupyter.storage.mapped import hold
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.storage.snapshot import owners_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from theta_jupyter.git.known import Known
    from theta_jupyter.git.worktree import Worktree

__all__ = ["at_hand", "is_still", "lay", "lying", "materialise", "rebuild", "stat_of", "store", "why"]

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


def lying(worktree: Worktree, name: str) -> bytes | None:
    """The text of a manifest that lies in the place of a file; empty if something else does, None if no file does."""
    path = worktree.top / name
    if path.is_symlink() or not path.is_file() or worktree.is_beyond_link(name):
        return None
    try:
        with path.open("rb") as file:
            return file.read() if looks_like_manifest(file.peek(64)) else b""
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None  # Gone since: somebody else is at work.


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
            raise ThetaError(message, hint=mend(error, "bring it: git theta checkout -- PATH")) from error
        raise
    return path


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
            try:
                with hold(path) as held, ExitStack() as stack:
                    if held.may_change:
                        continue
                    layout, _ = locate(held.view(stack))
            except FileNotFoundError:
                continue  # Gone since: somebody else is at work.
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


def lay(
    worktree: Worktree, name: str, text: bytes, found: os.stat_result | None, progress: Progress = silent
) -> os.stat_result | None:
    """Put the file of a manifest into the work tree; written by Git, all of it would be held in memory.

    Parameters
    ----------
    found
        What lay there, by :func:`stat_of`, before it was decided that it may go.

    Returns
    -------
    os.stat_result or None
        What the file system says of it, for the index; None if somebody has written to it since.

    Raises
    ------
    ThetaError
        If its weights are neither here nor on any remote.
    KeptError
        If somebody has written to what lies there since: it stays.
    """
    path = worktree.top / name
    if worktree.is_beyond_link(name):
        hint = "remove the link, and check it out again"
        raise ThetaError(f"cannot write {shown(name)}: a folder on the way to it is a link", hint=hint)
    made = rebuild(worktree, text, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _placed(made, path, found, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        # A linked work tree may be on another disk than Git's folder.
        near = beside(path)
        try:
            shutil.copy(made, near)
            return _placed(near, path, found, name)
        finally:
            near.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot write {shown(name)}: {error.strerror or error}"
        raise ThetaError(message, hint=mend(error, f"bring it: git theta checkout -- {shown(name)}")) from error
    finally:
        made.unlink(missing_ok=True)


def _placed(made: Path, path: Path, found: os.stat_result | None, name: str) -> os.stat_result | None:
    """Let a file take its place, if there still is what was found there."""
    # The index will say that it is what it should be; after a power cut, too.
    sync(made)
    if found and stat.S_ISREG(found.st_mode):
        made.chmod(found.st_mode & 0o777)
    # A little in the past: a file that is no older than the index is looked at again and again.
    written = made.stat()
    os.utime(made, ns=(written.st_atime_ns, written.st_mtime_ns - _PAST))
    before = made.stat()
    if not is_still(found, path):
        hint = f"commit it, or take the other version with: git theta checkout -- {shown(name)}"
        raise KeptError(name, f"{shown(name)} was written to meanwhile, and is kept as it is", hint=hint)
    os.replace(made, path)  # noqa: PTH105 - whatever is there, also a link
    after = path.stat()
    return after if _is_same(before, after) else None


def stat_of(path: Path) -> os.stat_result | None:
    """What lies there, a link taken for itself; None if nothing does."""
    with suppress(OSError):
        return path.lstat()
    return None


def is_still(found: os.stat_result | None, path: Path) -> bool:
    """Whether what lies there is what :func:`stat_of` found."""
    return _version(found) == _version(stat_of(path))


def _version(found: os.stat_result | None) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found else ()


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody has written to a file."""
    return all(
        getattr(before, field) == getattr(after, field) for field in ("st_mtime_ns", "st_size", "st_ino", "st_dev")
    )


def materialise(
    worktree: Worktree,
    names: Iterable[str],
    progress: Progress = silent,
    failed: dict[str, ThetaError] | None = None,
) -> list[str]:
    """Replace manifests that lie in the work tree by the files they stand for; return which.

    Of a file in conflict, that is the one that a merge has left there; of one with changes that are not staged, the one
    that has them.

    Parameters
    ----------
    failed
        Gets what went wrong with each; without it, the first that went wrong is raised. See :func:`why`.

    Raises
    ------
    ThetaError
        If the weights of one are neither here nor on any remote, or it cannot be written.
    """
    mended = []
    index = worktree.index()
    laid: dict[str, tuple[str, os.stat_result]] = {}
    try:
        for name in names:
            found = stat_of(worktree.top / name)
            text = lying(worktree, name)
            if not text or name not in index:
                continue
            is_staged = 0 in index[name] and text == worktree.blobs([index[name][0]])[0]
            try:
                written = lay(worktree, name, text, found, progress)
            except ThetaError as error:
                if isinstance(error, ManifestError) and not is_staged:
                    continue  # In conflict, and merged as text, or written by hand: there is nothing it stands for.
                if failed is None:
                    raise
                failed[name] = error
                continue
            # Whoever has written to it since has changed it.
            if is_staged and written is not None:
                laid[name] = index[name][0], written
            mended.append(name)
    finally:  # Also at an interruption: Git need not read again what is done.
        unsure = note(worktree, laid) if laid else []
        _noted(worktree, unsure)
    return mended


def _noted(worktree: Worktree, names: Sequence[str]) -> None:
    """Let Git look at files itself, and note those that are as they should be; nothing is staged.

    Raises
    ------
    GitError
        If Git cannot write its index.
    """
    if not names:
        return
    modes, index = worktree.modes(names), worktree.index()
    # Git knows the size of the manifest that it wrote, and takes a file of another for changed. Anew, it knows none.
    lines = [os.fsencode(f"{modes[name]} {index[name][0]}\t{name}\0") for name in names if name in modes]
    try:
        worktree.git("update-index", "-z", "--index-info", data=b"".join(lines))
        worktree.git("add", "--refresh", "--", *names)
    except GitError as error:
        hint = "the files are in place; for Git to know, later: git theta checkout -- PATH"
        raise GitError(error.message, hint=hint) from None


def why(name: str, error: ThetaError) -> str:
    """Say why a file was not put in the place of its manifest."""
    reason = error.message.splitlines()[0]
    if isinstance(error, KeptError):
        return reason
    hint = f" ({error.hint})" if error.hint else ""
    return f"{shown(name)} stays a manifest, its weights are not here: {reason}{hint}"
