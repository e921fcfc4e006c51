"""``git theta`` in a terminal: a real process, started by git's alias, from a shell without the virtual environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors
from theta_jupyter import Repository
from theta_jupyter.cli import main
from theta_jupyter.commands import theta

if TYPE_CHECKING:
    from tests.e2e.repo import Repo

COMMANDS = sorted(theta.commands)


def say(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``git theta`` as a user does."""
    assert os.environ["PATH"] == "/usr/bin:/bin"
    return subprocess.run(
        ["git", "theta", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_in_a_shell_without_the_environment(repo: Repo) -> None:
    data = write("sub/two.safetensors", b=1)
    sub = repo.top / "sub"
    tracked = say("track", "two.safetensors", cwd=sub)
    assert (tracked.returncode, tracked.stderr) == (0, "")
    assert tracked.stdout.startswith("tracking two.safetensors\n")
    done = say("commit", "-m", "from a subfolder", "two.safetensors", cwd=sub)
    assert (done.returncode, done.stderr) == (0, "")
    assert "from a subfolder: sub/two.safetensors" in done.stdout
    repo.check(data, "sub/two.safetensors")
    found = json.loads(say("--json", "show", cwd=sub).stdout)
    assert found["commit"]["models"] == ["sub/two.safetensors"]


def test_as_a_module_and_as_a_script(repo: Repo) -> None:
    script = Path(sys.executable).with_name("git-theta")
    for command in ([sys.executable, "-m", "theta_jupyter"], [str(script)]):
        done = subprocess.run([*command, "status", "--json"], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["branch"] == "main"
    assert repo.status() == ""


def test_exit_codes_and_errors(repo: Repo) -> None:
    (repo.top / "sub").mkdir()
    for arguments, status, message, hint in [
        (["dif"], 2, "error: there is no command 'dif'; did you mean diff?", "  see: git theta -h"),
        (["diff", "--exat"], 2, "error: No such option", "  see: git theta diff -h"),
        (["commit"], 2, "error: Missing option '-m'", "  see: git theta commit -h"),
        (["track"], 2, "error: Missing argument", "  see: git theta track -h"),
        (["commit", "-m", "x"], 1, "error: nothing to commit", "  what is tracked: git theta ls-files"),
        (["diff", "HAED"], 1, "error: 'HAED' is not a commit, branch or tag, nor a file", "  for a file that is"),
        (["add", "sub/../../x"], 1, "error: sub/../../x is outside", ""),
    ]:
        done = say(*arguments)
        first, *rest = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (status, "")
        assert first.startswith(message)
        assert len(rest) == bool(hint)
        assert all(line.startswith(hint) for line in rest)


def test_outside_a_repository(empty: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["status"], ["log"], ["diff"], ["push"]):
        assert main(arguments) == 1
        first, hint = capsys.readouterr().err.splitlines()
        assert first == f"error: {empty.top} is not in the work tree of a Git repository"
        assert hint.endswith("git theta init")


def test_a_bug_is_told_without_a_traceback(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Repository) -> None:
        message = "two\nlines \x1b[31m"
        raise RuntimeError(message)

    monkeypatch.setattr(Repository, "status", broken)
    assert main(["status"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: a bug in theta: RuntimeError: two\nlines \\x1b[31m\n")
    assert "please report it" in error
    monkeypatch.setenv("THETA_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["status"])
    assert repo.status() == ""


def test_an_error_of_the_system_is_told(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Repository) -> None:
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr(Repository, "status", full)
    assert main([]) == 1
    assert capsys.readouterr().err == "error: No space left on device: there\n"
    assert repo.status() == ""


@pytest.mark.usefixtures("repo")
def test_json_of_every_command(bare: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {
        "add": [["add"]],
        "branch": [["branch", "other"]],
        "clone": [["clone", "../bare", "../lazy", "--lazy"]],
        "checkout": [["checkout", "--", MODEL], ["checkout", "other"], ["checkout", "-"]],
        "commit": [["commit", "-m", "two"]],
        "diff": [["diff"], ["diff", "HEAD~1", "-t", "b"], ["diff", "HEAD~1", "--exact"]],
        "du": [["du"], ["du", "--branches"], ["du", "--tensors", "HEAD", "--", MODEL]],
        "fetch": [["fetch"]],
        "fsck": [["fsck"], ["fsck", "--all", "--quick"]],
        "gc": [["gc", "--dry-run"], ["gc", "--grace", "1"]],
        "history": [["history", MODEL], ["history", MODEL, "-t", "b", "-t", "w*", "-n1"], ["history", "--", MODEL]],
        "init": [["init"]],
        "install": [["install"]],
        "log": [["log"], ["log", "-n1", "HEAD", "--", MODEL]],
        "ls-files": [["ls-files"]],
        "merge": [["merge"], ["merge", "other"]],
        "migrate": [],  # All is tracked already.
        "prefetch": [["prefetch"], ["prefetch", "HEAD", "--include", "b", "--", MODEL]],
        "pull": [["pull", "--quiet"]],
        "push": [["push"]],
        "resolve": [],  # Nothing is in conflict.
        "show": [["show"]],
        "status": [["status"], []],
        "strategies": [["strategies"], ["strategies", "ties"]],
        "switch": [["switch", "other"], ["switch", "-"]],
        "track": [["track", "*.pt"]],
        "untrack": [["untrack", "*.pt"]],
        "uninstall": [["uninstall", "--global"], ["uninstall"]],
    }
    assert sorted(arguments) == COMMANDS
    write(b=1)
    order = "status diff add commit diff show log history ls-files track untrack branch switch checkout push pull fetch"
    for name in [
        *order.split(),
        "prefetch",
        "clone",
        "merge",
        "resolve",
        "strategies",
        "du",
        "gc",
        "fsck",
        "init",
        "install",
    ]:
        for line in arguments[name]:
            if name == "diff" and "HEAD~1" in line and len(json.loads(_json(capsys, ["log"]))["commits"]) < 2:
                continue
            assert isinstance(json.loads(_json(capsys, line)), dict)
    for line in arguments["uninstall"]:
        assert isinstance(json.loads(_json(capsys, line)), dict)
    assert bare.head("main")


def _json(capsys: pytest.CaptureFixture[str], line: list[str]) -> str:
    capsys.readouterr()
    place = line.index("--") if "--" in line else len(line)
    assert main([*line[:place], "--json", *line[place:]]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    return out


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [name] if name else []
    assert main([*words, "-h"]) == 0
    text = capsys.readouterr().out
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out == text
    assert text.startswith(f"Usage: git theta {name}".rstrip() + " [OPTIONS]")
    assert max(map(len, text.splitlines())) <= 100
    assert "..." not in text.partition("Options:")[2]  # Nothing had to be cut.


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    command = theta.commands[name]
    assert (command.help or "").partition("\n")[0].endswith(".")
    assert "json" in {parameter.name for parameter in command.params}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help


def test_commands_are_defined_once_and_shared(repo: Repo) -> None:
    """A terminal and a notebook call the same objects."""
    from theta_jupyter import cli
    from theta_jupyter.jupyter import magics

    assert vars(cli)["theta"] is vars(magics)["theta"] is theta
    assert len({id(command.callback) for command in theta.commands.values()}) == len(theta.commands)
    assert set(COMMANDS) == {
        *("init", "install", "uninstall", "track", "untrack", "ls-files", "status", "add", "commit", "log", "diff"),
        *("show", "history", "checkout", "switch", "branch", "push", "pull", "fetch", "prefetch", "clone", "migrate"),
        *("merge", "resolve", "strategies", "du", "gc", "fsck"),
    }
    assert repo.status() == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from theta_jupyter import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"theta, version {__version__}\n"


@pytest.mark.parametrize("name", ["-f", "HEAD", "--json", "main"])
def test_files_with_the_names_of_other_things(repo: Repo, name: str) -> None:
    first = safetensors(5)
    (repo.top / name).write_bytes(first)
    for arguments in (["track", "--", name], ["add", "--", name], ["commit", "-m", "one", "--", name]):
        done = say(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    (repo.top / name).write_bytes(safetensors(5, b=1))
    diff = json.loads(say("diff", "--json", "--", name).stdout)
    assert [file["path"] for file in diff["files"]] == [name]
    assert [commit["subject"] for commit in json.loads(say("log", "--json", "--", name).stdout)["commits"]] == ["one"]
    assert say("checkout", "HEAD", "--", name).returncode == 0
    repo.check(first, name)
    # Without the dashes, a ref is a ref.
    assert json.loads(say("diff", "--json", "HEAD").stdout)["old"] == "HEAD"


def test_refs_and_paths_are_told_apart(repo: Repo) -> None:
    write(b=1)
    assert say("commit", "-m", "two").returncode == 0
    for arguments in (["HEAD~1", MODEL], ["HEAD~1", "HEAD", MODEL], ["HEAD~1..HEAD"], ["HEAD~1", "HEAD", "--", MODEL]):
        found = json.loads(say("diff", "--json", *arguments).stdout)
        assert [tensor["name"] for tensor in found["files"][0]["tensors"] if tensor["status"]] == ["b"]
    assert json.loads(say("diff", "--json", MODEL).stdout)["files"] == []
    assert "too many refs" in say("diff", "HEAD", "HEAD", "HEAD", "--").stderr
    (repo.top / MODEL).unlink()
    assert json.loads(say("diff", "--json", "--", MODEL).stdout)["files"][0]["status"] == "D"


def test_the_sides_of_a_conflict(conflict: Repo) -> None:
    done = say("commit", "-m", "merge")
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[1] == "  decide with: git theta resolve, then finish with: git theta merge --continue"
    )
    assert say("checkout", "--theirs", "--", MODEL).returncode == 0
    assert say("commit", "-m", "merge").returncode == 0
    conflict.check(safetensors(a=1, wide=2, b=2))


def test_whoever_reads_may_hang_up(repo: Repo) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "theta_jupyter", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    assert repo.status() == ""


def test_a_terminal_that_cannot_write_every_letter(repo: Repo) -> None:
    name = "ü→漢.safetensors"
    write(name)
    repo.git("config", "core.quotepath", "false")
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-m", "theta_jupyter"], env=env, capture_output=True, check=True)
    assert "ü\\u2192\\u6f22.safetensors" in done.stdout.decode("latin-1")


def test_a_path_that_is_not_text(repo: Repo) -> None:
    path = os.fsdecode(b"\xff.safetensors")
    write(MODEL)
    os.link(MODEL, path)
    assert say("track", "*.safetensors").returncode == 0
    assert say("commit", "-m", "odd").returncode == 0
    assert "\\udcff.safetensors" in say("ls-files").stdout
    assert path in {file["path"] for file in json.loads(say("ls-files", "--json").stdout)["files"]}
    assert repo.status() == ""


SLOW = """
import pathlib, time
from theta_jupyter.checkpoints import safetensors

def locate(data):
    layout = safetensors.locate(data)
    if layout is not None and "SLOW" in bytes(data[:200]).decode(errors="replace"):
        pathlib.Path("begun").touch()
        while True:
            time.sleep(0.01)
    return layout
"""


@pytest.fixture
def slow(repo: Repo) -> Path:
    """A folder with a plug-in that never finishes with files that say SLOW."""
    folder = repo.top.parent / "plugins"
    (folder / "slow-1.dist-info").mkdir(parents=True)
    (folder / "slow_plugin.py").write_text(SLOW)
    (folder / "slow-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
    (folder / "slow-1.dist-info/entry_points.txt").write_text("[theta_jupyter.checkpoints]\n0-slow = slow_plugin\n")
    return folder


@pytest.mark.parametrize("words", [["add"], ["commit", "-m", "x"], ["status"]])
def test_interrupt(repo: Repo, slow: Path, words: list[str]) -> None:
    write("other.safetensors", b=1)
    (repo.top / MODEL).write_bytes(_marked())
    before = (repo.head(), repo.text(f":{MODEL}"), repo.read())
    env = os.environ | {"PYTHONPATH": str(slow)}
    with subprocess.Popen(
        [sys.executable, "-m", "theta_jupyter", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (repo.top / "begun").exists():
            assert process.poll() is None, process.communicate()
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert error.strip().splitlines()[0] == "error: interrupted"
    assert "Traceback" not in error
    assert (repo.head(), repo.text(f":{MODEL}"), repo.read()) == before
    (repo.top / "begun").unlink()
    assert not (repo.top / ".git/index.lock").exists()
    assert say("commit", "-m", "again").returncode == 0
    (repo.top / "other.safetensors").unlink()
    repo.check(before[2])
    assert list((repo.theta / "tmp").glob("*")) == []


def _marked() -> bytes:
    save_file({"a": np.zeros((4, 4), np.float32)}, "marked", {"note": "SLOW"})
    data = Path("marked").read_bytes()
    Path("marked").unlink()
    return data
