"""The cache remembers, and whatever happens to its file it only forgets."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from theta_jupyter.storage import cache as module
from theta_jupyter.storage.cache import Cache, Remembered

if TYPE_CHECKING:
    from pathlib import Path

SEEN = Remembered(b"text\n\0", {"a" * 64: 1, "b" * 64: 1 << 40}, frozenset({"a" * 64}))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "theta" / "cache")


def test_it_remembers(cache: Cache) -> None:
    cache.remember("x", SEEN, [("r", b"body"), ("s", b"")])
    assert cache.content("x") == SEEN
    assert cache.record("r") == b"body"
    assert cache.record("s") == b""
    assert cache.content("r") is None
    assert cache.record("x") is None
    nothing = Remembered(b"", {}, frozenset())
    cache.remember("x", nothing, [("r", b"other")])
    assert cache.content("x") == nothing
    assert cache.record("r") == b"other"
    assert Cache(cache._path.parent).record("s") == b""


def test_asking_creates_nothing(cache: Cache) -> None:
    assert cache.content("x") is None
    assert cache.record("x") is None
    assert not cache._path.parent.exists()


def test_names_are_only_values(cache: Cache) -> None:
    name = "'; drop table content; --"
    cache.remember(name, SEEN, [(name, b"body")])
    assert cache.content(name) == SEEN
    assert cache.record(name) == b"body"


def test_the_oldest_go(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEEP", {"content": 3, "record": 5})
    for number in range(10):
        cache.remember(f"c{number}", SEEN, [(f"r{number}", b"body")])
        assert cache.content(f"c{number}") == SEEN
    cache.remember("c7", SEEN, [])
    assert [number for number in range(10) if cache.content(f"c{number}")] == [7, 8, 9]
    assert [number for number in range(10) if cache.record(f"r{number}")] == [5, 6, 7, 8, 9]
    # Records of one manifest are of one age, and go together or stay together.
    cache.remember("many", SEEN, [(f"m{number}", b"body") for number in range(20)])
    assert all(cache.record(f"m{number}") for number in range(20))
    assert cache.record("r9") is None


def test_it_can_be_deleted_at_any_time(cache: Cache) -> None:
    for _ in range(2):
        cache.remember("x", SEEN, [("r", b"body")])
        assert cache.content("x") == SEEN
        cache._path.unlink()
        assert cache.content("x") is None
        assert cache.record("r") is None
    cache._path.parent.rmdir()
    cache.remember("x", SEEN, [])
    assert cache.content("x") == SEEN


@pytest.mark.parametrize("rubbish", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_file_goes(rubbish: bytes, cache: Cache) -> None:
    cache._path.parent.mkdir(parents=True)
    cache._path.write_bytes(rubbish)
    assert cache.content("x") is None
    assert cache.record("x") is None
    for _ in range(2):  # The first may only find that the file is damaged.
        cache.remember("x", SEEN, [])
    assert cache.content("x") == SEEN


def test_damage_anywhere_is_only_forgotten(cache: Cache) -> None:
    """SQLite itself would give back a changed manifest for most of these."""
    cache.remember("x", SEEN, [("r", b"body" * 20)])
    good = cache._path.read_bytes()
    used = [at for at in range(len(good)) if good[at]]
    forgotten = 0
    for at in used[:: max(1, len(used) // 150)]:
        cache._path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        content, record = cache.content("x"), cache.record("r")
        assert content in (None, SEEN)
        assert record in (None, b"body" * 20)
        forgotten += content is None or record is None
    assert forgotten > 20


def test_a_file_cut_short_is_only_forgotten(cache: Cache) -> None:
    cache.remember("x", SEEN, [("r", b"body")])
    good = cache._path.read_bytes()
    for length in range(0, len(good), 997):
        cache._path.write_bytes(good[:length])
        assert cache.content("x") in (None, SEEN)
        for _ in range(2):
            cache.remember("y", SEEN, [])
        assert cache.content("y") == SEEN


def test_tables_of_another_kind_go(cache: Cache) -> None:
    cache._path.parent.mkdir(parents=True)
    connection = sqlite3.connect(cache._path)
    connection.execute("create table content (something)")
    connection.close()
    assert cache.content("x") is None
    for _ in range(2):
        cache.remember("x", SEEN, [])
    assert cache.content("x") == SEEN


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder" / module._NAME).mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "folder"):
        cache = Cache(folder)
        cache.remember("x", SEEN, [("r", b"body")])
        assert cache.content("x") is None
        assert cache.record("r") is None


def test_a_read_only_file_is_still_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.remember("x", SEEN, [])
    connect = sqlite3.connect
    # Root may write to a file that is read-only; SQLite's own way of asking holds for root too.
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options)
    )
    cache.remember("y", SEEN, [])
    assert cache.content("x") == SEEN
    assert cache.content("y") is None


def test_a_locked_file_is_left_alone(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    cache.remember("x", SEEN, [])
    connection = sqlite3.connect(cache._path)
    connection.execute("begin exclusive")
    cache.remember("y", SEEN, [])
    assert cache.content("x") is None
    connection.rollback()
    connection.close()
    assert cache.content("x") == SEEN
    assert cache.content("y") is None


CHILD = """
import sys
from pathlib import Path
from theta_jupyter.storage.cache import Cache, Remembered
cache = Cache(Path(sys.argv[1]))
for number in range(30):
    name = f"{sys.argv[2]}.{number}"
    seen = Remembered(name.encode(), {"a" * 64: number}, frozenset())
    cache.remember(name, seen, [(name, b"body")])
    assert cache.content(name) == seen, name
    assert cache.record(name) == b"body"
"""


def test_many_processes_at_once(cache: Cache) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(cache._path.parent), str(name)]) for name in range(4)
    ]
    assert [child.wait() for child in children] == [0] * 4
    assert all(cache.record(f"{name}.{number}") for name in range(4) for number in range(30))


def test_only_the_standard_library_is_needed() -> None:
    program = "import sys, theta_jupyter.storage.cache; assert not {'numpy', 'msgspec', 'blake3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
