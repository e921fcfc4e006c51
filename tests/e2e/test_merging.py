"""The merge driver under real git: what settles itself, what is a conflict, and that nothing is lost either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from tests.e2e.repo import MODEL, Repo, safetensors, torch_file, weights
from theta_jupyter.storage.manifest import parse

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = pytest.mark.parametrize("make", [safetensors, torch_file])


def fork(repo: Repo, ours: bytes | None, theirs: bytes | None, base: bytes | None = None) -> None:
    """Commit one version on ``main`` and one on ``side``; None deletes the file."""
    if base is not None:
        repo.commit(base, "base")
    repo.git("switch", "--quiet", "--create", "side")
    _one(repo, theirs, "theirs")
    repo.git("switch", "--quiet", "main")
    _one(repo, ours, "ours")


def _one(repo: Repo, data: bytes | None, message: str) -> None:
    if data is None:
        repo.git("rm", "--quiet", MODEL)
    repo.commit(data, message)


def stages(repo: Repo) -> dict[int, bytes]:
    """Texts in the index stages of the model."""
    lines = repo.git("ls-files", "--unmerged").split("\n")[:-1]
    return {int(line.split()[2]): repo.text(line.split()[1]) for line in lines}


@FORMATS
def test_what_settles_itself(repo: Repo, make: Callable[..., bytes]) -> None:
    fork(repo, make(a=1, wide=3, d=4), make(c=2, d=4), make())
    repo.git("merge", "--quiet", "side")
    repo.check(make(a=1, wide=3, c=2, d=4))
    repo.git("merge", "--quiet", "side")
    # One side only: git itself takes it.
    repo.git("switch", "--quiet", "side")
    repo.git("merge", "--quiet", "main")
    repo.check(make(a=1, wide=3, c=2, d=4))


def test_conflict(repo: Repo) -> None:
    make = safetensors
    fork(repo, make(a=1, b=1), make(a=2, c=2), make())
    said = repo.fails("merge", "side")
    assert "1 of 5 tensors in conflict" in said
    assert ": a\n" in said or "/a\n" in said
    found = stages(repo)
    assert [found[number] for number in (1, 2, 3)] == [
        repo.text(f"{ref}:{MODEL}") for ref in ("main~1", "main", "side")
    ]
    for text in found.values():
        parse(text)
    # Undecided is ours, decided is merged: a whole checkpoint.
    assert repo.read() == make(a=1, b=1, c=2)
    assert repo.status() == f"UU {MODEL}\n"
    (repo.top / MODEL).touch()
    assert repo.status() == f"UU {MODEL}\n"
    repo.git("diff")
    repo.git("merge", "--abort")
    repo.check(make(a=1, b=1))
    assert repo.run("merge", "side").returncode == 1
    repo.git("checkout", "--theirs", "--", MODEL)
    assert repo.read() == make(a=2, c=2)
    repo.git("checkout", "--merge", "--", MODEL)
    assert repo.read() == make(a=1, b=1, c=2)
    # By accident, no; on purpose, yes.
    assert MODEL in repo.fails("commit", "--all", "-m", "accident")
    repo.git("add", MODEL)
    repo.git("commit", "--quiet", "-m", "purpose")
    repo.check(make(a=1, b=1, c=2))


def test_commit_all_is_allowed_otherwise(repo: Repo) -> None:
    repo.write(safetensors(a=1))
    repo.git("commit", "--quiet", "--all", "-m", "fine")
    repo.check()
    repo.write(safetensors(a=2))
    repo.git("commit", "--quiet", "-m", "fine, too", "--", MODEL)
    repo.check(safetensors(a=2))


@pytest.mark.parametrize("equal", [True, False])
def test_added_on_both_sides(bare_repo: Repo, *, equal: bool) -> None:
    repo = bare_repo
    repo.track()
    repo.commit()
    fork(repo, safetensors(), safetensors() if equal else safetensors(b=1))
    if equal:
        repo.git("merge", "--quiet", "side")
    else:
        assert "1 of 5 tensors in conflict: b" in repo.fails("merge", "side")
        assert sorted(stages(repo)) == [2, 3]
        repo.git("add", MODEL)
        repo.git("commit", "--quiet", "-m", "merge")
    repo.check(safetensors())


def test_structure_on_one_side_values_on_the_other(repo: Repo) -> None:
    grown = weights(c=3) | {"new": np.ones((3, 3), np.float32)}
    grown.pop("d")
    fork(repo, save(grown), safetensors(a=1))
    repo.git("merge", "--quiet", "side")
    repo.check(save(grown | {"a": weights(a=1)["a"]}))


def test_structure_on_both_sides(repo: Repo) -> None:
    ours = save(weights() | {"new": np.ones((3, 3), np.float32)})
    theirs = save(weights(b=1) | {"other": np.ones((5, 3), np.float32)})
    fork(repo, ours, theirs)
    said = repo.fails("merge", "side")
    assert "(structure) in conflict" in said
    assert "the file is ours as a whole; 2 changes of theirs are not in it: b, other" in said
    assert repo.read() == ours


def test_metadata_on_both_sides(repo: Repo) -> None:
    """Only that is undecided; the tensors merge."""
    fork(repo, save(weights(a=1), {"epoch": "1"}), save(weights(b=2), {"epoch": "2"}), save(weights(), {"epoch": "0"}))
    said = repo.fails("merge", "side")
    assert "(structure) in conflict" in said
    assert "as a whole" not in said
    assert repo.read() == save(weights(a=1, b=2), {"epoch": "1"})


def opaque(first: int, second: int) -> bytes:
    return bytes([first]) + bytes(64 << 20) + bytes([second])


@pytest.mark.parametrize("driver", [True, False])
def test_opaque_files_are_never_mixed(repo: Repo, *, driver: bool) -> None:
    if not driver:
        repo.git("config", "--unset-all", "merge.theta.driver")
        (repo.top / ".git/info/attributes").write_text(f"{MODEL} merge=text\n")
    fork(repo, opaque(1, 0), opaque(0, 1), opaque(0, 0))
    said = repo.fails("merge", "side")
    assert "CONFLICT" in said
    if driver:
        assert "the file is ours as a whole; 1 change of theirs is not in it: bytes/0001" in said
        assert repo.read() == opaque(1, 0)


def test_reshaped_against_changed_is_a_whole_file(repo: Repo) -> None:
    """As many bytes, but of another shape: a mixture would say one thing in its header and another in its record."""
    ours, theirs = safetensors(a=1), save(weights() | {"a": weights()["a"].reshape(4, 16)})
    fork(repo, ours, theirs)
    assert "in conflict: a" in repo.fails("merge", "side")
    assert repo.read() == ours
    repo.git("add", MODEL)
    assert repo.manifest(f":{MODEL}").records["a"].shape == (8, 8)


@pytest.mark.parametrize("deleted", ["ours", "theirs"])
def test_deleted_against_changed(repo: Repo, deleted: str) -> None:
    changed = safetensors(a=1)
    fork(repo, None if deleted == "ours" else changed, None if deleted == "theirs" else changed)
    repo.fails("merge", "side")
    assert repo.read() == changed
    repo.git("merge", "--abort")
    repo.check()
    # A tensor, not the file.
    repo.git("reset", "--quiet", "--hard", "main~1")
    repo.git("branch", "-D", "side")
    less = weights()
    less.pop("a")
    fork(repo, save(less) if deleted == "ours" else changed, save(less) if deleted == "theirs" else changed)
    assert "in conflict: a" in repo.fails("merge", "side")
    assert repo.read() == (save(less) if deleted == "ours" else changed)


def test_renamed_on_one_side(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "side")
    repo.git("mv", MODEL, "renamed model.safetensors")
    repo.track("renamed model.safetensors")
    repo.commit(message="rename")
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(a=1))
    repo.git("merge", "--quiet", "side")
    repo.check(safetensors(a=1), "renamed model.safetensors")


def test_criss_cross(repo: Repo) -> None:
    """Two common ancestors that conflict themselves: the driver is asked for a made-up one, which must be valid."""
    fork(repo, safetensors(a=1, b=1), safetensors(a=2, c=1))
    repo.git("branch", "first")
    assert repo.run("merge", "side").returncode == 1
    repo.commit(safetensors(a=1, b=1, c=1), "main took its own")
    repo.git("switch", "--quiet", "side")
    assert repo.run("merge", "first").returncode == 1
    repo.commit(safetensors(a=2, b=1, c=1), "side took its own")
    repo.commit(safetensors(a=2, b=1, c=1, d=7))
    repo.git("switch", "--quiet", "main")
    assert len(repo.git("merge-base", "--all", "main", "side").split()) == 2
    assert "1 of 5 tensors in conflict: a" in repo.fails("merge", "side")
    assert repo.read() == safetensors(a=1, b=1, c=1, d=7)
    parse(stages(repo)[1])
    assert stages(repo)[1] != stages(repo)[2]
    repo.git("merge", "--abort")
    assert "1 of 5 tensors in conflict: a" in repo.fails("merge", "--strategy=recursive", "side")
    repo.git("merge", "--abort")
    repo.check(safetensors(a=1, b=1, c=1))


def test_octopus(repo: Repo) -> None:
    for name, layer in (("one", "a"), ("two", "b")):
        repo.git("switch", "--quiet", "--create", name, "main")
        repo.commit(safetensors(**{layer: 1}))
    repo.git("switch", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-edit", "one", "two")
    assert repo.status() == ""
    # Git's octopus may leave the manifest in the work tree; what is committed is right.
    (repo.top / MODEL).unlink()
    repo.git("checkout", "--quiet", "--", MODEL)
    repo.check(safetensors(a=1, b=1))


def test_text_merge_where_nobody_has_the_driver(repo: Repo) -> None:
    repo.git("config", "--unset-all", "merge.theta.driver")
    repo.git("config", "--unset-all", "merge.theta.name")
    repo.git("config", "--unset-all", "merge.theta.recursive")
    (repo.top / ".git/info/attributes").write_text(f"{MODEL} merge=text\n")
    fork(repo, safetensors(a=1, wide=3), safetensors(b=1, d=2))
    repo.git("merge", "--quiet", "side")
    repo.check(safetensors(a=1, wide=3, b=1, d=2))
    # What cannot be merged so is text with marks, which cannot be committed by accident, nor stops git.
    repo.git("switch", "--quiet", "--create", "third", "HEAD~2")
    repo.commit(safetensors(a=9))
    repo.run("merge", "main")
    assert b"<<<<<<<" in repo.read()
    assert "UU" in repo.status()
    assert "conflict markers" in repo.fails("add", MODEL)
    repo.git("checkout", "--ours", "--", MODEL)
    repo.git("merge", "--abort")
    repo.check(safetensors(a=9))


@pytest.mark.parametrize("how", ["--continue", "--abort", "--skip"])
def test_rebase_with_a_conflict(repo: Repo, how: str) -> None:
    fork(repo, safetensors(a=1), safetensors(a=2, b=2))
    repo.git("switch", "--quiet", "side")
    said = repo.fails("rebase", "main")
    assert "1 of 5 tensors in conflict" in said
    assert repo.read() == safetensors(a=1, b=2)
    if how == "--continue":
        repo.git("checkout", "--theirs", "--", MODEL)
        repo.git("add", MODEL)
    repo.git("rebase", how)
    expected = {"--continue": safetensors(a=2, b=2), "--abort": safetensors(a=2, b=2), "--skip": safetensors(a=1)}
    repo.check(expected[how])


def test_stash_pop_and_cherry_pick_with_a_conflict(repo: Repo) -> None:
    repo.write(safetensors(a=2, b=2))
    repo.git("stash", "push", "--quiet")
    repo.commit(safetensors(a=1))
    assert "in conflict: a" in repo.fails("stash", "pop")
    assert repo.read() == safetensors(a=1, b=2)
    repo.git("checkout", "--theirs", "--", MODEL)
    assert repo.read() == safetensors(a=2, b=2)
    repo.git("reset", "--quiet", "--hard")
    repo.git("switch", "--quiet", "--create", "side", "HEAD~1")
    repo.commit(safetensors(a=3, d=3))
    assert "in conflict: a" in repo.fails("cherry-pick", "main")
    repo.git("cherry-pick", "--abort")
    repo.check(safetensors(a=3, d=3))


def test_a_side_without_a_manifest(repo: Repo) -> None:
    """A checkpoint that somebody committed without the filter."""
    repo.git("switch", "--quiet", "--create", "side")
    blob = repo.git("hash-object", "-w", "--stdin", "--no-filters", data=safetensors(b=1)).strip()
    repo.git("update-index", "--cacheinfo", f"100644,{blob},{MODEL}")
    repo.git("commit", "--quiet", "-m", "raw")
    repo.git("reset", "--quiet", "--hard")
    assert repo.read() == safetensors(b=1)
    repo.git("switch", "--quiet", "--force", "main")
    repo.commit(safetensors(a=1))
    assert "no manifest" in repo.fails("merge", "side")
    assert repo.read() == safetensors(a=1)
    repo.git("merge", "--abort")
    repo.check(safetensors(a=1))
