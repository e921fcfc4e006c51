"""Remotes as teams have them: a server beside Git, several of them, forks, mirrors; and servers that misbehave."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.e2e.host import Host, serving
from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.git.transfer import POINTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FIRST, SECOND, THIRD = safetensors(), safetensors(b=1, wide=2), safetensors(b=1, wide=2, c=3)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with serving(tmp_path / "host") as found:
        yield found


@pytest.fixture
def origin(repo: Repo) -> Repo:
    """An empty bare repository, which is the origin of the first, where LFS tries once and then gives up."""
    repo.git("config", "--file", str(repo.top.parent / "retries"), "lfs.transfer.maxretries", "1")
    bare = repo.bare("origin.git")
    repo.git("remote", "add", "origin", str(bare.top))
    return bare


def _clone(origin: Repo, name: str, **config: str) -> Repo:
    """A clone that is set up and has a manifest in place of its model."""
    clone = origin.clone(name)
    for key, value in config.items():
        clone.git("config", key.replace("_", "."), value)
    clone.install()
    return clone


def _bring(clone: Repo, path: str = MODEL) -> None:
    (clone.top / path).unlink()
    clone.git("checkout", "--quiet", "--", path)


def _stored(bare: Repo) -> set[str]:
    return {path.name for path in (bare.top / "theta/objects").glob("??/??/*")}


def test_what_a_clone_downloads_and_a_push_sends(repo: Repo, origin: Repo, host: Host) -> None:
    """Counted at the server: no more than what the version is made of; of a small change, what it is stored in."""
    repo.git("config", "lfs.url", host.url)
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    every = {**repo.manifest().places(), **repo.manifest(f"HEAD~1:{MODEL}").places()}
    assert host.received == sum(every.values())
    host.forget()
    clone = _clone(origin, "clone", lfs_url=host.url)
    _bring(clone)
    clone.check(SECOND)
    assert host.sent == sum(repo.manifest().places().values())
    assert sorted(host.log) == sorted(f"GET {name}" for name in repo.manifest().places())
    host.forget()
    clone.commit(THIRD)
    clone.git("push", "--quiet", "origin", "main")
    [new] = set(clone.manifest().places()) - every.keys()
    assert host.log == [f"PUT {new}"]
    assert host.received == clone.manifest().places()[new]


def test_a_url_in_lfsconfig(repo: Repo, origin: Repo, host: Host) -> None:
    """The file that is committed tells everybody where objects are, as it does for files of LFS."""
    repo.git("config", "--file", ".lfsconfig", "lfs.url", host.url)
    repo.commit()
    repo.git("push", "--quiet", "origin", "main")
    assert host.objects == repo.objects
    assert _stored(origin) == set()
    clone = _clone(origin, "clone")
    _bring(clone)
    clone.check(FIRST)


def test_another_url_to_push_to(repo: Repo, origin: Repo) -> None:
    repo.git("push", "--quiet", "origin", "main")
    elsewhere = repo.bare("elsewhere.git")
    repo.git("remote", "set-url", "--push", "origin", str(elsewhere.top))
    before = _stored(origin)
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    assert _stored(elsewhere) == repo.objects
    assert _stored(origin) == before


def test_a_fork(repo: Repo, origin: Repo) -> None:
    """Fetched from one remote, pushed to another, which gets all it needs."""
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    clone = _clone(origin, "clone")
    fork = repo.bare("fork.git")
    clone.git("remote", "add", "fork", str(fork.top))
    _bring(clone)
    clone.git("switch", "--quiet", "--create", "mine")
    clone.commit(THIRD)
    clone.git("push", "--quiet", "--set-upstream", "fork", "mine")
    assert _stored(fork) == clone.objects | repo.objects
    # Whoever has both remotes gets each version from whichever has it.
    reviewer = _clone(origin, "reviewer")
    reviewer.git("remote", "add", "fork", str(fork.top))
    reviewer.git("fetch", "--quiet", "fork")
    reviewer.git("checkout", "--quiet", "fork/mine")
    reviewer.check(THIRD)


def test_several_remotes_are_asked_in_turn(repo: Repo, origin: Repo, host: Host) -> None:
    repo.git("push", "--quiet", "--no-verify", "origin", "main")
    second = repo.bare("second.git")
    repo.git("push", "--quiet", str(second.top), "main")
    clone = _clone(origin, "clone")
    clone.git("remote", "add", "second", str(second.top))
    clone.git("remote", "add", "gone", str(repo.top.parent / "gone.git"))
    clone.git("config", "remote.gone.lfsurl", host.url)
    _bring(clone)
    clone.check(FIRST)


def test_pointers_are_published_for_mirrors(repo: Repo, origin: Repo) -> None:
    """A mirror that knows LFS, and nothing of us, carries objects that a ref names."""
    repo.git("config", "theta.publishPointers", "true")
    repo.git("push", "--quiet", "origin", "main")
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    named = origin.git("ls-tree", "--name-only", POINTERS).split()
    assert set(named) == repo.objects
    mirror = repo.top.parent / "mirror.git"
    repo.git("clone", "--quiet", "--mirror", f"file://{origin.top}", str(mirror))
    copy = Repo(mirror, repo.home)
    # As LFS keeps objects: what lies in the storage of the remote is what a server has under their names.
    (origin.top / "theta").rename(origin.top / "lfs")
    copy.git("lfs", "fetch", "--all", "origin")
    assert {path.name for path in (mirror / "lfs/objects").glob("??/??/*")} == repo.objects
    # Another who publishes adds to it, and one who has nothing new writes nothing.
    (origin.top / "lfs").rename(origin.top / "theta")
    clone = _clone(origin, "clone", theta_publishPointers="true")
    _bring(clone)
    tip = origin.head(POINTERS)
    clone.git("push", "--quiet", "origin", "HEAD:side")
    assert origin.head(POINTERS) == tip
    clone.commit(THIRD)
    clone.git("push", "--quiet", "origin", "HEAD:side")
    assert set(origin.git("ls-tree", "--name-only", POINTERS).split()) == repo.objects | clone.objects
    assert origin.git("rev-parse", f"{POINTERS}~1").strip() == tip
    assert POINTERS not in clone.git("for-each-ref")


def test_a_remote_that_takes_no_pointers(repo: Repo, origin: Repo) -> None:
    repo.git("config", "theta.publishPointers", "true")
    hook = origin.top / "hooks/update"
    hook.write_text('#!/bin/sh\ncase "$1" in refs/theta/*) echo "no such refs here"; exit 1;; esac\n')
    hook.chmod(0o755)
    words = repo.fails("push", "origin", "main")
    assert f"does not take {POINTERS}" in words
    assert "git config theta.publishPointers false" in words
    repo.git("config", "theta.publishPointers", "false")
    repo.git("push", "--quiet", "origin", "main")


def _refuse(_: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("403 Forbidden", [("Content-Type", "application/json")])
    return [b'{"message": "you may not"}']


def _babble(_: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/html")])
    return [b"<html>Welcome to the hotel's network"]


def _object(answer: Callable[[bytes], bytes], host: Host) -> Callable[[dict[str, Any], Any], Iterable[bytes] | None]:
    """What answers with something else in place of an object."""

    def fault(environ: dict[str, Any], start: Any) -> Iterable[bytes] | None:
        if environ["REQUEST_METHOD"] != "GET":
            return None
        content = host.path(environ["PATH_INFO"].rpartition("/")[2]).read_bytes()
        data = answer(content)
        start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(content)))])
        return [data]

    return fault


def _stall(host: Host) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """What begins to answer, and then says no more."""

    def fault(_: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "1000")])
        yield b"..."
        host.over.wait()

    return fault


@pytest.mark.parametrize(
    "fault", ["refuses", "babbles", "stalls", "cut short", "a flipped bit", "something else", "lost"]
)
def test_a_fetch_that_goes_wrong(repo: Repo, origin: Repo, host: Host, fault: str) -> None:
    """The manifest stays, the reason is told, nothing damaged is kept, and the next time heals."""
    repo.git("config", "lfs.url", host.url)
    repo.git("push", "--quiet", "origin", "main")
    clone = _clone(origin, "clone", lfs_url=host.url)
    clone.git("config", "lfs.transfer.maxretries", "1")
    lost = min(host.objects)
    content = host.path(lost).read_bytes()
    flipped = {
        "cut short": lambda data: data[:-10],
        "a flipped bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
        "something else": lambda data: b"x" * len(data),
    }
    if fault in flipped:
        host.faults += [_object(flipped[fault], host)] * 9
    elif fault == "lost":
        host.path(lost).unlink()
    else:
        clone.git("config", "lfs.activitytimeout", "1")
        host.faults += [{"refuses": _refuse, "babbles": _babble, "stalls": _stall(host)}[fault]] * 2
    (clone.top / MODEL).unlink()
    done = clone.run("checkout", "--", MODEL)
    assert done.returncode == 0
    words = done.stderr.decode()
    assert f"theta: {MODEL}: " in words
    clone.check(repo.text())
    for name in clone.objects:
        assert hashlib.sha256(clone.worktree.store.path(name).read_bytes()).hexdigest() == name
    host.faults.clear()
    host.path(lost).write_bytes(content)
    clone.git("theta", "checkout", "--", MODEL)
    clone.check(FIRST)


def test_a_fetch_that_is_given_up(repo: Repo, origin: Repo, host: Host) -> None:
    """Whoever is told how far it is may end it: then git and git-lfs end, too, and the next time heals."""
    repo.git("config", "lfs.url", host.url)
    repo.git("push", "--quiet", "origin", "main")
    clone = _clone(origin, "clone", lfs_url=host.url)
    stall = _stall(host)
    host.faults += [lambda e, s: stall(e, s) if e["REQUEST_METHOD"] == "GET" else None] * 9

    def give_up(what: str, _done: int, _total: int) -> None:
        assert what == "fetching"
        raise KeyboardInterrupt

    with clone.environment():
        repository = Repository(clone.top, give_up)
        with pytest.raises(KeyboardInterrupt):
            repository.prefetch()
    at_work = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if _is_in(process, clone.top)]
    assert at_work == []
    assert not list((clone.theta / "tmp").iterdir())
    host.over.set()
    host.faults.clear()
    clone.git("theta", "checkout", "--", MODEL)
    clone.check(FIRST)


def _is_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("fault", ["refuses", "babbles"])
def test_a_push_that_goes_wrong(repo: Repo, origin: Repo, host: Host, fault: str) -> None:
    """No commit goes where its objects could not."""
    repo.git("config", "lfs.url", host.url)
    repo.git("config", "lfs.transfer.maxretries", "1")
    host.faults += [{"refuses": _refuse, "babbles": _babble}[fault]] * 2
    words = repo.fails("push", "origin", "main")
    assert "theta: git lfs push failed: " in words
    assert origin.git("for-each-ref") == ""
    host.faults.clear()
    repo.git("push", "--quiet", "origin", "main")
    assert host.objects == repo.objects


def test_a_server_that_is_gone(repo: Repo, origin: Repo, tmp_path: Path) -> None:
    with serving(tmp_path / "host") as host:
        repo.git("config", "lfs.url", host.url)
        repo.git("config", "lfs.transfer.maxretries", "1")
        repo.git("push", "--quiet", "origin", "main")
        repo.commit(SECOND)
    words = repo.fails("push", "origin", "main")
    assert "connection refused" in words
    assert origin.head("main") == repo.head("HEAD~1")
