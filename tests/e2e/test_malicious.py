"""A clone of somebody's repository who means ill: nothing is run, nothing is written outside, nothing is used up."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import ThetaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def victim(repo: Repo) -> Iterator[Path]:
    """An empty folder, which is the current one, beside one that must stay empty."""
    desk = repo.top.parent / "desk"
    desk.mkdir()
    (repo.top.parent / "outside").mkdir()
    with repo.environment(), contextlib.chdir(desk):
        yield desk
    assert list((repo.top.parent / "outside").iterdir()) == []


def _commit(repo: Repo, text: bytes, path: str = MODEL) -> None:
    """Commit a manifest as it is, past our own filter."""
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", data=text).strip()
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    repo.git("commit", "--quiet", "-m", "ill")


def _header(repo: Repo, **changed: object) -> bytes:
    lines = repo.text().split(b"\n")
    lines[1] = b" " + json.dumps({**json.loads(lines[1]), **changed}, separators=(",", ":")).encode()
    return b"\n".join(lines)


def _tensor(repo: Repo, change: Callable[[dict[str, object]], None]) -> bytes:
    lines = repo.text().split(b"\n")
    at = next(n for n, line in enumerate(lines) if line == b"wide") + 1
    record = json.loads(lines[at])
    change(record)
    lines[at] = b" " + json.dumps(record, separators=(",", ":")).encode()
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "make",
    [
        lambda repo: _header(repo, size=1 << 50),
        lambda repo: _header(repo, size=1),
        lambda repo: _tensor(repo, lambda record: record.update(shape=[1 << 20, 1 << 20])),
        lambda repo: _tensor(repo, lambda record: record.update(offset=1 << 60, storage=1 << 62)),
        lambda repo: _tensor(repo, lambda record: record["nodes"][-1].update(size=1 << 50)),  # type: ignore[index]
        lambda repo: _tensor(repo, lambda record: record["nodes"][-1].update(object="../" * 20 + "etc/passwd")),  # type: ignore[index]
        lambda repo: repo.text() * 3,
        lambda repo: repo.text()[: len(repo.text()) // 2],
    ],
    ids=["huge", "tiny", "huge tensor", "far away", "huge object", "path for an id", "thrice", "half"],
)
def test_manifests_that_lie(repo: Repo, victim: Path, make: Callable[[Repo], bytes]) -> None:
    """The text stays in the file's place, with a word about it; no room is taken for what it claims."""
    text = make(repo)
    _commit(repo, text)
    repository, message = Repository.clone(str(repo.top), "clone")
    assert (victim / "clone" / MODEL).read_bytes() == text
    assert not any("checked out" in detail for detail in message.details)
    free = os.statvfs(victim)
    repository.status()
    with contextlib.suppress(ThetaError):
        repository.diff("HEAD~1", "HEAD")
    repository.fsck()
    with contextlib.suppress(ThetaError):
        repository.load(MODEL, "HEAD")["wide"]
    assert abs(os.statvfs(victim).f_bavail - free.f_bavail) * free.f_frsize < 1 << 30
    # The version before it is as good as it was.
    repository.checkout("HEAD~1")
    assert (victim / "clone" / MODEL).read_bytes() == safetensors()


def test_links_that_lead_out(repo: Repo, victim: Path) -> None:
    """A tracked link is a link; nothing is written where it leads."""
    outside = repo.top.parent / "outside"
    (repo.top / MODEL).unlink()
    (repo.top / MODEL).symlink_to(outside / "written")
    (repo.top / "folder").symlink_to(outside)
    repo.git("add", "--all")
    repo.git("theta", "track", "*.safetensors")
    repo.commit(message="links")
    Repository.clone(str(repo.top), "clone")
    os.chdir(victim / "clone")
    Repository().checkout("HEAD~1")
    Repository().checkout("HEAD@{1}")
    Repository().checkout(paths=["."])
    assert (victim / "clone" / MODEL).is_symlink()


def test_settings_in_a_clone_run_nothing(repo: Repo, victim: Path) -> None:
    """What a repository brings along for Git, LFS, Python and Jupyter to read is not believed."""
    outside = repo.top.parent / "outside"
    script = repo.top / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {outside}/ran\n")
    script.chmod(0o755)
    (repo.top / ".lfsconfig").write_text(
        f"[lfs]\n\tstorage = {outside}\n\tstandalonetransferagent = evil\n"
        '[lfs "customtransfer.evil"]\n\tpath = ./evil.sh\n[lfs "extension.evil"]\n\tclean = ./evil.sh\n'
        '\tsmudge = ./evil.sh\n[filter "theta"]\n\tprocess = ./evil.sh\n[core]\n\tfsmonitor = ./evil.sh\n'
    )
    hooks = repo.top / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "pre-commit", "pre-push", "post-merge"):
        (hooks / name).write_text(script.read_text())
        (hooks / name).chmod(0o755)
    trap = f"open({str(outside / 'imported')!r}, 'w')\n"
    for name in ("sitecustomize.py", "numpy.py", "theta_jupyter.py", "conftest.py"):
        (repo.top / name).write_text(trap)
    repo.commit(safetensors(a=2), "ill")
    repository, _ = Repository.clone(str(repo.top), "clone")
    os.chdir(victim / "clone")
    clone = Repo(victim / "clone", repo.home)
    clone.check(safetensors(a=2))
    clone.commit(safetensors(b=3), "mine")
    repository.checkout("HEAD~1")
    repository.fsck()
    clone.git("theta", "status")
    clone.git("push", "--quiet", "origin", "HEAD:refs/heads/side")


def test_names_of_tensors_are_only_names(repo: Repo, victim: Path) -> None:
    """Whatever a tensor is called, it is no path, no option, no markup and no order to a terminal."""
    import numpy as np
    from safetensors.numpy import save

    names = [
        "../../outside/x",
        "/etc/x",
        "--exec=touch outside",
        "\x1b[2J",
        "<script>alert(1)</script>",
        "a\nb",
        "%s{0}",
    ]
    repo.commit(save({name: np.ones((64, 64), np.float32) for name in names}), "names")
    repository, _ = Repository.clone(str(repo.top), "clone")
    os.chdir(victim / "clone")
    found = repository.diff("HEAD~1", "HEAD")
    assert len([tensor for tensor in found.files[0].tensors if tensor.status == "A"]) == len(names)
    for text in (found.text(), repository.log().text(), repository.du(by="tensor").text()):
        assert "\x1b" not in text
    loaded = repository.load(MODEL, "HEAD")
    assert {name: array.shape for name, array in loaded.items()} == dict.fromkeys(loaded, (64, 64))
    assert len(loaded) == len(names)
