"""What the index remembers of a file, set without having Git read the file.

Git takes a file for unchanged if time, size and place are those it has noted beside the entry. To note them it wants to
read the file, through the filter: seconds for gigabytes that were written, or stored, a moment ago by ourselves. So the
36 bytes of each entry are put in place here, under Git's own lock, and nothing else in the index is touched: every
extension stays as it is. Where an index is of a kind that is not known, Git is asked to read.

The format is in Git's ``Documentation/gitformat-index.txt``; versions 2, 3 and 4 are known.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.storage.beside import abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from theta_jupyter.git.worktree import Worktree

__all__ = ["note", "unlock"]

_STAT, _BEFORE_MODE, _MODE = struct.Struct(">10I"), 24, 4
_LINK = b"link"
_NAME = 1024
"""Bytes of a lock of ours, at most."""
_PATIENCE, _PAUSE = 1.0, 0.02
"""Seconds to wait for whoever has the lock, and between two looks."""


class _Entry(NamedTuple):
    """An entry of the index: where it begins, and what it says."""

    start: int
    blob: str
    name: bytes
    stage: int


class _UnknownError(ValueError):
    """An index of a kind that is not known."""


def note(worktree: Worktree, files: Mapping[str, tuple[str, os.stat_result]]) -> list[str]:
    """Note files as unchanged.

    Parameters
    ----------
    files
        By path from the top: the blob whose file it is, and what the file system says of it. The caller has made sure
        that nobody has written to the file since it was, or became, what the blob stands for.

    Returns
    -------
    list of str
        Paths that could not be noted: Git has to look at them.
    """
    try:
        folder = worktree.git("rev-parse", "--git-path", "index").decode().rstrip("\n")
        path = worktree.top / folder
        digest = worktree.git("rev-parse", "--show-object-format").decode().strip()
        # Whoever holds the lock may be about to change what is read here.
        with _locked(worktree, path):
            data = bytearray(path.read_bytes())
            left = _patch(data, hashlib.new(digest).digest_size, digest, files)
            fresh = worktree.store.temporary()
            try:
                with fresh.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                fresh.chmod(path.stat().st_mode & 0o777)
                fresh.replace(path)
            finally:
                fresh.unlink(missing_ok=True)
            return left
    except (OSError, ValueError, IndexError, struct.error):
        return list(files)


def unlock(worktree: Worktree) -> None:
    """Remove the lock that a process of ours left when it was killed; anybody else's stays."""
    lock = worktree.git_dir / "index.lock"
    with contextlib.suppress(OSError):
        if not _is_abandoned(lock):
            return
        # Between the look and this, another may have removed it, and somebody else have taken the lock.
        taken = worktree.store.temporary()
        lock.rename(taken)
        try:
            if not _is_abandoned(taken):
                os.link(taken, lock)
        finally:
            taken.unlink()


def _is_abandoned(lock: Path) -> bool:
    found = lock.stat()
    return found.st_size < _NAME and abandoned(lock.read_text(errors="replace"), found.st_mtime)


@contextlib.contextmanager
def _locked(worktree: Worktree, path: Path) -> Iterator[None]:
    """Hold Git's lock; it says who holds it, so that the lock of somebody who was killed can be told."""
    lock = Path(f"{path}.lock")
    name = worktree.store.temporary()
    name.write_text(name.name)
    until = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                os.link(name, lock)
                break
            except FileExistsError:
                # Editors look at the index all the time.
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
    finally:
        name.unlink()
    try:
        yield
    finally:  # Also at an interruption: a lock that is left would stop Git itself.
        with contextlib.suppress(OSError):
            lock.unlink()


def _patch(data: bytearray, width: int, digest: str, files: Mapping[str, tuple[str, os.stat_result]]) -> list[str]:
    end = len(data) - width
    # All zeros where Git was told to spare itself the checksum (index.skipHash).
    plain = any(data[end:])
    if plain and hashlib.new(digest, data[:end]).digest() != data[end:]:
        raise _UnknownError("the index is damaged")
    wanted = {os.fsencode(name): name for name in files}
    for entry in _entries(data, width, end):
        name = wanted.get(entry.name)
        if name is None or entry.stage or entry.blob != files[name][0]:
            continue
        stat = files[name][1]
        numbers = [
            *divmod(stat.st_ctime_ns, 1_000_000_000),
            *divmod(stat.st_mtime_ns, 1_000_000_000),
            *(stat.st_dev, stat.st_ino, 0, stat.st_uid, stat.st_gid, stat.st_size),
        ]
        packed = _STAT.pack(*(number & 0xFFFFFFFF for number in numbers))
        at = entry.start
        data[at : at + _BEFORE_MODE] = packed[:_BEFORE_MODE]
        after = _BEFORE_MODE + _MODE
        data[at + after : at + _STAT.size] = packed[after:]
        del wanted[entry.name]
    if plain:
        data[end:] = hashlib.new(digest, data[:end]).digest()
    return list(wanted.values())


def _entries(data: bytearray, width: int, end: int) -> Iterator[_Entry]:
    """Every entry, in order."""
    signature, version, count = struct.unpack_from(">4sII", data)
    if signature != b"DIRC" or version not in {2, 3, 4}:
        raise _UnknownError(f"an index of version {version}")
    position, previous, found = 12, b"", []
    for _ in range(count):
        start = position
        position += _STAT.size + width
        (flags,) = struct.unpack_from(">H", data, position)
        position += 4 if flags & 0x4000 else 2
        strip = 0
        if version == 4:
            strip, position = _number(data, position)
        stop = data.index(b"\0", position, end)
        name = (
            previous[: len(previous) - strip] + bytes(data[position:stop])
            if version == 4
            else bytes(data[position:stop])
        )
        position = stop + 1 if version == 4 else start + ((stop - start + 8) & ~7)
        blob = bytes(data[start + _STAT.size : start + _STAT.size + width]).hex()
        found.append(_Entry(start, blob, name, flags >> 12 & 3))
        previous = name
    while position < end:
        kind, size = struct.unpack_from(">4sI", data, position)
        if kind == _LINK:
            raise _UnknownError("a split index")
        position += 8 + size
    return iter(found)


def _number(data: bytearray, position: int) -> tuple[int, int]:
    """A number as Git writes offsets, and where it ends."""
    value = data[position] & 0x7F
    while data[position] & 0x80:
        position += 1
        value = (value + 1) << 7 | data[position] & 0x7F
    return value, position + 1
