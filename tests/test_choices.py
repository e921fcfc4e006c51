"""Choices are kept whole or not at all, can be taken back, and are for one merge."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theta_jupyter import choices as module
from theta_jupyter.choices import MOST_STEPS, Choices, Steps
from theta_jupyter.errors import RequestError, ThetaError
from theta_jupyter.git.worktree import CHOICES, Worktree
from theta_jupyter.merges.plan import Plan, Rule

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def choices(tmp_path: Path) -> Choices:
    return Choices(Worktree(tmp_path, tmp_path, tmp_path))


def plan(number: int, name: str = "*") -> Plan:
    return Plan((Rule(name, "linear", {"weight": number}),))


def test_nothing_is_chosen_at_first(choices: Choices) -> None:
    steps = choices.load("merge")
    assert (steps, steps.plan, steps.can_undo) == (Steps(), Plan(), False)
    assert not choices.path.exists()
    with pytest.raises(RequestError, match="there is nothing to undo"):
        choices.undo("merge")
    assert not choices.path.exists()


def test_the_last_choice_counts_and_can_be_taken_back(choices: Choices) -> None:
    hostile = "\n\u2028\ud800🤗\"'"
    for number in (1, 2, 3):
        steps = choices.add("merge", plan(number, hostile))
        assert (steps.plan, steps.revision) == (plan(number, hostile), number)
        assert Choices(Worktree(choices.path.parent, choices.path.parent, choices.path.parent)).load("merge") == steps
    for number, left in enumerate((plan(2, hostile), plan(1, hostile), Plan())):
        steps = choices.undo("merge")
        assert (steps.plan, steps.revision) == (left, 4 + number)
        assert choices.load("merge") == steps
    with pytest.raises(RequestError, match="there is nothing to undo"):
        choices.undo("merge")
    # And another way from there.
    assert choices.add("merge", plan(9)).plans == (Plan(), plan(9))


def test_another_merge_forgets(choices: Choices) -> None:
    choices.add("one", plan(1))
    assert choices.load("other") == Steps()
    with pytest.raises(RequestError, match="nothing to undo"):
        choices.undo("other")
    assert choices.load("one").plan == plan(1), "to look is not to choose"
    assert choices.add("other", plan(2)).plans == (Plan(), plan(2))
    assert choices.load("one") == Steps()


def test_all_can_be_forgotten(choices: Choices) -> None:
    choices.clear()
    choices.add("merge", plan(1))
    choices.clear()
    assert choices.load("merge") == Steps()
    assert list(choices.path.parent.iterdir()) == []


def test_only_so_many_are_kept(choices: Choices, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_STEPS >= 100
    monkeypatch.setattr(module, "MOST_STEPS", 5)
    for number in range(12):
        steps = choices.add("merge", plan(number))
    assert steps.plans == tuple(map(plan, range(7, 12)))
    assert choices.load("merge") == steps
    assert steps.revision == 12


WHOLE = {"of": "merge", "revision": 3, "steps": [json.dumps(plan(1).to_dict())]}


def test_the_file(choices: Choices) -> None:
    """What the tests below damage is such a file."""
    choices.path.write_text(json.dumps(WHOLE))
    assert choices.load("merge") == Steps((plan(1),), 3)
    assert choices.path.name == CHOICES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        json.dumps(WHOLE).encode()[:-9],
        json.dumps(WHOLE).encode().replace(b"merge", b"m\xff\xfe"),
        json.dumps(WHOLE | {"more": 1}).encode(),
        json.dumps(WHOLE | {"revision": "3"}).encode(),
        json.dumps(WHOLE | {"revision": 10**40}).encode(),
        json.dumps(WHOLE | {"revision": -1}).encode(),
        json.dumps(WHOLE | {"steps": []}).encode(),
        json.dumps(WHOLE | {"steps": "[]"}).encode(),
        json.dumps(WHOLE | {"steps": [None]}).encode(),
        json.dumps(WHOLE | {"steps": ["7"]}).encode(),
        json.dumps(WHOLE | {"steps": ["!!python/object/apply:os.system ['exit 1']"]}).encode(),
        json.dumps(WHOLE | {"steps": ["[" * 100_000]}).encode(),
        json.dumps(WHOLE | {"steps": ["[]", "&a [*a]"]}).encode(),
        json.dumps(WHOLE | {"of": 7}).encode(),
        json.dumps({**WHOLE, "of": None}).encode(),
    ],
    ids=range(22),
)
def test_a_damaged_file_is_as_none(choices: Choices, data: bytes) -> None:
    choices.path.write_bytes(data)
    assert choices.load("merge") == Steps()
    assert choices.add("merge", plan(2)).plans == (Plan(), plan(2))
    assert choices.load("merge").plan == plan(2)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=6), st.integers(0, 120), st.integers(0, 20))
def test_any_damage_is_as_none_or_harmless(choices: Choices, noise: bytes, start: int, cut: int) -> None:
    data = json.dumps(WHOLE).encode()
    choices.path.write_bytes(data[:start] + noise + data[start + cut :])
    assert isinstance(choices.load("merge").plan, Plan)


def test_a_folder_in_its_place_is_as_none(choices: Choices) -> None:
    choices.path.mkdir()
    assert choices.load("merge") == Steps()
    with pytest.raises(ThetaError, match="cannot keep what was chosen"):
        choices.add("merge", plan(1))
    assert [path.name for path in choices.path.parent.iterdir()] == [CHOICES]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_disk_that_is_full_leaves_what_was(choices: Choices, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choices.add("merge", plan(1))
    before = choices.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(ThetaError, match=r"cannot keep what was chosen in .*THETA_MERGE: No space left on device"):
            choices.add("merge", plan(2))
    assert choices.path.read_bytes() == before
    assert [path.name for path in choices.path.parent.iterdir()] == [CHOICES]
    assert choices.add("merge", plan(2)).plan == plan(2)


def test_whoever_reads_meanwhile_reads_something_whole(choices: Choices) -> None:
    """A panel looks while a notebook chooses."""
    choices.add("merge", plan(0))
    done = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        while not done.is_set():
            seen.add(len(choices.load("merge").plans))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(30):
        choices.add("merge", plan(number, "x" * 5000))
    done.set()
    reader.join()
    assert 1 not in seen, "that would be no choices at all"
