"""Work beside the server: its end, how far it is, and giving it up."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from theta_jupyter.errors import RequestError
from theta_jupyter.jupyter import tasks
from theta_jupyter.jupyter.tasks import Far, Tasks

if TYPE_CHECKING:
    from theta_jupyter.storage.pool import Progress


def test_what_is_done_at_once_is_there_at_once() -> None:
    async def run() -> Any:
        task = Tasks().start(lambda _: 6 * 7)
        assert await task.wait(30)
        return task.result()

    assert asyncio.run(run()) == 42


def test_how_far_it_is_and_how_it_is_given_up() -> None:
    told, go = threading.Event(), threading.Event()

    def work(progress: Progress) -> None:
        progress("counting", 1, 3)
        told.set()
        go.wait(30)
        progress("counting", 2, 3)
        raise AssertionError("it was told")

    async def run() -> None:
        many = Tasks()
        task = many.start(work)
        assert await asyncio.to_thread(told.wait, 30)
        assert task.far == Far("counting", 1, 3)
        assert not await task.wait(0.01)
        assert many.get(task.id) is task
        task.cancel()
        go.set()
        assert await task.wait(30)
        with pytest.raises(RequestError, match="interrupted"):
            task.result()
        many.forget(task)
        assert many.get(task.id) is None

    asyncio.run(run())


def test_what_goes_wrong_is_told() -> None:
    def work(_: Progress) -> None:
        raise SystemExit(3)

    async def run() -> None:
        task = Tasks().start(work)
        assert await task.wait(30)
        with pytest.raises(SystemExit):
            task.result()

    asyncio.run(run())


def test_there_is_an_end_to_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MOST", 2)
    go = threading.Event()

    async def run() -> None:
        many = Tasks()
        begun = [many.start(lambda _: go.wait(30)) for _ in range(2)]
        with pytest.raises(RequestError, match="2 things are going on"):
            many.start(lambda _: None)
        go.set()
        for task in begun:
            assert await task.wait(30)
        monkeypatch.setattr(tasks, "KEPT", -1)
        assert await many.start(lambda _: None).wait(30)
        # Ends that nobody came for are not kept for ever.
        assert all(many.get(task.id) is None for task in begun)

    asyncio.run(run())


def test_a_server_that_has_ended_is_not_told() -> None:
    go, ended = threading.Event(), threading.Event()

    def work(_: Progress) -> None:
        go.wait(30)
        ended.set()

    async def run() -> None:
        Tasks().start(work)

    asyncio.run(run())
    go.set()
    assert ended.wait(30)
    for thread in threading.enumerate():
        if thread.name.startswith("theta-task"):
            thread.join(30)
