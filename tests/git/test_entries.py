"""Git believes what was noted of a file, and nothing but that has changed in its index."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from theta_jupyter.git.entries import note
from theta_jupyter.git.worktree import Worktree

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["a.bin", "folder/b.bin", "folder/with a space.bin", "folder/ünïcode.bin", "y" * 200 + "/" + "x" * 200, "zz"]


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode()


def made(folder: Path, *, version: int = 2, sha256: bool = False) -> Worktree:
    """A repository whose index knows blobs of files that hold something else, and nothing of the files."""
    folder.mkdir(exist_ok=True)
    git(folder, "init", "--quiet", *(["--object-format=sha256"] if sha256 else []))
    git(folder, "config", "index.version", str(version))
    lines = []
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"what lies there")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        blob = subprocess.run(
            ["git", "hash-object", "-w", "--stdin"], input=name.encode(), cwd=folder, capture_output=True, check=True
        ).stdout.decode()
        lines.append(f"100644 {blob.strip()}\t{name}\n")
    subprocess.run(["git", "update-index", "--index-info"], input="".join(lines).encode(), cwd=folder, check=True)
    return Worktree.find(folder)


def entries(worktree: Worktree) -> dict[str, tuple[str, os.stat_result]]:
    index = worktree.index()
    return {name: (index[name][0], (worktree.top / name).stat()) for name in NAMES}


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("sha256", [False, True])
def test_git_takes_what_is_noted_for_unchanged(tmp_path: Path, version: int, *, sha256: bool) -> None:
    worktree = made(tmp_path / "repo", version=version, sha256=sha256)
    if version == 3:
        git(worktree.top, "update-index", "--skip-worktree", "zz")  # Has flags that version 2 has no room for.
    assert len(git(worktree.top, "diff-files", "--name-only").splitlines()) >= len(NAMES) - 1
    before = git(worktree.top, "ls-files", "--stage", "-v")
    assert note(worktree, entries(worktree)) == []
    assert git(worktree.top, "diff-files", "--name-only") == ""
    assert git(worktree.top, "status", "--porcelain", "--untracked-files=no").count("\n") == len(NAMES)  # All new.
    assert git(worktree.top, "ls-files", "--stage", "-v") == before
    # One that is written to is noticed.
    (worktree.top / NAMES[1]).write_bytes(b"what lies now")
    assert git(worktree.top, "diff-files", "--name-only", "-z").rstrip("\0") == NAMES[1]


def test_extensions_stay(tmp_path: Path) -> None:
    worktree = made(tmp_path / "repo")
    git(worktree.top, "-c", "user.name=a", "-c", "user.email=b", "commit", "--quiet", "--message=all")
    git(worktree.top, "update-index", "--untracked-cache")
    git(worktree.top, "status")
    data = (worktree.git_dir / "index").read_bytes()
    assert b"TREE" in data
    assert b"UNTR" in data
    assert note(worktree, entries(worktree)) == []
    now = (worktree.git_dir / "index").read_bytes()
    assert len(now) == len(data)
    assert now[data.index(b"TREE") : -20] == data[data.index(b"TREE") : -20]
    assert git(worktree.top, "fsck") == ""
    assert git(worktree.top, "status", "--porcelain") == ""


def test_an_index_without_a_checksum_stays_without(tmp_path: Path) -> None:
    worktree = made(tmp_path / "repo")
    path = worktree.git_dir / "index"
    path.write_bytes(path.read_bytes()[:-20] + bytes(20))  # As with index.skipHash, which this Git may not know.
    assert note(worktree, entries(worktree)) == []
    assert path.read_bytes()[-20:] == bytes(20)


def test_another_blob_is_not_noted(tmp_path: Path) -> None:
    """Somebody may have staged something else meanwhile."""
    worktree = made(tmp_path / "repo")
    wanted = entries(worktree) | {"a.bin": ("0" * 40, (worktree.top / "a.bin").stat())}
    assert note(worktree, wanted) == ["a.bin"]
    assert git(worktree.top, "diff-files", "--name-only") == "a.bin\n"
    assert note(worktree, {"no such": ("0" * 40, worktree.top.stat())}) == ["no such"]


def test_what_is_not_known_is_left_to_git(tmp_path: Path) -> None:
    worktree = made(tmp_path / "repo")
    wanted, path = entries(worktree), worktree.git_dir / "index"
    data = path.read_bytes()
    lock = path.with_name("index.lock")
    lock.touch()
    assert note(worktree, wanted) == NAMES
    lock.unlink()
    for damaged in (
        b"",
        b"DIRC" + b"\0" * 40,
        data[:-30],
        data[:100] + b"x" + data[101:],
        b"DIRC\0\0\0\x09" + data[8:],
    ):
        path.write_bytes(damaged)
        assert note(worktree, wanted) == NAMES
        assert path.read_bytes() == damaged
        assert not lock.exists()
    path.write_bytes(data)
    git(worktree.top, "update-index", "--split-index")
    assert note(worktree, wanted) == NAMES
    assert not lock.exists()
