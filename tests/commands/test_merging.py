"""``git theta merge``, ``resolve`` and ``strategies``; in a terminal, and in a notebook."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
from click.shell_completion import ShellComplete
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from safetensors.numpy import load

from tests.e2e.repo import MODEL, safetensors, torch_file, weights
from theta_jupyter.board import Board
from theta_jupyter.cli import main
from theta_jupyter.commands import Session, theta
from theta_jupyter.merge_state import Conflicts, MergeState
from theta_jupyter.merges.base import installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.repo import Repo


class Terminal:
    """What ``git theta`` prints."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self.captured = captured

    def __call__(self, *words: str, status: int = 0) -> str:
        """Run a command that must work, whatever still waits."""
        self.captured.readouterr()
        found = main(list(words))
        out, error = self.captured.readouterr()
        assert (found, error) == (status, "")
        return out

    def json(self, *words: str, status: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*words, "--json", status=status))
        return found

    def fails(self, *words: str, status: int = 1) -> tuple[str, ...]:
        """Run a command that must fail; the lines of its error."""
        self.captured.readouterr()
        found = main(list(words))
        out, error = self.captured.readouterr()
        assert (found, out) == (status, "")
        first, *rest = error.splitlines()
        assert first.startswith("error: ")
        assert len(rest) <= 1
        return (first.removeprefix("error: "), *(line.strip() for line in rest))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_from_begin_to_end(forked: Repo, say: Terminal) -> None:
    out = say("merge", "theirs", status=1)
    assert out.startswith("Merging theirs into main: 1 of 1 conflict left\n")
    assert 'decide with: git theta resolve "encoder.*" --strategy ties' in out
    for words in (["merge"], ["merge", "--status"]):
        assert say(*words) == out  # To look is no failure.
    assert "state: conflict" not in say("status")
    assert "git theta resolve" in say("status")
    assert say("resolve").startswith("Merging theirs into main: 1 of 1 conflict left\n")
    assert "both changed" in say("resolve", "b")
    shown = say("resolve", "b", "--preview", "--strategy", "linear")
    assert "linear" in shown
    assert "result" in shown
    assert "1 of 1 conflict left" in say("merge")
    assert "0 of 1 conflict left" in say("resolve", "b", "--strategy", "ties", "--set", "density=0.5")
    assert "rule 1: b -> ties(density=0.5)" in say("merge")
    assert "1 of 1 conflict left" in say("merge", "--undo")
    say("resolve", "--strategy", "linear")
    out = say("merge", "--continue", "-m", "of two")
    assert out == f"merged theirs into main: {forked.head()[:7]} ({MODEL})\n"
    assert "merged by * -> linear" in say("show")
    x, y = (weights(b=seed)["b"].astype(np.float64) for seed in (1, 3))
    assert load(forked.read())["b"].tobytes() == ((x + y) / 2).astype(np.float32).tobytes()
    assert forked.git("log", "-1", "--format=%s") == "of two\n"
    forked.check()
    assert say("merge") == "no merge is in progress\n"


def test_in_one_go(forked: Repo, say: Terminal, tmp_path: Path) -> None:
    assert say("merge", "theirs", "-s", "linear", "--set", "weight=1,0").startswith("merged theirs into main")
    assert load(forked.read())["b"].tobytes() == weights(b=1)["b"].tobytes()
    commit = forked.head()
    for plan in (commit, str(tmp_path / "p.yaml")):
        (tmp_path / "p.yaml").write_text("rules: [{tensors: b, strategy: linear, parameters: {weight: [1, 0]}}]")
        forked.git("reset", "--quiet", "--hard", "HEAD~1")
        assert say("merge", "theirs", "--plan", plan).startswith("merged theirs into main")
        assert forked.head("HEAD:m.safetensors") == forked.head(f"{commit}:m.safetensors")
    assert say("merge", "theirs") == "already up to date\n"
    forked.git("reset", "--quiet", "--hard", "HEAD~1")
    say("merge", "theirs", "--all", "-s", "linear", "-m", "soup")
    wide = (weights(wide=0)["wide"].astype(np.float64) + weights(wide=2)["wide"]) / 2
    assert load(forked.read())["wide"].tobytes() == wide.astype(np.float32).tobytes()


def test_json(forked: Repo, say: Terminal) -> None:
    found = say.json("merge", "theirs", status=1)
    assert (found["kind"], found["left"], found["ours"]["name"]) == ("merge", 1, "main")
    assert found["files"][0]["path"] == MODEL
    assert say.json("merge", "--status") == found
    rows = say.json("resolve")["files"][MODEL]
    assert [(row["name"], row["class"]) for row in rows] == [("b", "both changed")]
    assert say.json("resolve", "b", "--preview", "-s", "linear")["row"]["strategy"] == "linear"
    found = say.json("resolve", "-s", "ours")
    assert found["rules"] == [{"tensors": "*", "strategy": "ours"}]
    assert say.json("merge", "--undo")["rules"] == []
    assert say.json("resolve", "--export", "out")["message"] == "wrote 3 versions to out"
    assert say.json("resolve", "--import", "out/m.theirs.safetensors")["files"] == []
    assert say.json("merge", "--continue")["outcome"].startswith("merged theirs into main")
    assert forked.read() == safetensors(b=3, c=3, wide=2)
    assert [s["name"] for s in say.json("strategies")["strategies"]] == list(installed())
    assert [s["name"] for s in say.json("strategies", "ties")["strategies"]] == ["ties"]


def test_abort_and_rebase(forked: Repo, say: Terminal) -> None:
    say("merge", "theirs", status=1)
    assert say("merge", "--abort") == "Merging theirs into main: given up; everything is as it was before\n"
    forked.check(safetensors(a=1, b=1))
    forked.git("switch", "--quiet", "theirs")
    forked.fails("rebase", "main")
    say("resolve", "-s", "linear")
    out = say("merge", "--continue", status=1)  # The next one waits.
    assert out.startswith("Rebasing theirs onto main: 1 of 1 conflict left")
    say("resolve", "-s", "ours")
    assert say("merge", "--continue").startswith("rebased: ")


def test_errors_are_a_line_and_a_hint(forked: Repo, say: Terminal) -> None:
    none = ("no merge is in progress", "begin one with: git theta merge BRANCH")
    for words in (["merge", "--continue"], ["merge", "--abort"], ["merge", "--undo"], ["resolve"]):
        assert say.fails(*words) == none
    for words, message, hint in [
        (["merge", "nothing"], "'nothing' is not a commit, branch or tag here", "see them with: git theta log"),
        (["merge", "-s", "linear"], "merge what?", "git theta merge BRANCH --strategy linear"),
        (["merge", "-m", "x"], "merge what?", "git theta merge BRANCH"),
        (["merge", "--set", "a=1"], "merge what?", "git theta merge BRANCH"),
        (["merge", "theirs", "--set", "density"], "cannot read 'density'", "--set density=0.3"),
        (["merge", "theirs", "--set", "density=1"], "parameters of what?", "name a strategy"),
        (["merge", "theirs", "-s", "tise"], "", ""),
        (["merge", "theirs", "-s", "ties", "--plan", "x"], "a plan says which strategies", ""),
        (["merge", "theirs", "--plan", "x.yaml"], "there is no plan x.yaml", "give a file, or a merge commit"),
        (["merge", "--continue", "theirs"], "--continue is for the merge in progress", ""),
        (["merge", "theirs", "--try", "linear"], "scored by what?", "--score evaluate"),
        (["merge", "theirs", "--try", "linear", "--score", "f"], "--score works in a notebook", "in Python:"),
        (["strategies", "nothing"], "", ""),
    ]:
        first, *rest = say.fails(*words)
        assert first.startswith(message)
        assert all(hint in line for line in rest)
        assert bool(rest) >= bool(hint)
    say("merge", "theirs", status=1)
    for words, message, hint in [
        (["merge", "theirs"], "Merging theirs into main is not finished", "git theta merge --continue, or --abort"),
        (["merge", "--continue"], "m.safetensors: b still to be decided", "git theta merge --status"),
        (["merge", "--undo"], "there is nothing to undo", ""),
        (["resolve", "x"], "no tensor in conflict is called x", ""),
        (["resolve", "x", "-s", "ours"], "no tensor in conflict is called 'x'", "git theta resolve"),
        (["resolve", "b", "--set", "x=1"], "parameters of what?", "--strategy ties"),
        (["resolve", "b", "-s", "ties", "--set", "density=9"], "density cannot be '9'", "a number from 0 to 1"),
        (["resolve", "--preview"], "preview what?", "git theta resolve NAME --preview"),
        (["resolve", "b", "--file", "x.pt"], "x.pt is not a model in conflict", "git theta merge --status"),
        (["resolve", "--import", "nothing"], "there is no file nothing", ""),
    ]:
        first, *rest = say.fails(*words)
        assert first.startswith(message)
        assert all(hint in line for line in rest)
        assert bool(rest) >= bool(hint)
    assert forked.status().startswith("UU")


def test_of_several_files_and_from_a_subfolder(forked: Repo, say: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    (forked.top / "sub").mkdir()
    for branch, changed in (("theirs", {"b": 2}), ("main", {"b": 1})):
        forked.git("switch", "--quiet", branch)
        say("track", "*.pt")
        forked.commit(torch_file(**changed), "torch", "sub/t.pt")
    monkeypatch.chdir(forked.top / "sub")
    say("merge", "theirs", status=1)
    assert sorted(say.json("resolve")["files"]) == [MODEL, "sub/t.pt"]
    assert list(say.json("resolve", "--file", "t.pt")["files"]) == ["sub/t.pt"]
    (forked.top / "x.pt").write_bytes(torch_file(b=5))
    first, hint = say.fails("resolve", "--import", "../x.pt")
    assert (first, hint) == ("which one is ../x.pt?", "say it: --file m.safetensors")
    say("resolve", "b", "-s", "theirs", "--file", "t.pt")
    assert say.json("merge")["left"] == 1
    say("resolve", "b", "-s", "ours", "--file", "../m.safetensors")
    say("merge", "--continue")
    assert forked.read("sub/t.pt") == torch_file(b=2)
    assert forked.read() == safetensors(a=1, b=1, c=3, wide=2)


def test_a_name_is_a_name_first(repo: Repo, say: Terminal) -> None:
    """A tensor called ``w[0]`` can be named as it is, though that is also a pattern, of ``w0``."""
    from safetensors.numpy import save

    files = [save({name: np.full(4, seed, np.float32) for name in ("w[0]", "w0", "*")}) for seed in range(3)]
    repo.commit(files[0], "base")
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(files[1], "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(files[2], "ours")
    say("merge", "theirs", status=1)
    assert [row["name"] for row in say.json("resolve", "w[0]")["files"][MODEL]] == ["w[0]"]
    say("resolve", "w[0]", "*", "-s", "ours")
    rows = {row["name"]: row["strategy"] for row in say.json("resolve", "w*")["files"][MODEL]}
    assert rows == {"w[0]": "ours", "w0": ""}
    assert complete("resolve", "") == ["[*]", "w0", "w[[]0]"]


def test_strategies(say: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    out = say("strategies")
    assert out.startswith(f"{len(installed())} strategies\n")
    assert all(f"\n  {name} " in out for name in installed())
    out = say("strategies", "ties")
    assert out.startswith("ties: Keep only the largest changes")
    assert "density" in out
    assert "a number from 0 to 1" in out
    for command in ("merge", "resolve", "strategies"):
        assert main([command, "-h"]) == 0
    assert "--continue" in capsys.readouterr().out


def complete(*words: str) -> list[str]:
    completer = ShellComplete(theta, {"obj": Session()}, "theta", "_THETA_COMPLETE")
    return [item.value for item in completer.get_completions(list(words[:-1]), words[-1])]


def test_completion(conflict: Repo) -> None:
    assert complete("merge", "the") == ["theirs"]
    assert complete("merge", "theirs", "--strategy", "ti") == ["ties"]
    assert complete("merge", "theirs", "--try", "ti") == ["ties"]
    assert complete("merge", "theirs", "--try", "ours,ti") == ["ours,ties"]
    assert complete("strategies", "li") == ["linear"]
    assert complete("resolve", "") == ["b"]  # Only what is in conflict.
    assert complete("resolve", "--file", "m") == [MODEL]
    assert isinstance(theta.commands["merge"], click.Command)
    assert conflict.status()


# In a notebook.


@pytest.fixture
def shell(forked: Repo) -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    found = InteractiveShell.instance()
    assert not found.run_cell("%load_ext theta_jupyter").error_in_exec
    yield found
    found.history_manager.end_session()  # type: ignore[union-attr]  # there is one
    InteractiveShell.clear_instance()
    assert forked.top.exists()


def value(shell: InteractiveShell, line: str) -> Any:
    done = shell.run_cell(line)
    done.raise_error()
    return done.result


SETUP = f"""
import torch, types
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in "abcd":
            setattr(self, name, torch.nn.Parameter(torch.zeros(8, 8)))
        self.wide = torch.nn.Parameter(torch.zeros(160, 128))
m = Net()
trainer = types.SimpleNamespace(model=m)
def f(given):
    state = given.state_dict() if isinstance(given, Net) else given
    return float(state["b"][0, 0])
def g(path):
    from safetensors.torch import load_file
    return f(load_file(path))
assert {os.getpid()}
"""


def test_try_in_a_notebook(shell: InteractiveShell, forked: Repo) -> None:
    value(shell, SETUP)
    b = {seed: weights(b=seed)["b"].astype(np.float64)[0, 0] for seed in (1, 3)}
    expected = [b[1], b[3], b[1], float(np.float32((b[1] + b[3]) / 2))]
    for options in ("--score f", "--score f --into m", "--score f --into trainer.model", "--score g --as-file"):
        board = value(shell, f"%theta merge theirs --try ours,linear {options}")
        assert isinstance(board, Board)
        assert [trial.score for trial in board.trials] == expected
    assert not shell.user_ns["m"].b.any()
    board = value(shell, "%theta merge theirs --try slerp --sweep t=0:1:3 --score f --lower-is-better")
    assert (board.swept, board.higher_is_better, len(board.trials)) == ("t", False, 5)
    assert (
        value(shell, "%theta merge theirs --try linear --set weight=1,0 --score f --json")["trials"][2]["score"] == b[1]
    )
    value(shell, "board = %theta merge theirs --try ours,linear --score f")
    assert isinstance(value(shell, "board.use(3)"), MergeState)
    assert isinstance(value(shell, "%theta resolve"), Conflicts)
    assert value(shell, "%theta merge --try theirs --score f").trials[2].score == b[3]
    done = value(shell, "%theta merge --continue")
    assert (done.situation.kind, done.exit_status) == ("", 0)
    assert load(forked.read())["b"][0, 0] == np.float32(expected[3])


def test_errors_in_a_notebook(shell: InteractiveShell) -> None:
    value(shell, SETUP)
    for line, message in {
        "%theta merge theirs --try linear --score h": "there is no variable 'h'",
        "%theta merge theirs --try linear --score m.b": "m.b is no function: it is a Parameter",
        "%theta merge theirs --try linear --score f --into n": "there is no variable 'n'",
        "%theta merge theirs --try linear": "scored by what?\n  name a function of the notebook: --score evaluate",
        "%theta merge --continue": "no merge is in progress\n  begin one with: %theta merge BRANCH",
    }.items():
        error = shell.run_cell(line).error_in_exec
        assert isinstance(error, UsageError)
        assert str(error).startswith(message)


def test_completion_of_functions(shell: InteractiveShell) -> None:
    from IPython.core.completer import provisionalcompleter

    value(shell, SETUP)
    line = "%theta merge theirs --try linear --score "
    with provisionalcompleter():
        found = {one.text for one in shell.Completer.completions(line, len(line))}
        into = {one.text for one in shell.Completer.completions(f"{line}f --into ", len(line) + 9)}
    assert {"f", "g"} <= found
    assert "Net" not in found
    assert "m" in into
    assert "f" not in into
