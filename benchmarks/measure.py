"""The instruments: a clock, a scale for memory, and a handshake.

*Time* is wall time of the whole command, process start included, after a sync of the disk, so that nobody pays for what
somebody else has left to be written.

*Memory* is the largest sum seen, over all processes that a command has started and that run at that moment, of their
proportional set size: pages of a process count whole if it has them alone, and in parts if it shares them, so that
nothing counts twice. Two figures: all of it, in which pages of mapped files count though the kernel may drop them at
any time; and the anonymous part, which must be there. Taken every few milliseconds, so a shorter peak may be missed,
and in a run of its own, because looking costs time. Only Linux tells; elsewhere there are no figures.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Bystanders", "Memory", "bare_python", "handshake", "machine", "peak", "timed"]

_INTERVAL = 0.004
_ROLLUP = re.compile(r"^(Pss|Pss_Anon): +(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """The most that a tree of processes has held, in bytes.

    Parameters
    ----------
    all
        Pages of mapped files included.
    anonymous
        Without them.
    """

    all: int = 0
    anonymous: int = 0


def timed(action: Callable[[], object]) -> float:
    """Seconds an action takes."""
    os.sync()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak(action: Callable[[], object]) -> Memory:
    """The most memory that processes started by an action have held."""
    here, done, most = psutil.Process(), threading.Event(), Memory()
    # A child that has not begun its program yet still has our words, and our memory.
    own = _words(here.pid)

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            parts = [_memory(child.pid) for child in here.children(recursive=True) if _words(child.pid) != own]
            most = Memory(
                max(most.all, sum(part.all for part in parts)),
                max(most.anonymous, sum(part.anonymous for part in parts)),
            )
            done.wait(_INTERVAL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        action()
    finally:
        done.set()
        watcher.join()
    return most


def handshake(command: str, folder: Path, environment: Mapping[str, str]) -> float:
    """Seconds from the start of a filter process to the last word of its capabilities.

    Parameters
    ----------
    command
        As Git is configured to run it.
    folder
        The work tree.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        shlex.split(command),
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        _say(process.stdin, "git-filter-client", "version=2")
        assert _hear(process.stdout) == ["git-filter-server", "version=2"]
        _say(process.stdin, "capability=clean", "capability=smudge", "capability=delay")
        answer = _hear(process.stdout)
        seconds = time.perf_counter() - start
        assert {"capability=clean", "capability=smudge"} <= set(answer)
        process.stdin.close()
    return seconds


def bare_python() -> float:
    """Seconds that this Python takes to start, do nothing, and leave."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-E", "-c", "pass"], check=True)
    return time.perf_counter() - start


class Bystanders:
    """How busy the machine is with other work, from now on: a table of times is worth little on a busy machine."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Processor time that others took, as a share of all there was."""
        wall, busy, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return max(0.0, busy - own) / (wall * (os.cpu_count() or 1))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times, own = psutil.cpu_times(), os.times()
        return time.monotonic(), times.user + times.nice + times.system, sum(own[:4])


def machine() -> dict[str, str]:
    """What was measured on, in neutral words."""

    def version(*command: str) -> str:
        out = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        found = re.search(r"\d+(\.\d+)+", out)
        return found.group() if found else out.strip()

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": str(cores),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} on {platform.machine()}",
        "Python": platform.python_version(),
        "git": version("git", "--version"),
        "git-lfs": version("git", "lfs", "version"),
    }


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _memory(pid: int) -> Memory:
    try:
        sizes = dict(_ROLLUP.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
        return Memory(int(sizes["Pss"]) << 10, int(sizes["Pss_Anon"]) << 10)
    except (OSError, KeyError):
        return Memory()  # It has gone, or goes just now.


def _say(pipe: IO[bytes], *lines: str) -> None:
    pipe.write(b"".join(b"%04x%s\n" % (len(line) + 5, line.encode()) for line in lines) + b"0000")
    pipe.flush()


def _hear(pipe: IO[bytes]) -> list[str]:
    lines = []
    while size := int(pipe.read(4), 16):
        lines.append(pipe.read(size - 4).decode().rstrip("\n"))
    return lines
