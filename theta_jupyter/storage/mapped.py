"""A file seen as memory, without reading it; and what may go wrong with that.

Memory of a file that somebody cuts off kills the process that looks at it, and a trainer that saves begins with cutting
off. Linux lets us ask that whoever would write to a file of one's own waits until we have done, for
``/proc/sys/fs/lease-break-time``, 45 seconds, at most (``F_SETLEASE``, fcntl(2)). Who writes already cannot be made to
wait: then a copy is looked at. Systems and file systems that know no leases go without.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from theta_jupyter.errors import ThetaError
from theta_jupyter.storage.digest import hashed

try:
    import fcntl
except ImportError:  # Windows has none, and lets nobody cut off a file that is mapped.
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Held", "hold", "mapped"]

_PAUSE, _STILL = 0.02, 1.0
"""Seconds between two looks at a file that is written to; and of silence after which nobody is taken to write any more,
though it is open for that."""
_ENOUGH = 30.0
"""Seconds after which whoever waits for us has waited long enough: in some more the system would let him go on."""
_PIECE, _SPARE = 1 << 20, 256 << 20
"""Bytes that are read at once; and that are left free on a disk to which a file is copied."""


class Held:
    """An open file that stays as it is, as far as that can be had.

    Parameters
    ----------
    file
        Opened for reading, in binary.
    patience
        Seconds to wait for whoever is writing to it.

    Attributes
    ----------
    may_change
        Whether somebody may be writing to it.
    """

    def __init__(self, file: BinaryIO, patience: float = 0.0) -> None:
        self.file = file
        self._is_leased, self._since = False, 0.0
        self.may_change = not self._leased(patience)

    @property
    def size(self) -> int:
        """Bytes it has now."""
        return os.fstat(self.file.fileno()).st_size

    def digest(self) -> str:
        """Its BLAKE3, without a copy."""
        if not self.may_change:
            with memoryview(self._map(self.file)) as view:
                return hashed(view)
        # Imported here: most who hold a file need not.
        from blake3 import blake3

        hasher = blake3()
        self.file.seek(0)
        while piece := self.file.read(_PIECE):
            hasher.update(piece)
        return hasher.hexdigest()

    def view(self, stack: ExitStack) -> memoryview:
        """See it as memory: the file itself, or a copy that goes with the stack."""
        return memoryview(self._map(self._copied(stack) if self.may_change else self.file))

    def check(self, *_: object) -> None:
        """Give up if somebody has waited for long to write to it; to be called now and then.

        Raises
        ------
        ThetaError
            If so.
        """
        # What it is about to become: nothing, once somebody waits.
        if self._is_leased and fcntl.fcntl(self.file.fileno(), fcntl.F_GETLEASE) == fcntl.F_UNLCK:
            self._since = self._since or time.monotonic()
            if time.monotonic() - self._since > _ENOUGH:
                hint = "do it again when it has been written"
                raise ThetaError("somebody has waited for long to write to the file, and is let through", hint=hint)

    def release(self) -> None:
        """Let whoever waits go on."""
        if self._is_leased:
            # To close the file would not do: what is mapped has it open, too.
            with suppress(OSError):
                fcntl.fcntl(self.file.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def _leased(self, patience: float) -> bool:
        """Try to have whoever would write to the file wait; False if somebody is writing."""
        if not hasattr(fcntl, "F_SETLEASE"):
            return True
        if "torch" in sys.modules and threading.current_thread() is not threading.main_thread():
            # It opens a file to save with all other threads of this process stopped, also the one it waits for. While
            # the main thread is here, it does not save.
            return False
        begin = still = time.monotonic()
        version = self._version()
        while True:
            try:
                # The signal that says somebody waits: one that is ignored where nobody has said otherwise.
                fcntl.fcntl(self.file.fileno(), fcntl.F_SETSIG, signal.SIGURG)
                fcntl.fcntl(self.file.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
            except BlockingIOError:
                now = time.monotonic()
                if self._version() != version:
                    version, still = self._version(), now
                if now - begin >= patience or now - still >= _STILL:
                    return False
                time.sleep(_PAUSE)
            except OSError:
                return True  # Not of one's own, or there are none here.
            else:
                self._is_leased = True
                return True

    def _version(self) -> tuple[int, int]:
        found = os.fstat(self.file.fileno())
        return found.st_size, found.st_mtime_ns

    def _copied(self, stack: ExitStack) -> BinaryIO:
        """A copy without a name; where there is no room for one, the file itself."""
        # Imported here: rarely needed, and every filter that Git starts comes by.
        import shutil
        import tempfile

        for folder in (Path(tempfile.gettempdir()), Path(self.file.name).parent):
            with suppress(OSError):
                if shutil.disk_usage(folder).free > self.size + _SPARE:
                    copy = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - goes with the stack
                    self.file.seek(0)
                    shutil.copyfileobj(self.file, copy, _PIECE)
                    copy.flush()
                    return copy
        return self.file

    def _map(self, file: BinaryIO) -> mmap.mmap | bytes:
        # Not closed: arrays may still look at it. It goes with the last of them.
        size = os.fstat(file.fileno()).st_size
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""


@contextmanager
def hold(path: Path, patience: float = 0.0) -> Iterator[Held]:
    """Open a file, and hold it for the length of a block."""
    with path.open("rb") as file:
        held = Held(file, patience)
        try:
            yield held
        finally:
            held.release()


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """See a file as memory, without reading it."""
    with ExitStack() as stack:
        yield stack.enter_context(hold(path)).view(stack)
