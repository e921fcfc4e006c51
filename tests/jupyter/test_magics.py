"""``%theta`` in a real IPython shell, and in a notebook that is run from top to bottom."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors
from theta_jupyter import Repository
from theta_jupyter.answers import Commit, Log, Status
from theta_jupyter.commands import theta
from theta_jupyter.diffs.report import Diff
from theta_jupyter.jupyter.magics import complete
from theta_jupyter.results import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.repo import Repo


@pytest.fixture
def shell(repo: Repo) -> Iterator[InteractiveShell]:
    """A shell with the extension loaded, in a repository whose model has been changed."""
    write(b=1)
    InteractiveShell.clear_instance()
    found = InteractiveShell.instance()
    assert not found.run_cell("%load_ext theta_jupyter").error_in_exec
    yield found
    found.history_manager.end_session()  # type: ignore[union-attr]  # there is one
    InteractiveShell.clear_instance()
    assert repo.top.exists()


def value(shell: InteractiveShell, line: str) -> Any:
    done = shell.run_cell(line)
    done.raise_error()
    return done.result


def test_the_value_is_the_result(shell: InteractiveShell) -> None:
    assert isinstance(value(shell, "%theta"), Status)
    assert isinstance(value(shell, "%theta diff"), Diff)
    assert isinstance(value(shell, '%theta commit -m "two words"'), Commit)
    assert isinstance(value(shell, "%theta log"), Log)
    value(shell, "d = %theta diff HEAD~1")
    kept = shell.user_ns["d"]
    assert isinstance(kept, Diff)
    assert [tensor.name for tensor in kept.files[0].changed] == ["b"]
    assert list(value(shell, "d.to_pandas().query('status == \"M\"').name")) == ["b"]
    value(shell, "ref = 'HEAD~1'")
    assert value(shell, "%theta diff $ref").old == "HEAD~1"
    assert value(shell, "%theta diff {ref} --json")["old"] == "HEAD~1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('-m "fix #3"  # the third', "fix #3"),
        ("-m fix#3 # 'the third", "fix#3"),
        (r"-m fix\ #3", "fix #3"),
        ("-m '#'# -m", None),
        ('-m "a \\" #" #', 'a " #'),
        ("# -m what", None),
    ],
)
def test_a_line_may_end_in_a_comment(shell: InteractiveShell, line: str, message: str | None) -> None:
    if message is None:
        with pytest.raises(UsageError):
            value(shell, f"%theta commit {line}")
    else:
        assert value(shell, f"%theta commit {line}").subject == message


def test_what_it_shows(shell: InteractiveShell) -> None:
    formats, _ = shell.display_formatter.format(value(shell, "%theta diff"))  # type: ignore[union-attr]  # there is one
    assert "<img alt=" in formats["text/html"]
    assert formats["text/plain"].startswith(f"{MODEL}   HEAD → work tree")
    status, _ = shell.display_formatter.format(value(shell, "%theta"))  # type: ignore[union-attr]  # there is one
    for form in ("text/html", "text/plain"):
        assert "%theta commit -m" in status[form]
        assert "git theta" not in status[form]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%theta dif", "there is no command 'dif'; did you mean diff?\n  see: %theta -h"),
        ("%theta diff HAED", "'HAED' is not a commit, branch or tag, nor a file here\n  for a file that is no longer"),
        ("%theta commit", "Missing option '-m' / '--message'.\n  see: %theta commit -h"),
        ("%theta commit -m 'x", "cannot read that line: No closing quotation"),
        ("%theta add nothing.txt", "nothing.txt is not tracked\n  first: %theta track nothing.txt"),
    ],
)
def test_errors_are_lines_without_a_traceback(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    if "nothing.txt" in line:
        (Repository().worktree.top / "nothing.txt").touch()
    done = shell.run_cell(line)
    assert isinstance(done.error_in_exec, UsageError)
    assert str(done.error_in_exec).startswith(message)
    out, error = capsys.readouterr()
    assert "Traceback" not in out + error
    assert f"UsageError: {message}" in error
    assert "git theta" not in error


def test_a_bug_and_an_interrupt_are_lines_too(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Repository) -> None:
        raise RuntimeError

    monkeypatch.setattr(Repository, "status", broken)
    assert "a bug in theta: RuntimeError" in str(shell.run_cell("%theta").error_in_exec)

    def long(_: Repository) -> None:
        threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Event().wait(30)

    monkeypatch.setattr(Repository, "status", long)
    done = shell.run_cell("%theta")
    assert isinstance(done.error_in_exec, UsageError)
    assert str(done.error_in_exec).startswith("interrupted\n")
    out, error = capsys.readouterr()
    assert "Traceback" not in out + error


def test_help(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert value(shell, "%theta -h") is None
    assert capsys.readouterr().out.startswith("Usage: %theta [OPTIONS]")
    assert value(shell, "%theta diff -h") is None
    assert "--exact" in capsys.readouterr().out
    text = shell.object_inspect_text("%theta")
    assert "Version control for models" in text
    assert all(name in text for name in theta.commands)


def words(shell: InteractiveShell, line: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(line, len(line))]


@pytest.mark.parametrize("before", ["%theta ", "d = %theta ", "theta ", "  %theta  "])
def test_completion(shell: InteractiveShell, before: str) -> None:
    repository = Repository()
    repository.branch("feature/one")
    (repository.worktree.top / "sub").mkdir()
    write("sub/my model.pt")
    assert {"diff", "status", "commit"} <= set(words(shell, before))
    assert words(shell, f"{before}dif") == ["diff"]
    assert words(shell, f"{before}diff --ex") == ["--exact"]
    assert "--json" in words(shell, f"{before}log --")
    assert words(shell, f"{before}diff HE") == ["HEAD", "HEAD~1"]
    assert words(shell, f"{before}diff HEAD~") == ["HEAD~1"]
    assert words(shell, f"{before}switch feat") == ["feature/one"]
    assert words(shell, f"{before}diff HEAD m") == ["main", MODEL]
    assert words(shell, f"{before}add m") == [MODEL]
    assert words(shell, f"{before}track su") == ["sub/"]
    assert words(shell, f"{before}track sub/") == ["'sub/my model.pt'"]
    assert words(shell, f"{before}diff -t w") == ["wide"]
    assert words(shell, f"{before}diff --tensor ") == ["a", "b", "c", "d", "wide"]
    assert complete("nonsense x")[1] == complete("add 'm")[1] == []


def test_completion_as_frontends_ask_for_it(shell: InteractiveShell) -> None:
    """With the place of what is replaced."""
    line = "x = 1\n%theta diff HEAD~"
    with provisionalcompleter():
        found = list(shell.Completer.completions(line, len(line)))
    assert [(one.text, line[one.start : one.end]) for one in found] == [("HEAD~1", "HEAD~")]


def test_completion_elsewhere_is_left_alone(shell: InteractiveShell) -> None:
    value(shell, "theta_value = 1")
    assert words(shell, "theta_va") == ["theta_value"]
    assert "%theta" in words(shell, "%thet")


def test_loading_twice_completes_once(shell: InteractiveShell) -> None:
    value(shell, "%reload_ext theta_jupyter")
    assert words(shell, "%theta dif") == ["diff"]
    assert len([m for m in shell.Completer.custom_matchers if m.__module__.startswith("theta_jupyter")]) == 1


def test_messages_are_results_too(shell: InteractiveShell) -> None:
    assert isinstance(value(shell, "%theta add"), Message)


def test_diff_with_a_model_in_memory(shell: InteractiveShell) -> None:
    value(shell, "import torch; from safetensors.torch import load_file")
    value(shell, f"model = load_file('{MODEL}')")  # As the work tree has it: with another b than HEAD.
    kept = value(shell, "%theta diff HEAD --with model")
    assert isinstance(kept, Diff)
    assert (kept.old, kept.new) == ("HEAD", "model")
    assert [tensor.name for tensor in kept.files[0].changed] == ["b"]
    # What is staged, beside the model: nothing is, so it is what HEAD has.
    staged = value(shell, "%theta diff --cached --with model --json")
    assert (staged["old"], staged["new"], staged["files"][0]["path"]) == ("index", "model", MODEL)
    value(shell, "class Trainer: pass")
    value(shell, "trainer = Trainer(); trainer.model = dict(model, c=model['c'] + 1)")
    assert words(shell, "%theta diff HEAD --with mod") == ["model"]
    assert words(shell, "%theta diff HEAD --with trainer.m") == ["trainer.model"]
    found = value(shell, f"%theta diff --with trainer.model -t c --exact -- {MODEL}")
    assert [(tensor.name, tensor.changed) for tensor in found.files[0].tensors] == [("c", 1.0)]
    assert value(shell, f"%theta diff --no-index {MODEL} --with model").files == ()
    for line, message in {
        "%theta diff --with modle": "there is no variable 'modle'",
        "%theta diff --with trainer.nothing": "'trainer.nothing': a Trainer has no 'nothing'",
        "%theta diff --with Trainer": "Trainer, of type type, holds no tensors\n  give a module, or a state dict",
        "%theta diff HEAD HEAD --with model": "a model takes the place of the new version",
    }.items():
        assert str(shell.run_cell(line).error_in_exec).startswith(message)


def test_a_notebook_from_top_to_bottom(empty: Repo) -> None:
    import nbformat
    from nbclient import NotebookClient

    (empty.top / MODEL).write_bytes(safetensors())
    (empty.top / "next").write_bytes(safetensors(b=1, wide=2))
    cells = [
        "%load_ext theta_jupyter",
        "%theta init",
        f"%theta track {MODEL}",
        "%theta commit -m 'base model'",
        f"import shutil; shutil.copy('next', '{MODEL}')",
        "%theta",
        "%theta commit -m next",
        "d = %theta diff HEAD~1",
        "d",
        "sorted(tensor.name for tensor in d.files[0].changed)",
        f"%theta checkout HEAD~1 -- {MODEL}",
        f"from theta_jupyter import load; load('{MODEL}', 'HEAD')['wide'].shape",
        "%theta log",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": empty.top}}).execute()
    shown = {cell.source: cell.outputs for cell in notebook.cells}
    assert "101" not in shown
    assert "2 of 5 tensors" in shown["%theta"][0]["data"]["text/plain"]
    assert "<img" in shown["d"][0]["data"]["text/html"]
    assert shown[cells[9]][0]["data"]["text/plain"] == "['b', 'wide']"
    assert shown[cells[11]][0]["data"]["text/plain"] == "(160, 128)"
    assert "base model" in shown["%theta log"][0]["data"]["text/html"]
    assert empty.read() == safetensors()
    # Nothing is left on a saved page but results.
    assert all(output["output_type"] == "execute_result" for outputs in shown.values() for output in outputs)
