"""Every verb that writes, killed at its write points: the old state stands or the new one does, and the next run heals.

Some points by default; with ``THETA_SOAK`` set, all of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e.killing import killed_at, write_points
from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository

if TYPE_CHECKING:
    from pathlib import Path

SOAK = bool(os.environ.get("THETA_SOAK"))
POINTS = 6
"""Write points of each verb that are tried by default."""
OLD, NEW, THEIRS = safetensors(), safetensors(b=1, wide=2), safetensors(c=3)
MERGED = safetensors(b=1, wide=2, c=3)


class Verb(NamedTuple):
    """A verb, what has to be done before it, and what lies in the work tree and in HEAD before it and after."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    before: tuple[bytes, bytes]
    after: tuple[bytes, bytes]


VERBS = {
    "add": Verb("add", ((MODEL,),), {}, (NEW, OLD), (NEW, OLD)),
    "commit": Verb("commit", ("new",), {}, (NEW, OLD), (NEW, NEW)),
    "switch": Verb("switch", ("theirs",), {}, (OLD, OLD), (THEIRS, THEIRS)),
    "checkout": Verb("checkout", ("theirs", (MODEL,)), {}, (OLD, OLD), (THEIRS, OLD)),
    "merge": Verb("merge", ("theirs",), {}, (NEW, NEW), (MERGED, MERGED)),
    "gc": Verb("gc", (), {"grace": 0.0}, (OLD, OLD), (OLD, OLD)),
    "push": Verb("push", ("--quiet", "origin", "main", "theirs"), {}, (NEW, NEW), (NEW, NEW)),
    "pull": Verb("pull", ("--quiet", "--no-rebase", "origin", "theirs"), {}, (NEW, NEW), (MERGED, MERGED)),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``work``, with ``main`` and ``theirs``, and objects nobody needs; and ``origin``, which has ``theirs`` alone."""
    top = tmp_path_factory.mktemp("template")
    (top / "home").mkdir()
    repo = Repo(top / "work", top / "home").init()
    repo.track()
    repo.commit(OLD, "old")
    repo.git("init", "--quiet", "--bare", str(top / "origin"))
    repo.git("remote", "add", "origin", "../origin")
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(THEIRS, "theirs")
    repo.git("push", "--quiet", "origin", "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(a=9, wide=9), "forgotten")
    repo.git("reset", "--quiet", "--hard", "HEAD~1")
    repo.git("reflog", "expire", "--expire=now", "--all")
    return top


def _place(template: Path, folder: Path, verb: Verb) -> Repo:
    """A repository in which the verb may be done."""
    shutil.copytree(template, folder)
    repo = Repo(folder / "work", folder / "home")
    repo.settle()
    work, head = verb.before
    if head != OLD:
        repo.commit(head, "ours")
    elif work != OLD:
        repo.write(work)
    return repo


def _points(count: int) -> list[int]:
    return list(range(1, count + 1)) if SOAK else sorted({1 + n * (count - 1) // (POINTS - 1) for n in range(POINTS)})


@pytest.mark.parametrize("name", VERBS)
def test_killed(template: Path, tmp_path: Path, name: str) -> None:
    verb = VERBS[name]
    count = write_points(_place(template, tmp_path / "counted", verb), verb.name, *verb.args, **verb.options)
    assert count > POINTS
    for point in _points(count):
        repo = _place(template, tmp_path / f"at {point}", verb)
        assert killed_at(point, repo, verb.name, *verb.args, **verb.options)
        with repo.environment(), contextlib.chdir(repo.top):
            _check(repo, verb, point)
        shutil.rmtree(tmp_path / f"at {point}")


def _check(repo: Repo, verb: Verb, point: int) -> None:
    # HEAD is the old or the new one, and everything that any version needs is there.
    head = repo.text()
    work, _ = verb.after
    checked = Repository().fsck(every=True)
    assert not checked.losses, (point, checked.text())
    assert not [fault for fault in checked.faults if fault.problem == "damaged"], (point, checked.text())
    if verb.name == "push":
        # No commit is where its objects are not.
        remote = Repository(repo.top.parent / "origin", bare=True).fsck(every=True)
        assert not remote.losses, (point, remote.text())
    # The same again does what it would have done.
    if verb.name in {"merge", "pull"} and (repo.worktree.git_dir / "MERGE_HEAD").exists():
        repo.git("merge", "--abort")
    if repo.text() != head or repo.git("log", "-1", "--format=%s").strip() != "new":
        repo.git("reset", "--quiet", "--mixed")
        if verb.name in {"switch", "checkout", "merge", "pull"}:
            Repository().checkout(paths=[MODEL])
        getattr(Repository(), verb.name)(*verb.args, **verb.options)
    assert repo.read() == work, point
    if verb.after[0] == verb.after[1]:
        repo.check(work)
    assert not list((repo.theta / "tmp").glob(f"*.{os.getpid()}.*"))
    Repository().gc(grace=0)
    assert [*(repo.theta / "tmp").iterdir()] == [], point
    assert not list(repo.worktree.git_dir.glob("*.lock")), point
