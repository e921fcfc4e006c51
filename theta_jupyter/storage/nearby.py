"""Tensors that lie whole in a file at hand, so that they need not be rebuilt from what is stored.

A merge reads the file that is checked out, makes tensors, and writes them into a file again: each of them was, or will
be, in memory as it is. So as long as it lasts, the files of the work tree are open to be read from, what is made is
kept in a file that nobody sees, and each thread remembers the last base it has decoded, and the last two tensors.
Nothing found in a file is trusted: bytes are those of a tensor if they have its hash.

Files are read, not mapped, because whoever cuts a mapped file short kills the process that looks at it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from theta_jupyter.storage.manifest import Place

__all__ = ["Nearby"]


class _Piece(NamedTuple):
    """Where the bytes of a tensor may lie."""

    descriptor: int
    start: int
    size: int


class Nearby:
    """What lies at hand, in one work tree; nothing until it is opened."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users = 0
        self._pieces: dict[str, _Piece] = {}
        self._files: list[int] = []
        self._scratch: int | None = None
        self._end = 0
        self._last = threading.local()

    @contextlib.contextmanager
    def open(self, scratch: Callable[[], Path]) -> Iterator[None]:
        """Keep and remember, until the last who opened it leaves.

        Parameters
        ----------
        scratch
            Names a new file for what is kept; it is taken out of its folder as soon as it is there.
        """
        with self._lock:
            self._users += 1
            if self._users == 1:
                # No room for it, or no right to write there: then all is rebuilt from what is stored.
                with contextlib.suppress(OSError):
                    path = scratch()
                    self._scratch = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                    self._files.append(self._scratch)
                    path.unlink()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._close()

    def offer(self, path: Path, spans: Mapping[str, tuple[int, int]]) -> None:
        """Read tensors from a file, from now on.

        Parameters
        ----------
        spans
            Where each should lie, by its BLAKE3: its first byte, and how many there are.
        """
        with self._lock, contextlib.suppress(OSError):
            if self._users:
                descriptor = os.open(path, os.O_RDONLY)
                self._files.append(descriptor)
                for digest, (start, size) in spans.items():
                    self._pieces.setdefault(digest, _Piece(descriptor, start, size))

    def keep(self, digest: str, data: memoryview) -> None:
        """Keep a tensor that was made; what there is no room for is not kept."""
        with self._lock:
            if self._scratch is None or digest in self._pieces:
                return
            descriptor, start = self._scratch, self._end
            self._end += len(data)
        try:
            written = os.pwrite(descriptor, data, start)
        except OSError:
            return
        if written == len(data):
            with self._lock:
                self._pieces.setdefault(digest, _Piece(descriptor, start, len(data)))

    def note(self, digest: str, data: memoryview) -> None:
        """Remember a tensor that this thread has rebuilt, until it has rebuilt two more; it must not be written to."""
        if self._users:
            self._last.tensors = (*getattr(self._last, "tensors", ())[-1:], (digest, data))

    def get(self, digest: str, size: int, out: memoryview | None = None) -> memoryview | None:
        """The bytes that have a hash, if they lie here.

        Parameters
        ----------
        out
            Where to put them; it may hold rubbish if they do not.
        """
        for noted, data in getattr(self._last, "tensors", ()):
            if noted == digest and len(data) == size:
                if out is None:
                    return cast("memoryview", data)
                out[:] = data
                return out
        with self._lock:
            piece = self._pieces.get(digest)
        if piece is None or piece.size != size:
            return None
        from blake3 import blake3

        found = memoryview(bytearray(size)) if out is None else out
        try:
            read = 0
            while read < size:
                more = os.preadv(piece.descriptor, [found[read:]], piece.start + read)
                if not more:
                    return None
                read += more
        except OSError:
            return None
        return found if blake3(found).hexdigest() == digest else None

    def base(self, place: Place, decode: Callable[[], memoryview]) -> memoryview:
        """Decode a node that rests on nothing; if it is the one that this thread decoded last, it is there already.

        What is returned must not be written to.
        """
        if not self._users:
            return decode()
        last = getattr(self._last, "node", None)
        if last is None or last[0] != place:
            self._last.node = last = None  # Not two at once.
            self._last.node = last = (place, decode())
        found: memoryview = last[1]
        return found

    def _close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._pieces, self._files, self._scratch, self._end = {}, [], None, 0
        self._last = threading.local()
