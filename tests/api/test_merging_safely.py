"""A merge never takes what somebody has made: saved files, commits, choices; and says so instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import save, save_file

from tests.api.place import write
from tests.api.test_merging import ALL, fork, frozen, merging
from tests.e2e.repo import MODEL, safetensors, weights
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.merges.plan import Rule

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


def test_a_rebase_that_stopped_for_an_edit_keeps_what_was_made_since(forked: Repo) -> None:
    repo = forked
    repo.git("reset", "--quiet", "--hard", "HEAD")
    editor = "sed -i '1s/^pick/edit/'"
    repo.git("rebase", "--quiet", "--interactive", "HEAD~1", env={"GIT_SEQUENCE_EDITOR": editor})
    made = write(seed=9)
    with pytest.raises(GitError, match=r"unstaged changes|must edit all merge conflicts|Git does not go on"):
        merging().finish()
    assert (repo.top / MODEL).read_bytes() == made


def test_a_model_saved_since_the_merge_stopped_is_not_replaced(conflict: Repo) -> None:
    merge = merging()
    merge.choose(ALL)
    made = write(seed=9)
    before = frozen(conflict)
    with pytest.raises(RequestError, match="was changed since the merge stopped") as caught:
        merge.finish()
    assert "--import" in caught.value.hint
    assert ((conflict.top / MODEL).read_bytes(), frozen(conflict)) == (made, before)
    merge.take(Path(MODEL))  # As the hint says.
    merge.finish()
    conflict.check(made)


def test_what_changed_meanwhile_is_not_staged_over(conflict: Repo) -> None:
    def abort(*_: object) -> None:
        if (conflict.top / ".git/MERGE_HEAD").exists():
            conflict.git("merge", "--abort")

    merge = merging()
    merge.choose(ALL)
    with pytest.raises(RequestError, match="changed meanwhile"):
        merge.finish(progress=abort)
    assert conflict.git("status", "--porcelain") == ""


def test_choices_are_not_dropped_in_silence(conflict: Repo) -> None:
    merge = merging()
    merge.choose(ALL)
    conflict.git("add", MODEL)
    assert "these rules were not applied" in merge.state().text()
    with pytest.raises(RequestError, match="staged without them"):
        merge.finish()
    assert "what was chosen in this merge has not been computed" in conflict.fails("commit", "--no-edit")
    merge.undo()
    conflict.git("commit", "--quiet", "--no-edit")
    assert not conflict.git("status", "--porcelain")


def test_a_side_that_was_taken_stands_in_place_of_choices(conflict: Repo) -> None:
    merging().choose(ALL)
    Repository().checkout(paths=[MODEL], side="theirs")
    merging().finish()
    conflict.check(safetensors(a=1, b=2, wide=2))


def test_choices_do_not_come_back_in_another_try(conflict: Repo) -> None:
    merging().choose(ALL)
    conflict.git("merge", "--abort")
    state = Repository().merge("theirs")
    assert (state.plan.rules, state.left) == ((), 1)


def test_every_tensor_of_a_renamed_model_is_refused(forked: Repo) -> None:
    repo = forked
    repo.track("other.safetensors")
    repo.git("mv", MODEL, "other.safetensors")
    repo.git("add", ".gitattributes")
    repo.git("commit", "--quiet", "--message", "renamed")
    before = frozen(repo)
    with pytest.raises(RequestError, match="renamed or deleted on one side"):
        Repository().merge("theirs", strategy="linear", every=True)
    assert frozen(repo) == before


def test_several_common_ancestors_are_git_s_to_merge(forked: Repo) -> None:
    repo = forked
    repo.git("branch", "old", "main")
    repo.git("merge", "--quiet", "--strategy=ours", "--message", "one", "theirs")
    repo.git("switch", "--quiet", "theirs")
    repo.git("merge", "--quiet", "--strategy=ours", "--message", "two", "old")
    with pytest.raises(RequestError, match="2 common ancestors"):
        Repository().merge("main", strategy="linear", every=True)
    with pytest.raises(RequestError, match="2 common ancestors"):
        Repository().try_merge("main", strategies=["linear"], score=lambda _: 0.0)


def test_statistics_must_be_of_the_model(conflict: Repo) -> None:
    before = frozen(conflict)
    Path("notes.txt").write_text("no checkpoint\n" * 100)
    with pytest.raises(RequestError, match=r"notes\.txt is no checkpoint"):
        merging().choose(Rule("*", "fisher", {"fisher": ["notes.txt", "notes.txt"]}))
    assert frozen(conflict) == before
    save_file({"model.b": np.ones(4, np.float32)}, "fisher.safetensors")
    merge = merging()
    merge.choose(Rule("*", "fisher", {"fisher": ["fisher.safetensors"] * 2}))
    with pytest.raises(RequestError, match="has nothing of 'b'"):
        merge.finish()


def test_weights_untied_on_both_sides(repo: Repo) -> None:
    """They were one storage, and are two: nothing is damaged, and a side can be taken."""
    name = "m.pt"
    repo.track(name)
    base = torch.arange(6.0)
    versions = {}
    for branch, step in (("base", None), ("theirs", 2.0), ("main", 1.0)):
        if branch != "base":
            repo.git("switch", "--quiet", *(["--create"] if branch == "theirs" else []), branch)
        emb = base.clone()
        torch.save({"emb": emb, "head": emb if step is None else base + step}, name)
        versions[branch] = Path(name).read_bytes()
        repo.commit(versions[branch], branch, name)
    repo.fails("merge", "theirs")
    merge = merging()
    assert merge.rows(name)
    text = merge.conflict_list().text()
    assert "does not have its hash" not in text
    merge.choose(Rule("*", "theirs"))
    merge.finish()
    assert torch.equal(torch.load(name)["head"], base + 2)


def test_a_message_may_begin_with_a_hash(forked: Repo) -> None:
    state = Repository().merge("theirs", strategy="linear", message="#12 average")
    assert state.outcome.startswith("merged")
    assert forked.git("log", "-1", "--format=%s").strip() == "#12 average"


def test_what_is_no_checkpoint_is_not_taken_for_one(conflict: Repo) -> None:
    before = frozen(conflict)
    Path("text.safetensors").write_text("not this")
    with pytest.raises(RequestError, match=r"text\.safetensors is no checkpoint"):
        merging().take(Path("text.safetensors"))
    assert frozen(conflict) == before


def test_a_rule_that_cannot_says_why(repo: Repo) -> None:
    fork(repo, save({**weights(), "new": np.ones(3, np.float32)}), save({**weights(), "new": np.zeros(3, np.float32)}))
    merge = merging()
    merge.choose(Rule("*", "ours"))
    merge.undo()
    with pytest.raises(RequestError, match="needs a base"):
        merge.choose(Rule("*", "ties"))
    assert "?" in merge.conflict_list().text()


def test_what_was_done_to_sizes_is_said(repo: Repo) -> None:
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    repo.commit(save({"e": rows}), "vocabulary")
    fork(repo, save({"e": rows[:8] + 1}), save({"e": rows + 2}))
    merge = merging()
    merge.choose(ALL)
    done = merge.finish()
    assert any("laid over each other" in note for note in done.notes())
    np.testing.assert_array_equal(Repository().load(MODEL)["e"], rows[:8] + 1.5)


@pytest.mark.parametrize("strategy", ["", "linear"])
def test_what_is_not_committed_is_not_merged_over(strategy: str, repo: Repo) -> None:
    """Git sees nothing to write where a model in conflict stays as ours has it, and would lose it at an abort."""
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(safetensors(b=2), "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(b=1), "ours")
    write(b=1, a=7)
    before = frozen(repo)
    with pytest.raises(RequestError, match="has changes that are not committed"):
        Repository().merge("theirs", strategy=strategy)
    assert frozen(repo) == before
    # That is so: this is why it is looked at before.
    assert "CONFLICT" in repo.fails("merge", "theirs")
    assert repo.read() == safetensors(b=1, a=7)


def test_changes_that_a_merge_does_not_touch_stay(forked: Repo) -> None:
    forked.git("checkout", "--quiet", "main", "--", MODEL)
    (forked.top / "notes.txt").write_text("mine")
    forked.git("add", "notes.txt")
    forked.git("commit", "--quiet", "--message", "notes")
    (forked.top / "notes.txt").write_text("mine, changed")
    os.utime(forked.top / MODEL)  # Touched is not changed.
    Repository().merge("theirs", strategy="linear")
    assert (forked.top / "notes.txt").read_text() == "mine, changed"
