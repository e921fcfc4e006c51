"""Machines that give out: file handles, room on the disk, permissions. The old state stands, and the next run heals."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND = safetensors(), safetensors(a=3, b=1, wide=2)


def _limited(repo: Repo, limit: Callable[[], None], *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours under a limit of the system's."""
    command = [sys.executable, "-P", "-m", "theta_jupyter", *args]
    return subprocess.run(
        command,
        cwd=repo.top,
        env=repo.env | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "args", [("commit", "-m", "second"), ("checkout", "other"), ("diff", "--exact", "main", "other")]
)
def test_out_of_file_handles(repo: Repo, args: tuple[str, ...]) -> None:
    """However few there are: it works, or says what is missing, and nothing is half-done."""
    repo.git("switch", "--quiet", "--create", "other")
    repo.commit(safetensors(d=7), "other")
    repo.git("switch", "--quiet", "main")
    head = repo.head()
    outcomes = set()
    for few in (5, 7, 9, 12, 16):
        if args[0] == "commit":
            repo.write(SECOND)
        done = _limited(repo, lambda few=few: resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)), *args)  # type: ignore[misc]
        outcomes.add(done.returncode == 0)
        if done.returncode:
            assert done.stderr.strip(), few
            assert "a bug in theta" not in done.stderr, (few, done.stderr)
        repo.git("fsck", "--no-dangling")
        repo.git("switch", "--quiet", "--discard-changes", "main")
        repo.git("reset", "--quiet", "--hard", head)
        repo.check(FIRST)
    assert outcomes == {True, False}
    repo.write(SECOND)
    repo.git("theta", "commit", "-m", "second")
    repo.check(SECOND)


def test_out_of_file_handles_in_the_filter(repo: Repo) -> None:
    repo.write(SECOND)
    done = subprocess.run(
        ["git", "add", MODEL],
        cwd=repo.top,
        env=repo.env,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode
    assert repo.text(f":{MODEL}") == repo.text()
    repo.commit()
    repo.check(SECOND)


@pytest.mark.parametrize("where", ["theta/objects", "theta", "objects", "."])
@pytest.mark.parametrize("verb", [("theta", "commit"), ("commit", "--all")])
def test_a_folder_that_cannot_be_written_to(repo: Repo, where: str, verb: tuple[str, ...]) -> None:
    """Ours, where objects are made; and Git's own."""
    repo.write(SECOND)
    head = repo.head()
    folder = repo.top / ".git" / where
    with repo.forbidden(folder, *(path for path in folder.rglob("*") if path.is_dir())):
        words = repo.fails(*verb, "-m", "second")
        assert "a bug in theta" not in words
        assert "ermission denied" in words or "insufficient permission" in words
        assert repo.head() == head
    repo.git(*verb, "-m", "second")
    repo.check(SECOND)


@pytest.mark.parametrize("verb", [("theta", "checkout", "other"), ("checkout", "other"), ("theta", "merge", "other")])
def test_a_work_tree_that_cannot_be_written_to(repo: Repo, verb: tuple[str, ...]) -> None:
    repo.git("switch", "--quiet", "--create", "other")
    repo.commit(SECOND, "other")
    repo.git("switch", "--quiet", "main")
    with repo.forbidden(repo.top):
        # Git itself says what is wrong, goes on, and has not failed.
        done = repo.run(*verb)
        assert (done.returncode == 0) == (verb[0] != "theta")
        words = done.stderr.decode()
        assert "a bug in theta" not in words
        assert "ermission denied" in words
        assert repo.read() == FIRST
    if "merge" in verb:
        repo.git(*verb)
    else:
        repo.git("theta", "checkout", "--", MODEL)
    repo.check(SECOND)


@pytest.mark.parametrize("size", [0, 1000, 40_000, 90_000])
def test_no_room(repo: Repo, size: int) -> None:
    """Files may grow no further than this: as on a disk that is full."""
    repo.write(SECOND)
    before = repo.objects

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = _limited(repo, limit, "commit", "-m", "second")
    if done.returncode:
        assert done.stderr.startswith("error: "), done.stderr
        assert "a bug in theta" not in done.stderr
        assert repo.git("log", "--format=%s") == "first\n"
    assert before <= repo.objects
    for name in repo.objects:
        assert repo.worktree.store.sound(name)
    for lock in (repo.top / ".git").glob("*.lock"):
        lock.unlink()  # Git's own, which it cannot write either.
    repo.commit()
    repo.check(SECOND)
