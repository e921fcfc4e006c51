"""What lies at hand is found by its hash, is never trusted, and is gone at the end."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from theta_jupyter.storage.manifest import Place
from theta_jupyter.storage.nearby import Nearby

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = bytes(range(256)) * 40


def digest(data: bytes) -> str:
    return blake3(data).hexdigest()


def found(nearby: Nearby, data: bytes = DATA) -> bytes | None:
    there = nearby.get(digest(data), len(data))
    return None if there is None else bytes(there)


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[], Path]:
    return lambda: tmp_path / "scratch"


def test_what_is_offered_is_read_from_its_file(tmp_path: Path, scratch: Callable[[], Path]) -> None:
    path, nearby = tmp_path / "model", Nearby()
    path.write_bytes(b"before" + DATA + b"after")
    with nearby.open(scratch):
        nearby.offer(path, {digest(DATA): (6, len(DATA))})
        assert found(nearby) == DATA
        out = bytearray(len(DATA))
        assert nearby.get(digest(DATA), len(DATA), memoryview(out)) is not None
        assert out == DATA
        # Another file in its place, as Git and we write files, does no harm.
        path.unlink()
        path.write_bytes(b"something else")
        assert found(nearby) == DATA
    assert found(nearby) is None


@pytest.mark.parametrize("there", [b"", b"before" + DATA[:-1], b"before" + DATA[:-1] + b"x", b"x" + DATA])
def test_what_is_not_what_it_should_be_is_not_found(there: bytes, tmp_path: Path, scratch: Callable[[], Path]) -> None:
    path, nearby = tmp_path / "model", Nearby()
    path.write_bytes(b"before" + DATA)
    with nearby.open(scratch):
        nearby.offer(path, {digest(DATA): (6, len(DATA))})
        path.write_bytes(there)  # In place: somebody saves while we read.
        assert found(nearby) is None
        assert nearby.get(digest(DATA), len(DATA) - 1) is None


def test_what_is_kept_is_found_and_leaves_nothing(tmp_path: Path, scratch: Callable[[], Path]) -> None:
    nearby = Nearby()
    with nearby.open(scratch), nearby.open(scratch):
        for number in range(5):
            nearby.keep(digest(DATA[number:]), memoryview(DATA[number:]))
        for number in range(5):
            assert found(nearby, DATA[number:]) == DATA[number:]
        assert not list(tmp_path.iterdir())
    assert found(nearby) is None


def test_it_stays_open_for_the_last_one(scratch: Callable[[], Path]) -> None:
    nearby = Nearby()
    with nearby.open(scratch):
        with nearby.open(scratch):
            nearby.keep(digest(DATA), memoryview(DATA))
        assert found(nearby) == DATA


def test_closed_it_keeps_nothing(tmp_path: Path) -> None:
    nearby = Nearby()
    path = tmp_path / "model"
    path.write_bytes(DATA)
    nearby.keep(digest(DATA), memoryview(DATA))
    nearby.offer(path, {digest(DATA): (0, len(DATA))})
    assert found(nearby) is None


def test_a_full_disk_is_no_accident(scratch: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    nearby = Nearby()
    with nearby.open(scratch):
        nearby.keep(digest(DATA), memoryview(DATA))
        assert found(nearby) is None
    with nearby.open(lambda: scratch() / "no" / "such"):
        nearby.keep(digest(DATA), memoryview(DATA))
        assert found(nearby) is None


def test_the_last_base_of_a_thread_is_decoded_once(scratch: Callable[[], Path]) -> None:
    decoded = []

    def decode(what: str) -> Callable[[], memoryview]:
        def now() -> memoryview:
            decoded.append(what)
            return memoryview(what.encode())

        return now

    one, two = Place("1" * 64, 5), Place("1" * 64, 5, 1)
    nearby = Nearby()
    assert nearby.base(one, decode("one")) == nearby.base(one, decode("one"))
    assert decoded == ["one", "one"]
    decoded.clear()
    with nearby.open(scratch):
        for _ in range(3):
            assert bytes(nearby.base(one, decode("one"))) == b"one"
        assert bytes(nearby.base(two, decode("two"))) == b"two"
        assert bytes(nearby.base(one, decode("one"))) == b"one"
    assert decoded == ["one", "two", "one"]
    with nearby.open(scratch):
        nearby.base(one, decode("again"))
    assert decoded[-1] == "again"
