"""What may be reused: objects that hold nothing but the content at hand, or that the history names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter.git import known as module
from theta_jupyter.git.known import Known, others
from theta_jupyter.storage.manifest import Node, Place, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

ONE, TWO = "1" * 64, "2" * 64


def record(*places: Place) -> Record:
    nodes = [
        Node("F32", (1,), place, "delta" if index else "", (0,) if index else ()) for index, place in enumerate(places)
    ]
    return Record("F32", (1,), "0" * 64, tuple(nodes))


def check(records: Sequence[Record], expected: set[str]) -> None:
    assert others(records) == expected


def test_whole_objects_are_their_own() -> None:
    check([], set())
    check([Record("F32", (0,), "0" * 64)], set())
    check([record(Place(ONE, 100))], set())


def test_bases_are_of_others() -> None:
    check([record(Place(ONE, 100), Place(TWO, 50))], {ONE})


def test_a_bundle_is_its_own_if_all_of_it_is_used() -> None:
    first, second, third = (record(Place(ONE, 30, start, 10)) for start in (0, 10, 20))
    check([first, second], {ONE})
    check([first, third], {ONE})
    check([second, third], {ONE})
    check([third, first, second, second], set())


def test_the_history_is_read_from_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 1)
    home = tmp_path / "home"
    home.mkdir()
    repo = Repo(tmp_path / "work", home).init()
    repo.track()
    names: list[str] = []
    for seed in range(4):
        repo.commit(safetensors(a=seed, wide=seed))
        names += repo.manifest().places()
    repo.git("rm", "--quiet", MODEL)
    repo.commit()
    # A user's settings of `git log` change nothing.
    repo.git("config", "log.showSignature", "true")
    with repo.environment():
        worktree = repo.worktree
        known = Known(worktree, MODEL)
        with ThreadPoolExecutor(8) as pool:
            asked = [frozenset({name}) for name in names] * 3
            assert all(pool.map(known._in_history, asked))
        assert not known._in_history(frozenset({ONE}))
        assert known._in_history(frozenset(names))
        assert not Known(worktree, "other")._in_history(frozenset(names))
