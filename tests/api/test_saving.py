"""From memory to a commit: ``Repository.save`` and ``%theta commit --save``."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.api.place import write
from tests.e2e.repo import MODEL, weights
from theta_jupyter import Repository, load
from theta_jupyter.answers import Commit
from theta_jupyter.checkpoints import safetensors as plugin
from theta_jupyter.cli import main
from theta_jupyter.commands import Session, theta
from theta_jupyter.errors import RequestError, ThetaError
from theta_jupyter.results import Message
from theta_jupyter.storage.beside import machine

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


def model(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(OrderedDict(first=torch.nn.Linear(3, 4), norm=torch.nn.BatchNorm1d(4)))


def same(found: Any, expected: Any) -> bool:
    """Whether two state dicts are the same, bit for bit."""
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def leftovers(repo: Repo) -> list[str]:
    return [path.name for path in repo.top.rglob("*theta-*") if ".git" not in path.parts]


def test_a_model_in_one_call(repo: Repo) -> None:
    net = model()
    commit = Repository().save(net, "net.safetensors", "one")
    assert isinstance(commit, Commit)
    assert (commit.subject, commit.models) == ("one", ("net.safetensors",))
    assert same(load_file("net.safetensors"), net.state_dict())
    assert same(load("net.safetensors", "HEAD").to_torch(), net.state_dict())
    assert repo.status() == ""
    assert "/net.safetensors filter=theta" in (repo.top / ".gitattributes").read_text()
    assert leftovers(repo) == []
    net.get_parameter("first.weight").data += 1
    Repository().save(net, "net.safetensors", "two")
    changed = Repository().diff("HEAD~1", "HEAD").files[0].changed
    assert [tensor.name for tensor in changed] == ["first.weight"]


def test_without_a_message_it_is_staged(repo: Repo) -> None:
    head = repo.head()
    said = Repository().save(model(), "net.pt")
    assert said == Message("staged net.pt", ("now tracking net.pt",))
    assert repo.head() == head
    assert {entry.path: entry.state for entry in Repository().status().entries} == {"net.pt": "new"}
    # Tracked by now, and by a pattern that was there.
    assert Repository().save(model(1), "net.pt") == Message("staged net.pt")
    Repository().track("*.npz")
    assert Repository().save({"a": np.ones(2)}, "x.npz") == Message("staged x.npz")


def test_from_a_folder_to_one_that_is_new(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo.top / "sub").mkdir()
    monkeypatch.chdir(repo.top / "sub")
    commit = Repository().save(model(), "deep/[net] *.pt", "odd")
    assert commit.models == ("sub/deep/[net] *.pt",)  # type: ignore[union-attr]  # a commit
    assert same(torch.load("deep/[net] *.pt"), model().state_dict())
    assert repo.status() == ""


def test_where_nothing_is_set_up(empty: Repo) -> None:
    empty.git("init", "--quiet")
    Repository().save(model(), MODEL, "first")
    assert empty.manifest().header.format == "safetensors"
    assert empty.status() == ""


def test_everything_of_a_training(repo: Repo) -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    Repository().save({"model": net, "optimizer": optimizer, "epoch": 3}, "all.pt", "all")
    found = torch.load("all.pt", weights_only=True)
    assert same(found["model"], net.state_dict())
    assert found["epoch"] == 3
    assert "optimizer/state/0/exp_avg" in load("all.pt", "HEAD")
    with pytest.raises(RequestError, match="holds dense tensors, and 'model' is a dict") as caught:
        Repository().save({"model": net}, "all.safetensors")
    assert ".pt" in caught.value.hint
    assert repo.status() == ""


def test_tied_weights_are_told(repo: Repo) -> None:
    net = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False))
    net[1].weight = net[0].weight
    said = Repository().save(net, "tied.safetensors")
    assert isinstance(said, Message)
    assert said.details[1] == "not in the file by name: 1.weight (tied to another tensor, or an array in a pickle)"
    assert list(load("tied.safetensors")) == ["0.weight"]
    assert repo.manifest(":tied.safetensors").records.keys() == {"0.weight"}


def test_a_version_saved_as_another_file(repo: Repo) -> None:
    for suffix in ("pt", "safetensors", "npz"):
        Repository().save(load(MODEL, "HEAD"), f"copy.{suffix}")
        found = load(f"copy.{suffix}")
        assert {name: array.tobytes() for name, array in found.items()} == {
            name: array.tobytes() for name, array in weights().items()
        }
    Repository().save({"old": load(MODEL, "HEAD"), "step": 1}, "nested.pt")
    assert torch.load("nested.pt", weights_only=True)["old"].keys() == weights().keys()
    assert repo.read() == (repo.top / MODEL).read_bytes()


@pytest.mark.parametrize("obj", [None, 3, "text", {}, [1, 2], {"a": {"b": []}}, torch.nn.Linear, torch])
def test_what_has_no_tensor(repo: Repo, obj: Any) -> None:
    with pytest.raises(RequestError, match="there is no tensor in this"):
        Repository().save(obj, "x.pt", "nothing")
    assert not (repo.top / "x.pt").exists()
    assert repo.status() == ""


def test_what_cannot_be_pickled(repo: Repo) -> None:
    with pytest.raises(RequestError, match=r"cannot write x\.pt: .*lambda"):
        Repository().save({"w": torch.ones(1), "f": lambda: None}, "x.pt")
    assert repo.status() == ""
    assert leftovers(repo) == []


@pytest.mark.parametrize("path", ["x.onnx", "noname", "../outside.pt", "sub.pt", ".git/x.pt"])
def test_where_it_cannot_be_written(repo: Repo, path: str) -> None:
    (repo.top / "sub.pt").mkdir()
    with pytest.raises(ThetaError):
        Repository().save(model(), path, "no")
    assert not (repo.top / ".git/x.pt").exists()
    assert repo.status() == ""
    assert leftovers(repo) == []


def test_a_file_of_another_filter_stays_as_it_is(repo: Repo) -> None:
    with (repo.top / ".gitattributes").open("a") as file:
        file.write("*.pt filter=lfs\n")
    (repo.top / "x.pt").write_text("mine")
    before = repo.status()
    with pytest.raises(RequestError, match="already has the filter 'lfs'"):
        Repository().save(model(), "x.pt", "no")
    assert (repo.top / "x.pt").read_text() == "mine"
    assert repo.status() == before
    assert leftovers(repo) == []


def test_a_file_that_git_ignores(repo: Repo) -> None:
    (repo.top / ".gitignore").write_text("*.pt\n")
    with pytest.raises(RequestError, match=r"x\.pt is ignored by Git"):
        Repository().save(model(), "x.pt", "no")
    assert not (repo.top / "x.pt").exists()
    # What Git has already, it does not ignore.
    (repo.top / ".gitignore").write_text("*.safetensors\n")
    Repository().save(model(), MODEL, "two")
    assert repo.manifest().records.keys() == model().state_dict().keys()


def test_a_wrong_origin_is_found_out_first(repo: Repo) -> None:
    data = repo.read()
    with pytest.raises(RequestError, match="is not committed"):
        Repository().save(model(), MODEL, "no", derived_from="nothing.pt")
    assert repo.read() == data
    commit = Repository().save(model(), "tuned.safetensors", "tuned", derived_from=MODEL)
    assert commit.derived_from == (f"{MODEL}@{repo.head('HEAD~1')}",)  # type: ignore[union-attr]  # a commit


def test_nothing_new_is_no_commit(repo: Repo) -> None:
    Repository().save(model(), "net.pt", "one")
    head = repo.head()
    with pytest.raises(RequestError, match=r"nothing to commit: net\.pt did not change"):
        Repository().save(model(), "net.pt", "again")
    assert repo.head() == head
    assert repo.status() == ""


def test_what_else_is_staged_stays_staged(repo: Repo) -> None:
    (repo.top / "code.py").write_text("x = 1")
    repo.git("add", "code.py")
    for path in ("net.pt", "sub/[net] *.pt"):
        commit = Repository().save(model(), path, "model", derived_from=MODEL)
        assert commit.models == (path,)  # type: ignore[union-attr]  # a commit
        assert repo.git("show", "--format=", "--name-only", "-z").split("\0")[:-1] == [".gitattributes", path]
        assert repo.status() == "A  code.py\n"
        assert same(load(path, "HEAD").to_torch(), model().state_dict())
    with pytest.raises(RequestError, match=r"net\.pt did not change"):
        Repository().save(model(), "net.pt", "again")
    Repository().commit("all")
    assert repo.git("show", "--format=", "--name-only") == "code.py\n"


def test_a_first_commit_has_only_the_model(empty: Repo) -> None:
    empty.git("init", "--quiet")
    (empty.top / "code.py").write_text("x = 1")
    empty.git("add", "code.py")
    Repository().save(model(), MODEL, "first")
    assert empty.git("ls-tree", "-r", "--name-only", "HEAD") == f".gitattributes\n{MODEL}\n"
    assert empty.status() == "A  code.py\n"


def test_a_merge_is_committed_as_a_whole(conflict: Repo) -> None:
    (conflict.top / "code.py").write_text("x = 1")
    conflict.git("add", "code.py")
    Repository().checkout(paths=[MODEL], side="ours")
    Repository().save(model(), "net.pt", "merged")
    assert conflict.git("rev-parse", "HEAD^2") == conflict.git("rev-parse", "theirs")
    assert conflict.status() == ""


def test_a_conflict_is_left_alone(conflict: Repo) -> None:
    data = conflict.read()
    with pytest.raises(RequestError, match="is in conflict"):
        Repository().save(model(), MODEL, "no")
    assert conflict.read() == data


def test_permissions(repo: Repo) -> None:
    def mode(name: str) -> int:
        return stat.S_IMODE((repo.top / name).stat().st_mode)

    umask = os.umask(0o027)
    try:
        Repository().save(model(), "new.pt")
    finally:
        os.umask(umask)
    assert mode("new.pt") == 0o640
    (repo.top / "new.pt").chmod(0o604)
    Repository().save(model(1), "new.pt")
    assert mode("new.pt") == 0o604
    # A link is replaced, what it led to stays.
    (repo.top / "elsewhere.pt").write_text("mine")
    (repo.top / "link.pt").symlink_to("elsewhere.pt")
    Repository().save(model(), "link.pt")
    assert not (repo.top / "link.pt").is_symlink()
    assert (repo.top / "elsewhere.pt").read_text() == "mine"


def test_a_full_disk_leaves_what_was_there(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    data = repo.read()
    monkeypatch.setattr(plugin, "write", full)
    with pytest.raises(OSError, match="No space left"):
        Repository().save(model(), MODEL, "no")
    assert repo.read() == data
    assert leftovers(repo) == []
    assert repo.status() == ""


def test_killed_while_it_writes(repo: Repo) -> None:
    data = repo.read()
    code = (
        "import os, signal, torch\n"
        "from theta_jupyter import Repository\n"
        "from theta_jupyter.checkpoints import safetensors\n"
        "def half(state, path):\n"
        "    path.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "safetensors.write = half\n"
        f"Repository().save({{'a': torch.ones(3)}}, {MODEL!r}, 'no')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -9
    assert repo.read() == data
    assert len(leftovers(repo)) == 1
    # What others write at the moment, here or on another machine, stays.
    others = [
        f".theta-{machine()}.{os.getpid()}.{'0' * 16}.pt",
        f".theta-elsewhere.1.{'0' * 16}",
        ".theta-x",
    ]
    for name in others:
        (repo.top / name).touch()
    Repository().save(model(), MODEL)
    assert sorted(leftovers(repo)) == sorted(others)


def test_the_file_is_synced_before_it_takes_its_place(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        did.extend(["sync"] if name.startswith(".theta-") else [])
        sync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        did.extend(["replace"] if path.name.startswith(".theta-") else [])
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    Repository().save(model(), MODEL)
    assert did == ["sync", "replace"]
    assert repo.manifest(f":{MODEL}").records.keys() == model().state_dict().keys()


# %theta commit --save


def say(line: list[str], **names: Any) -> Any:
    return theta.main(args=line, prog_name="%theta", standalone_mode=False, obj=Session(names=names))


def test_a_variable_is_saved_and_committed(repo: Repo) -> None:
    net = model()
    line = ["commit", "net.safetensors", "--save", "net", "-m", "from a cell"]
    commit = say(line, net=net)
    assert isinstance(commit, Commit)
    assert commit.models == ("net.safetensors",)
    assert same(load_file("net.safetensors"), net.state_dict())
    say(["commit", "-m", "two", "--save", "holder.net", "--", "net.safetensors"], holder=_Holder(model(1)))
    assert same(load("net.safetensors", "HEAD").to_torch(), model(1).state_dict())
    assert repo.status() == ""


class _Holder:
    def __init__(self, net: torch.nn.Module) -> None:
        self.net = net


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (["x.pt", "--save", "nett"], "there is no variable 'nett'", "did you mean net?"),
        (["x.pt", "--save", "zzz"], "there is no variable 'zzz'", "run the cell that makes it first"),
        (["x.pt", "--save", "net.nope"], "'net.nope': a Sequential has no 'nope'", ""),
        (["--save", "net"], "--save needs one PATH, not 0", "git theta commit model.safetensors --save net"),
        (["x.pt", "y.pt", "--save", "net"], "--save needs one PATH, not 2", "git theta commit"),
        (["x.pt", "--save", "number"], "there is no tensor in this int", "save a model"),
    ],
)
def test_a_wrong_name(repo: Repo, line: list[str], message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        say(["commit", "-m", "no", *line], net=model(), number=3)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)
    assert bool(caught.value.hint) == bool(hint)
    assert repo.status() == ""


def test_a_terminal_has_no_variables(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["commit", "x.pt", "--save", "net", "-m", "no"]) == 1
    first, hint = capsys.readouterr().err.splitlines()
    assert first == "error: --save works in a notebook: a terminal has no models in memory"
    assert "Repository().save(model, PATH, message)" in hint
    write(b=1)
    assert main(["commit", MODEL, "-m", "two", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == [MODEL]
    assert repo.status() == ""


def test_in_a_notebook(repo: Repo) -> None:
    """In a real shell; names complete, those of IPython and those that hold nothing to save left out."""
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    try:
        shell.run_cell("%load_ext theta_jupyter").raise_error()
        shell.run_cell("import torch; net, nest = torch.nn.Linear(2, 1), {'w': torch.ones(2)}").raise_error()
        shell.run_cell("Net, _net, nothing, net_name, nets = torch.nn.Linear, net, None, 'net', [net, 1]").raise_error()

        def words(line: str) -> set[str]:
            with provisionalcompleter():
                return {found.text for found in shell.Completer.completions(line, len(line))}

        assert words("%theta commit x.pt --save ") == {"net", "nest", "nets"}
        assert words("%theta commit x.pt --save ne") == {"net", "nest", "nets"}
        assert words("c = %theta commit x.pt --save _ne") == {"_net"}
        done = shell.run_cell("%theta commit net.safetensors --save net -m 'from a cell'")
        done.raise_error()
        assert done.result.models == ("net.safetensors",)
        assert "did you mean net?" in str(shell.run_cell("%theta commit x.pt --save nett -m no").error_in_exec)
    finally:
        shell.history_manager.end_session()  # type: ignore[union-attr]  # there is one
        InteractiveShell.clear_instance()
    assert list(load("net.safetensors", "HEAD")) == ["bias", "weight"]
    assert repo.status() == ""
