"""Many processes at once in one repository: nothing damaged, nobody waits for ever, no lock is left.

Some have a work tree of their own, some share one and get in each other's way, and some collect what nobody needs.
By default a few of them for a few steps; with ``THETA_SOAK`` set, eight of them for ten minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import ThetaError
from theta_jupyter.git.roads import rebuild

if TYPE_CHECKING:
    from pathlib import Path

SOAK = bool(os.environ.get("THETA_SOAK"))
PROCESSES = 8 if SOAK else 4
STEPS = 10
SECONDS = 600 if SOAK else 0
GRACE = 2 / 24 / 60
"""Days: nobody here takes two minutes from storing an object to naming it in an index."""
OLD = 1_000_000_000
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.e2e.test_together", "theta_jupyter.api", "theta_jupyter.joining"])


@pytest.mark.timeout(SECONDS + 120)
def test_many_at_once(repo: Repo) -> None:
    repo.git("init", "--quiet", "--bare", "../origin")
    repo.git("remote", "add", "origin", "../origin")
    repo.git("config", "gc.auto", "0")
    repo.git("push", "--quiet", "origin", "main")
    # Versions that nothing knows of any more, old enough to be collected: some of what is in them is stored again.
    for number in range(PROCESSES):
        repo.commit(safetensors(wide=1000 * number + 3))
    repo.git("reset", "--quiet", "--hard", "origin/main")
    repo.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    repo.git("update-ref", "-d", "ORIG_HEAD")
    for name in repo.objects:
        os.utime(repo.worktree.store.path(name), (OLD, OLD))
    forgotten = repo.objects
    ours, theirs = _context.Pipe(duplex=False)
    workers = []
    for number in range(PROCESSES):
        top = repo.top
        if number % 4:  # Every fourth shares the first work tree.
            top = repo.top.parent / f"tree{number}"
            repo.git("worktree", "add", "--quiet", "-b", f"branch{number}", str(top))
        workers.append(_context.Process(target=_work, args=(repo.env, str(top), number, theirs)))
    for worker in workers:
        worker.start()
    theirs.close()
    made: dict[str, str] = {}
    with contextlib.suppress(EOFError):
        while True:
            made |= ours.recv()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(made) >= PROCESSES
    assert forgotten - repo.objects
    assert not list((repo.top / ".git").rglob("*.lock"))
    with repo.environment(), contextlib.chdir(repo.top):
        checked = Repository().fsck(every=True)
        assert not checked.losses, checked.text()
        assert not [fault for fault in checked.faults if fault.problem == "damaged"], checked.text()
        worktree = repo.worktree
        reachable = set(repo.git("rev-list", "--all").split())
        for commit, digest in made.items():
            assert commit in reachable
            path = rebuild(worktree, repo.text(f"{commit}:{MODEL}"))
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
            path.unlink()
        assert list((repo.theta / "tmp").iterdir()) == []
        assert list((repo.theta / "aside").iterdir()) == []
    Repo(repo.top.parent / "origin", repo.home).git("fsck", "--strict")


def _work(env: dict[str, str], top: str, number: int, told: Any) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(top)
    source = random.Random(number)
    made: dict[str, str] = {}
    until, step = time.monotonic() + SECONDS, 0
    while step < STEPS or time.monotonic() < until:
        step += 1
        # What two do to one index at once, Git refuses to one of them; so do we.
        with contextlib.suppress(ThetaError):
            _step(source, number, 1000 * number + step, made)
    told.send(made)
    told.close()


def _step(source: random.Random, number: int, seed: int, made: dict[str, str]) -> None:
    repository = Repository()
    deed = source.choice(["commit", "commit", "commit", "back", "gc", "git gc", "push", "status", "fsck"])
    if deed == "commit" and number % 4:
        data = safetensors(**{source.choice("abcd"): seed, "wide": seed})
        _write(repository.worktree.top, data)
        repository.commit(f"by {number}")
        made[repository.worktree.resolve("HEAD")] = hashlib.sha256(data).hexdigest()
    elif deed == "commit":
        _write(repository.worktree.top, safetensors(a=seed))
        repository.commit(f"by {number}, or another")
    elif deed == "back":
        repository.checkout("HEAD~1", [MODEL])
        repository.checkout("HEAD", [MODEL])
    elif deed == "gc":
        repository.gc(grace=GRACE)
    elif deed == "git gc":
        repository.worktree.git("gc", "--quiet")
    elif deed == "push":
        repository.push("--quiet", "origin", f"HEAD:refs/heads/from{number}", "--force")
    elif deed == "status":
        repository.status()
    else:
        checked = repository.fsck()
        assert not checked.losses, checked.text()


def _write(top: Path, data: bytes) -> None:
    """As a program that saves with care does."""
    fresh = top / f"{os.getpid()}.tmp"
    fresh.write_bytes(data)
    fresh.replace(top / MODEL)
