"""Files that take the place of others: made under a name of their own, synced, and renamed; whole, or as it was.

The name says which process made it, so that what a killed one leaves can be told from what another is at work on.
Process ids mean something on one machine, since its last start, in one container: the name begins with that.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNED", "abandoned", "beside", "is_beside", "machine", "replacing", "signed", "sync"]

SIGNED = r"(?P<machine>.+)\.(?P<pid>[0-9]+)\.[0-9a-f]{16}"
"""How :func:`signed` writes a name."""
_SIGNED = re.compile(SIGNED)
_PATIENCE = 3600.0
"""Seconds after which one that cannot be asked is taken for gone."""
_BESIDE = re.compile(rf"\.theta-({SIGNED})(\.[^.]*)?")


@functools.cache
def machine() -> str:
    """Where process ids mean what they mean here: a machine, since its last start, in this container."""
    name = socket.gethostname()
    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path
    except OSError:
        return name
    return f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def signed() -> str:
    """A new name, by which others can tell whether this process is still there."""
    return f"{machine()}.{os.getpid()}.{secrets.token_hex(8)}"


def abandoned(name: str, since: float) -> bool:
    """Whether the process that signed a name is gone.

    Parameters
    ----------
    since
        When it last did something under that name, in seconds since 1970. One that cannot be asked, because it ran
        before this machine was started, or runs in another container of it, is taken for gone after an hour.
    """
    match = _SIGNED.fullmatch(name)
    if match is None:
        return False
    if match["machine"] == machine():
        return not _alive(int(match["pid"]))
    return match["machine"].startswith(f"{socket.gethostname()}-") and time.time() - since > _PATIENCE


def is_beside(name: str) -> bool:
    """Whether a file, by its name, is one that is being made beside its place."""
    return _BESIDE.fullmatch(name) is not None


def beside(path: Path) -> Path:
    """Name a file that does not exist, in the same folder; what killed processes have left there is removed."""
    for other in path.parent.glob(".theta-*"):
        match = _BESIDE.fullmatch(other.name)
        with contextlib.suppress(OSError):
            if match and abandoned(match[1], other.stat().st_mtime):
                other.unlink()
    return path.with_name(f".theta-{signed()}{path.suffix}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a file beside ``path`` that is to be written inside; at the end it is synced, and takes that place.

    It has the permissions of the one it replaces, or those of any new file.
    """
    temporary = beside(path)
    try:
        temporary.touch(exist_ok=False)
        mode = (path if path.is_file() and not path.is_symlink() else temporary).stat().st_mode & 0o7777
        yield temporary
        sync(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk take what was written to a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # There is no harmless signal to ask with; age decides.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
