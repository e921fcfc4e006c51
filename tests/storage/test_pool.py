"""Work on many tensors comes back in order, tells how far it is, stays within bounds, and ends cleanly."""

from __future__ import annotations

import hashlib
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theta_jupyter.storage import pool
from theta_jupyter.storage.pool import each

Told = list[tuple[str, int, int]]


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the items of these tests are."""
    monkeypatch.setattr(pool, "SMALL", 0)


def same(item: int) -> int:
    return item


@given(st.lists(st.integers(0, 100)))
@settings(deadline=None)
def test_results_come_in_order_and_progress_adds_up(items: list[int]) -> None:
    told: Told = []
    found = list(each("adding", lambda item: item * 2, items, same, lambda *what: told.append(what)))
    assert found == [item * 2 for item in items]
    assert [what for what, _, _ in told] == ["adding"] * len(items)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert {total for _, _, total in told} <= {sum(items)}
    if items:
        assert told[-1][1] == sum(items)


def test_results_come_in_order_however_long_they_take() -> None:
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(30)
        else:
            second.set()
        return item

    assert list(each("waiting", work, [0, 1], same)) == [0, 1]


def test_small_items_are_worked_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads would wait for each other more than they work."""
    monkeypatch.setattr(pool, "SMALL", 1000)
    found = set(each("looking", lambda _: threading.current_thread(), range(100), lambda _: 999))
    assert found == {threading.current_thread()}


def test_an_exception_drops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_workers", lambda: 2)
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise KeyError(item)
        return item

    found: list[int] = []
    with pytest.raises(KeyError):
        found.extend(each("failing", work, range(1000), lambda _: 1))
    assert found == [0, 1, 2]
    assert len(begun) < 100


def test_a_single_item_may_fail_too() -> None:
    with pytest.raises(ZeroDivisionError):
        list(each("dividing", lambda item: 1 // item, [0], same))


def test_an_interrupt_drops_the_rest_and_waits_for_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_workers", lambda: 2)
    begun: list[int] = []
    ended: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        ended.append(item)

    def interrupt(_what: str, done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(each("working", work, range(1000), lambda _: 1, interrupt))
    assert len(begun) < 100
    assert begun == ended
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_caller_may_stop_early() -> None:
    begun: list[int] = []
    results = each("working", begun.append, range(10_000), lambda _: 1)
    next(results)
    results.close()  # type: ignore[attr-defined] # It is a generator.
    assert len(begun) < 10_000


@pytest.mark.parametrize(("sizes", "most"), [([10] * 40, 5), ([30] * 10, 1), ([1000, 1, 1, 1000, 1], 2), ([60] * 5, 1)])
def test_no_more_is_in_flight_than_allowed(sizes: list[int], most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IN_FLIGHT", 100)
    monkeypatch.setattr(pool, "_workers", lambda: 8)
    lock = threading.Lock()
    running: list[int] = []
    seen: list[tuple[int, ...]] = []

    def work(size: int) -> None:
        with lock:
            running.append(size)
            seen.append(tuple(running))
        hashlib.sha256(bytes(1 << 18)).digest()  # Lets other threads run.
        with lock:
            running.remove(size)

    list(each("working", work, sizes, same, copies=2))
    # A single one may be larger than the bound.
    assert all(2 * sum(sizes) <= 100 or len(sizes) == 1 for sizes in seen)
    assert max(map(len, seen)) <= most


def test_what_waits_to_be_yielded_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IN_FLIGHT", 100)
    monkeypatch.setattr(pool, "_workers", lambda: 8)
    made: list[int] = []
    taken: list[int] = []

    def work(item: int) -> int:
        made.append(item)
        return item

    for result in each("working", work, range(50), lambda _: 20, copies=1):
        taken.append(result)
        assert len(made) - len(taken) <= 5


def test_nobody_need_be_told() -> None:
    assert list(each("working", same, [1, 2, 3], same)) == [1, 2, 3]
    assert list(each("working", same, [], same)) == []
