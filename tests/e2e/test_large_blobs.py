"""Blobs that are no manifests are passed over, whatever their size."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from theta_jupyter.errors import GitError

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


def test_large_blobs_are_not_held_in_memory(bare_repo: Repo) -> None:
    repo = bare_repo.init()
    large = [repo.git("hash-object", "-w", "--stdin", data=bytes([number]) * (32 << 20)).strip() for number in range(3)]
    text = b"theta manifest 1\nand so on\n"
    manifest = repo.git("hash-object", "-w", "--stdin", data=text).strip()
    short = repo.git("hash-object", "-w", "--stdin", data=b"the").strip()
    tracemalloc.start()
    with repo.environment():
        found = list(repo.worktree.manifests([large[0], manifest, *large[1:], short]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [(manifest, text)]
    assert peak < 8 << 20


def test_a_blob_that_is_not_here_is_an_error(bare_repo: Repo) -> None:
    repo = bare_repo.init()
    with repo.environment(), pytest.raises(GitError, match="is not in this repository"):
        list(repo.worktree.manifests(["1" * 40]))
