"""Killing a verb of ours at its n-th write point.

Python announces what changes a disk, and what starts another program, before it does it: that is where a verb is
killed, with SIGKILL, in a process of its own. It is forked from one that has only imported us, because threads do not
survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.repo import Repo

__all__ = ["killed_at", "write_points"]

EVENTS = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime", "os.chmod", "os.truncate"),
    *("open", "subprocess.Popen"),
}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.e2e.killing", "theta_jupyter.api", "theta_jupyter.joining", "theta_jupyter.merging"]
)


def killed_at(point: int, repo: Repo, verb: str, *args: Any, **options: Any) -> bool:
    """Let a method of :class:`theta_jupyter.Repository` be killed; return whether it came so far."""
    child = _context.Process(target=_run, args=(repo.env, str(repo.top), point, None, verb, args, options))
    child.start()
    child.join()
    return child.exitcode == -signal.SIGKILL


def write_points(repo: Repo, verb: str, *args: Any, **options: Any) -> int:
    """Do it, and count its write points."""
    ours, theirs = _context.Pipe(duplex=False)
    child = _context.Process(target=_run, args=(repo.env, str(repo.top), 0, theirs, verb, args, options))
    child.start()
    theirs.close()
    found = int(ours.recv())
    child.join()
    return found


def _run(
    env: dict[str, str], top: str, point: int, told: Any, verb: str, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    from theta_jupyter import Repository

    os.environ.clear()
    os.environ.update(env)
    os.chdir(top)
    count = [0]

    def reached(number: int) -> None:
        count[0] = number
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    _hear(reached)
    try:
        getattr(Repository(), verb)(*args, **options)
    finally:
        if told is not None:
            told.send(count[0])


def _hear(reached: Callable[[int], None]) -> None:
    count = 0

    def hear(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        reads = event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if event in EVENTS and not reads:
            count += 1
            reached(count)

    sys.addaudithook(hear)
