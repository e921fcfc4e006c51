"""``history`` and ``log`` as commands: their arguments, what they print, and how they complete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from tests.api.place import write
from tests.e2e.repo import MODEL
from theta_jupyter import Repository
from theta_jupyter.cli import main
from theta_jupyter.commands import Session, theta

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


@pytest.fixture
def two(repo: Repo) -> Repo:
    """A repository with two versions of its model."""
    write(b=1, wide=2)
    Repository().commit("second")
    return repo


@pytest.mark.usefixtures("two")
def test_history(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", MODEL]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{MODEL}   2 versions\n")
    assert out == Repository().history(MODEL).text() + "\n"
    assert main(["history", MODEL, "--tensor", "w*"]) == 0
    assert capsys.readouterr().out.startswith(f"wide in {MODEL}   2 versions\n")
    assert main(["history", "-t", "?", "-t", "wide", "-n", "1", "--json", "--", MODEL]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found["tensors"]) == ["a", "b", "c", "d", "wide"]
    assert ([version["subject"] for version in found["versions"]], found["more"]) == (["second"], True)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["history"], 2, "Missing argument"),
        (["history", MODEL, "-n", "0"], 2, "0 is not in the range"),
        (["history", "nope"], 1, "nope is not a tracked model in any version"),
        (["history", MODEL, "-t", "nope"], 1, "no tensor is called 'nope' in any version"),
    ],
)
def test_what_history_refuses(words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == status
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert said in error


@pytest.mark.usefixtures("two")
def test_history_completes_models_and_tensors() -> None:
    completer = ShellComplete(theta, {"obj": Session()}, "theta", "_THETA_COMPLETE")
    assert next(item.value for item in completer.get_completions(["history"], "")) == MODEL
    assert [item.value for item in completer.get_completions(["history", MODEL, "-t"], "wi")] == ["wide"]


@pytest.mark.usefixtures("two")
def test_log_has_miniatures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log"]) == 0
    first, head, second, one, legend = capsys.readouterr().out.splitlines()
    assert first == "2 commits"
    assert "change by block" in head
    assert "·█··█" in second
    assert "+++++" in one
    assert legend.startswith("change by block: ")
