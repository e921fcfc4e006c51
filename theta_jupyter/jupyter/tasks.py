"""Work that may take long, beside a server that goes on answering.

Everything that is asked is a task in a thread of its own. One that is done in a moment is answered at once; for others
the answer is their number, by which to ask how far they are, to wait, and to give them up. Giving up is what an
interrupt is elsewhere: the work is told the next time it tells its progress, and leaves things as they were.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from theta_jupyter.storage.pool import Progress

__all__ = ["Far", "Task", "Tasks"]

MOST = 32
"""Tasks at once."""
KEPT = 600
"""Seconds for which the end of a task is kept for whoever began it."""


class Far(NamedTuple):
    """How far a task is: what it does, and how many bytes of how many are done."""

    what: str
    done: int
    total: int


class Task:
    """Something that is being worked on.

    Parameters
    ----------
    work
        Told whom to tell how long it takes; that raises when the task is given up.

    Attributes
    ----------
    far
        How far it is; None while nobody knows.
    """

    def __init__(self, work: Callable[[Progress], Any]) -> None:
        self.id = secrets.token_urlsafe(16)
        self.far: Far | None = None
        self.since = time.monotonic()
        self._work = work
        self._cancelled = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[Any] = self._loop.create_future()
        threading.Thread(target=self._run, name=f"theta-task-{self.id[:6]}", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._end.done()

    def cancel(self) -> None:
        """Give it up; it ends when it next looks up."""
        self._cancelled.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for its end, not longer than this; return whether it has ended."""
        await asyncio.wait({self._end}, timeout=seconds)
        return self.done

    def result(self) -> Any:
        """What came of it; raises what it raised."""
        return self._end.result()

    def _run(self) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._work(self._tell)
        except KeyboardInterrupt:
            error = RequestError("interrupted")
        except BaseException as raised:  # noqa: BLE001 - whoever waits must not wait for ever
            error = raised
        try:
            self._loop.call_soon_threadsafe(self._finish, result, error)
        except RuntimeError:
            return  # The server has ended meanwhile.

    def _finish(self, result: Any, error: BaseException | None) -> None:
        self.since = time.monotonic()
        if error is None:
            self._end.set_result(result)
        else:
            self._end.set_exception(error)
            self._end.exception()  # It is no accident if nobody comes to hear of it.

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        self.far = Far(what, done, total)


class Tasks:
    """Those that somebody may still ask about."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def start(self, work: Callable[[Progress], Any]) -> Task:
        """Begin one.

        Raises
        ------
        RequestError
            If there are too many already.
        """
        self._forget_old()
        if sum(not task.done for task in self._tasks.values()) >= MOST:
            raise RequestError(f"{MOST} things are going on already", hint="wait for one of them, or cancel it")
        task = Task(work)
        self._tasks[task.id] = task
        return task

    def get(self, number: str) -> Task | None:
        """Find one by its number."""
        return self._tasks.get(number)

    def forget(self, task: Task) -> None:
        """Drop one whose end was told."""
        self._tasks.pop(task.id, None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        old = [number for number, task in self._tasks.items() if task.done and now - task.since > KEPT]
        for number in old:
            del self._tasks[number]
