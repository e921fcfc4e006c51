"""The content of one file on its way through the filter, never all of it in memory.

What Git sends to ``clean`` is nearly always what lies in the work tree. So it is compared with that file as it arrives,
and only when the two part ways is it kept: in memory while it is small, as manifests are, else in a temporary file.
Either way it is hashed on the fly and can then be seen as one stretch of (mapped) memory.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from typing import TYPE_CHECKING, Self

from blake3 import blake3

from theta_jupyter.storage.mapped import Held

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from theta_jupyter.git.worktree import Worktree

__all__ = ["Content"]

IN_MEMORY = 64 << 20
"""Bytes kept in memory before they go to a temporary file."""


class Content:
    """Bytes of a file, by BLAKE3.

    Parameters
    ----------
    path
        The file in the work tree that probably has them; empty if none.

    Attributes
    ----------
    failure
        Why the content could not be taken in, found when there was no time to say so: Git sends all of it before it
        listens.
    """

    def __init__(self, worktree: Worktree, path: str = "") -> None:
        self.worktree = worktree
        self.digest = ""
        self.view = memoryview(b"")
        self.failure: OSError | None = None
        self._hash = blake3()
        self._size = 0
        self._twin = _open_regular(worktree.top / path) if path else None
        self._apart = self._twin is None
        # What differs from the twin: a temporary file of `_spilled` bytes, then what is in memory.
        self._memory = bytearray()
        self._spool: FileIO | None = None
        self._spooled: Path | None = None
        self._spilled = 0
        self._room = True
        self._map: mmap.mmap | None = None
        self._held: Held | None = None
        self._stack = contextlib.ExitStack()

    @classmethod
    def of(cls, worktree: Worktree, data: bytes | memoryview) -> Content:
        """Content that is in memory already."""
        content = cls(worktree)
        content.view = memoryview(data)
        return content

    @classmethod
    def at(cls, worktree: Worktree, path: Path) -> Content:
        """Content of a temporary file, which is removed at the end."""
        content = cls(worktree)
        content._spooled = path
        with path.open("rb") as file:
            content._see(file, path.stat().st_size)
        return content

    def again(self) -> Content:
        """The same bytes, to be closed apart."""
        return Content.of(self.worktree, self.view)

    def receive(self, packets: Iterable[bytes]) -> None:
        """Take in all packets, and be ready to be looked at, unless there is a :attr:`failure`."""
        for packet in packets:
            self._hash.update(packet)
            if self.failure is None:
                try:
                    self._accept(packet)
                except OSError as error:
                    self.failure = error
            self._size += len(packet)
        self.digest = self._hash.hexdigest()
        if self.failure is None:
            self._settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.view = memoryview(b"")
        if self._held is not None:
            self._held.release()
        self._stack.close()
        if self._map is not None:
            # If somebody still looks at it, it goes with the last of them.
            with contextlib.suppress(BufferError):
                self._map.close()
        for file in (self._spool, self._twin):
            if file is not None:
                file.close()
        if self._spooled is not None:
            self._spooled.unlink(missing_ok=True)

    def _accept(self, packet: bytes) -> None:
        if not self._apart and self._twin is not None:
            if self._twin.read(len(packet)) == packet:
                return
            self._apart = True
            self._twin.seek(0)
            left = self._size
            while left:
                piece = self._twin.read(min(left, 1 << 20))
                if not piece:
                    raise OSError("the file was changed while it was being read; try again")
                self._keep(piece)
                left -= len(piece)
        self._keep(packet)

    def _keep(self, data: bytes) -> None:
        self._memory += data
        if len(self._memory) > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        """Move what is in memory to the disk; if there is no room, it stays, because smudge must not fail."""
        if not self._room:
            return
        try:
            if self._spool is None:
                self._spooled = self.worktree.store.temporary()
                self._spool = self._spooled.open("xb+", buffering=0)
            with memoryview(self._memory) as view:
                done = 0
                while done < len(view):
                    done += self._spool.write(view[done:])
        except OSError:
            self._room = False
        else:
            self._spilled += len(self._memory)
            self._memory.clear()

    def _settle(self) -> None:
        if not self._apart and self._twin is not None:
            self._held = Held(self._twin)
            # What is written to it meanwhile is found out when it has been stored.
            self.view = self._held.view(self._stack)[: self._size]
            return
        if self._spool is not None:
            self._spill()
            if self._room:
                self._see(self._spool, self._spilled)
                return
            self._spool.seek(0)
            self._memory[:0] = self._spool.read(self._spilled)
        self.view = memoryview(self._memory)

    def _see(self, file: BinaryIO | FileIO, size: int) -> None:
        if size:
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
            self.view = memoryview(self._map)


def _open_regular(path: Path) -> BinaryIO | None:
    try:
        file = open(path, "rb", opener=_no_link)  # noqa: SIM115 - whoever asked closes it
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        return None
    return file


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
