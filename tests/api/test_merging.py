"""A merge in progress: what it is called, what is chosen, how it ends, and that nothing is lost on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors, torch_file, weights
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, IntegrityError, MissingObjectError, RequestError, ThetaError
from theta_jupyter.git.roads import lay
from theta_jupyter.merges.plan import Rule
from theta_jupyter.merges.threeway import STRUCTURE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tests.e2e.repo import Repo
    from theta_jupyter.merging import Merge

ALL = Rule("*", "linear")


def between(one: int, two: int, layer: str = "b") -> npt.NDArray[np.float32]:
    """The mean of two versions of a layer."""
    x, y = (weights(**{layer: seed})[layer].astype(np.float64) for seed in (one, two))
    return ((x + y) / 2).astype(np.float32)


def model(b: npt.NDArray[Any] | None = None, **changed: int) -> bytes:
    """A model, with values of its own for ``b``."""
    tree = weights(**changed)
    return save(tree | ({} if b is None else {"b": b}))


def merging() -> Merge:
    return Repository().merging()


def named(merge: Merge) -> tuple[str, str, str, str, str]:
    """Kind and title, and what the sides are called."""
    now = merge.state().situation
    return now.kind, now.title, f"{now.ours.name}: {now.ours.subject}", now.theirs.name, now.theirs.subject


def frozen(repo: Repo) -> tuple[str, ...]:
    """What must be as it was: HEAD, the index, the choices."""
    choices = repo.top / ".git/THETA_MERGE"
    kept = choices.read_text() if choices.exists() else ""
    return repo.head(), repo.git("ls-files", "--stage"), kept


def fork(repo: Repo, ours: bytes | None, theirs: bytes | None, path: str = MODEL) -> None:
    """Commit one version on ``main`` and one on ``theirs``, and merge, which must not work; None deletes the file."""
    for branch, data in (("theirs", theirs), ("main", ours)):
        repo.git("switch", "--quiet", *(["--create"] if branch == "theirs" else []), branch)
        if data is None:
            repo.git("rm", "--quiet", path)
        repo.commit(data, branch, path)
    repo.fails("merge", "theirs")


# Every kind of merge.


def test_merge(conflict: Repo) -> None:
    merge = merging()
    assert named(merge) == ("merge", "Merging theirs into main", "main: ours", "theirs", "theirs")
    state = merge.state()
    assert state.situation.base
    assert state.situation.base.commit == conflict.head("main~1")
    assert state.situation.message == "Merge branch 'theirs'"
    assert (state.left, state.others, state.exit_status) == (1, (), 0)
    assert dict(state.files[0].settled) == {"ours only": 1, "theirs only": 1, "unchanged": 2}
    assert "1 of 1 conflict left" in state.text()
    assert [(row.name, row.kind, row.strategy) for row in merge.rows(MODEL)] == [("b", "both changed", "")]
    assert {row.name: row.kind for row in merge.rows(MODEL, settled=True)}["wide"] == "theirs only"
    state = merge.choose(Rule("b", "linear"))
    assert (state.left, [row.call() for row in merge.rows(MODEL)]) == (0, ["linear(weight=1, normalize=true)"])
    done = merge.finish()
    assert done.text() == f"merged theirs into main: {conflict.head()[:7]} ({MODEL})"
    assert (done.situation.kind, done.exit_status) == ("", 0)
    conflict.check(model(between(1, 2), a=1, wide=2))
    assert conflict.git("rev-parse", "HEAD^@").split() == [conflict.head("main~1"), conflict.head("theirs")]
    subject, empty, trailer = conflict.git("log", "-1", "--format=%B").rstrip("\n").split("\n")
    assert (subject, empty) == ("Merge branch 'theirs'", "")
    rule = {"tensors": "b", "strategy": "linear", "parameters": {"weight": 1.0, "normalize": True}}
    assert json.loads(trailer.removeprefix("Theta-Plan: ")) == {"rules": [rule]}
    assert Repository().show().commit.merged_by == ("b -> linear(weight=1, normalize=true)",)
    # Stored anew, it is the manifest that the merge made.
    text = conflict.text()
    shutil.rmtree(conflict.theta / "cache")
    conflict.check()
    assert conflict.text() == text


@pytest.mark.parametrize("message", ["", "#1: a merge\n\n---\nof two"])
def test_the_message(conflict: Repo, message: str) -> None:
    conflict.git("config", "core.commentChar", ";")
    merge = merging()
    merge.choose(ALL)
    merge.finish(message)
    lines = conflict.git("log", "-1", "--format=%B").strip().split("\n")
    # Git had written its comments before it was told to write them otherwise.
    assert lines[0] == (message or "Merge branch 'theirs'").split("\n")[0]
    assert lines[-1].startswith("Theta-Plan: {")
    assert "---" in lines or not message
    assert len(conflict.git("rev-parse", "HEAD^@").split()) == 2


def test_rebase_of_several_commits_in_conflict(forked: Repo) -> None:
    repo = forked
    env = {"GIT_AUTHOR_NAME": "Somebody Else", "GIT_AUTHOR_DATE": "2020-02-02T00:00:00Z"}
    repo.git("switch", "--quiet", "theirs")
    repo.git("commit", "--quiet", "--amend", "--no-edit", "--reset-author", env=env)
    assert "CONFLICT" in repo.fails("rebase", "main")
    merge = merging()
    first = repo.head("theirs~1")
    # In a rebase, ours is what it goes onto.
    assert named(merge) == ("rebase", "Rebasing theirs onto main", "main: ours", first[:7], "theirs")
    merge.choose(ALL)
    state = merge.finish()
    assert (state.exit_status, state.left) == (1, 1)  # The next one, for which nothing has been chosen.
    assert state.outcome == f"theirs: done; the next one, theirs again, is in conflict ({MODEL})"
    assert (state.plan.rules, state.can_undo) == ((), False)
    kind, _, ours, _, subject = named(merge)
    assert (kind, ours, subject) == ("rebase", "main: theirs", "theirs again")
    merge.choose(Rule("b", "theirs"))
    assert merge.finish().text() == f"rebased: {repo.head()[:7]} ({MODEL})"
    assert repo.git("branch", "--show-current").strip() == "theirs"
    repo.check(safetensors(a=1, b=3, c=3, wide=2))
    assert repo.head("HEAD~2") == repo.head("main")
    assert repo.git("log", "-2", "--format=%an|%ad|%s", "--date=short").split("\n")[:2] == [
        "Somebody Else|2020-02-02|theirs again",
        "Tester|2025-01-01|theirs",
    ]
    assert repo.git("log", "-2", "--format=%(trailers:key=Theta-Plan,valueonly)").count('"strategy"') == 2
    repo.git("checkout", "--quiet", "HEAD~1")
    repo.check(model(between(1, 2), a=1, wide=2))


def test_a_rebase_step_that_becomes_empty(forked: Repo) -> None:
    repo = forked
    repo.git("switch", "--quiet", "--create", "small", "theirs")
    repo.commit(safetensors(b=2, c=3, wide=2), "back")
    repo.fails("rebase", "--onto", "main", "theirs")
    merge = merging()
    merge.choose(Rule("*", "ours"))
    state = merge.finish()
    assert state.situation.kind == ""
    assert repo.head() == repo.head("main")
    repo.check(safetensors(a=1, b=1))


def test_rebase_with_a_fixup_and_an_autostash(forked: Repo) -> None:
    repo = forked
    repo.git("switch", "--quiet", "theirs")
    repo.git("commit", "--quiet", "--amend", "-m", "fixup! theirs")
    (repo.top / "notes").write_text("one\n")
    repo.git("add", "notes")
    repo.git("config", "rebase.autoStash", "true")
    assert "CONFLICT" in repo.fails("rebase", "--interactive", "--autosquash", "main")
    merge = merging()
    for side in ("ours", "theirs"):
        merge.choose(Rule("*", side))
        state = merge.finish()
    assert state.situation.kind == ""
    # Folded into the one before, as was asked for.
    assert repo.head("HEAD~1") == repo.head("main")
    assert repo.git("log", "-1", "--format=%s").strip() == "theirs"
    assert repo.status() == "A  notes\n"
    assert repo.read() == safetensors(a=1, b=3, c=3, wide=2)


def test_a_rebase_that_stops_again_for_text(forked: Repo) -> None:
    """It waits, also if the next conflict is none of ours."""
    repo = forked
    for branch in ("theirs", "main"):
        repo.git("switch", "--quiet", branch)
        (repo.top / "notes").write_text(f"of {branch}\n")
        repo.commit(None, "notes")
    repo.git("switch", "--quiet", "theirs")
    repo.fails("rebase", "main")
    merge = merging()
    for side in ("ours", "theirs"):
        merge.choose(Rule("*", side))
        state = merge.finish()
    assert (state.files, state.others, state.exit_status) == ((), ("notes",), 1)
    assert "theirs again: done; the next one, notes, is in conflict" in state.text()
    (repo.top / "notes").write_text("of both\n")
    repo.git("add", "notes")
    assert merge.finish().exit_status == 0
    repo.check(safetensors(a=1, b=3, c=3, wide=2))


def test_cherry_pick_of_one(forked: Repo) -> None:
    repo = forked
    assert "CONFLICT" in repo.fails("cherry-pick", "-x", "theirs~1")
    merge, picked = merging(), repo.head("theirs~1")
    assert named(merge) == ("cherry-pick", f"Picking {picked[:7]} onto main", "main: ours", picked[:7], "theirs")
    merge.choose(ALL)
    assert merge.finish().text() == f"picked: {repo.head()[:7]} ({MODEL})"
    repo.check(model(between(1, 2), a=1, wide=2))
    body = repo.git("log", "-1", "--format=%B")
    assert body.startswith(f"theirs\n\n(cherry picked from commit {picked})")
    assert "Theta-Plan: {" in body
    assert "#" not in body


def test_cherry_pick_of_a_range(forked: Repo) -> None:
    repo = forked
    repo.fails("cherry-pick", "main~1..theirs")
    merge = merging()
    merge.choose(Rule("*", "ours"))
    assert "the next one, theirs again, is in conflict" in merge.finish().outcome
    merge.choose(Rule("*", "linear", {"weight": "1,3"}))
    assert merge.finish().situation.kind == ""
    x, y = (weights(b=seed)["b"].astype(np.float64) for seed in (1, 3))
    repo.check(model((x / 4 + y * 0.75).astype(np.float32), a=1, c=3, wide=2))
    assert repo.git("log", "-3", "--format=%s").split("\n")[:3] == ["theirs again", "theirs", "ours"]


def test_cherry_pick_of_what_is_there_already(forked: Repo) -> None:
    repo = forked
    repo.git("switch", "--quiet", "--create", "again", "main~1")
    repo.commit(safetensors(b=5), "five")
    repo.git("switch", "--quiet", "main")
    head = repo.head()
    repo.fails("cherry-pick", "again")
    merge = merging()
    merge.choose(Rule("b", "ours"))
    assert merge.finish().situation.kind == ""
    assert repo.head() == head
    repo.check(safetensors(a=1, b=1))


def test_revert(forked: Repo) -> None:
    repo = forked
    repo.git("switch", "--quiet", "theirs")
    assert "CONFLICT" in repo.fails("revert", "--no-edit", "HEAD~1")
    merge, undone = merging(), repo.head("HEAD~1")[:7]
    kind, title, ours, theirs, _ = named(merge)
    assert (kind, title, ours) == ("revert", f"Reverting {undone} on theirs", "theirs: theirs again")
    assert theirs == f"before {undone}"
    merge.choose(ALL)
    assert merge.finish().text() == f"reverted: {repo.head()[:7]} ({MODEL})"
    repo.check(model(between(3, 0), c=3))
    assert repo.git("log", "-1", "--format=%s").strip() == 'Revert "theirs"'


def test_stash_pop(forked: Repo) -> None:
    repo = forked
    repo.write(safetensors(a=1, b=5, d=5))
    repo.git("stash", "push", "--quiet")
    repo.git("switch", "--quiet", "theirs")
    repo.fails("stash", "pop")
    merge = merging()
    assert named(merge) == (
        *("stash", "Applying changes on theirs", "theirs: theirs again", "stash"),
        f"WIP on main: {repo.head('main')[:7]} ours",
    )
    with pytest.raises(RequestError, match="no way back from this; the stash"):
        merge.abort()
    merge.choose(ALL)
    head = repo.head()
    assert merge.finish().text() == f"stash: applied and staged; drop the stash with: git stash drop ({MODEL})"
    assert repo.head() == head
    assert repo.read() == model(between(3, 5), c=3, d=5, wide=2)
    assert repo.status() == f"M  {MODEL}\n"
    # What is applied in other ways is no stash, and nobody should drop one.
    repo.git("reset", "--hard", "--quiet")
    repo.fails("cherry-pick", "--no-commit", "main")
    assert named(merge)[3:] == ("changes", "")
    assert merge.state().plan.rules == ()
    merge.choose(Rule("*", "ours"))
    assert merge.finish().text() == f"changes: applied and staged ({MODEL})"


@pytest.mark.parametrize("way", ["merge main", "rebase main", "cherry-pick main", "revert --no-edit HEAD~1"])
def test_abort(forked: Repo, way: str) -> None:
    repo = forked
    repo.git("switch", "--quiet", "theirs")
    repo.fails(*way.split())
    merge = merging()
    merge.choose(Rule("*", "ours"))
    merge.preview(MODEL, "b")
    title = merge.state().situation.title
    assert merge.abort().text() == f"{title}: given up; everything is as it was before"
    assert repo.git("branch", "--show-current").strip() == "theirs"
    repo.check(safetensors(b=3, c=3, wide=2))
    assert not (repo.top / ".git/THETA_MERGE").exists()
    for call in (merge.abort, merge.finish, merge.undo, lambda: merge.choose(ALL), lambda: merge.export(Path("x"))):
        with pytest.raises(RequestError, match="no merge is in progress"):
            call()
    assert merge.state().text() == "no merge is in progress"


# Every kind of conflict.


def test_added_by_both(repo: Repo) -> None:
    Repository().track("*.pt")
    repo.commit(None, "tracked")
    fork(repo, torch_file(4), torch_file(4, b=2, wide=2), "new.pt")
    merge = merging()
    assert [row.kind for row in merge.rows("new.pt")] == ["added by both"] * 2
    with pytest.raises(RequestError, match="ties cannot merge 'b': it needs a base"):
        merge.choose(Rule("*", "ties"))
    merge.choose(ALL)
    merge.finish()
    repo.check(path="new.pt")
    found = Repository().load("new.pt")
    for name in ("b", "wide"):
        x, y = (weights(4, **other)[name].astype(np.float64) for other in ({}, {name: 2}))
        assert found[name].tobytes() == ((x + y) / 2).astype(np.float32).tobytes()
    assert np.array_equal(found["a"], weights(4)["a"])


@pytest.mark.parametrize("deleter", ["ours", "theirs"])
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_file_deleted_on_one_side(repo: Repo, deleter: str, side: str) -> None:
    fork(repo, *((None, safetensors(b=1)) if deleter == "ours" else (safetensors(b=1), None)))
    merge = merging()
    state = merge.state()
    assert f"{deleter} deleted the file" in state.text()
    assert [(row.name, row.kind) for row in merge.rows(MODEL)] == [(STRUCTURE, "deleted and changed")]
    with pytest.raises(RequestError, match="nothing can be mixed here: take ours or theirs"):
        merge.choose(ALL)
    with pytest.raises(RequestError, match="still to be decided"):
        merge.finish()
    merge.choose(Rule("*", side))
    merge.finish()
    repo.check(None if deleter == side else safetensors(b=1))
    assert (repo.top / MODEL).exists() == (deleter != side)
    assert len(repo.git("rev-parse", "HEAD^@").split()) == 2


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_files_that_are_kept_whole(repo: Repo, side: str) -> None:
    Repository().track("*.pt")
    repo.commit(b"no checkpoint", "base", "m.pt")
    fork(repo, b"ours, and no checkpoint", b"theirs, and none either", "m.pt")
    merge = merging()
    assert merge.state().files[0].whole
    with pytest.raises(RequestError, match="nothing can be mixed here"):
        merge.choose(ALL)
    merge.choose(Rule("*", side))
    merge.finish()
    assert repo.read("m.pt").startswith(side.encode())
    repo.check()


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_structure_that_cannot_be_merged(repo: Repo, side: str) -> None:
    torch = pytest.importorskip("torch")
    files = {}
    for who in ("base", "ours", "theirs"):
        tree = {name: torch.from_numpy(value) for name, value in weights().items()}
        torch.save(tree | ({} if who == "base" else {who: torch.ones(3)}), repo.top / "m.pt")
        files[who] = repo.read("m.pt")
    Repository().track("*.pt")
    repo.commit(files["base"], "base", "m.pt")
    fork(repo, files["ours"], files["theirs"], "m.pt")
    merge = merging()
    state = merge.state()
    assert state.files[0].whole
    assert "only the file as a whole can be taken" in state.text()
    assert [row.name for row in merge.rows("m.pt")] == [STRUCTURE]
    merge.choose(Rule(STRUCTURE, side))
    merge.finish()
    repo.check(files[side], "m.pt")


@pytest.mark.parametrize(("strategy", "side"), [("ours", "ours"), ("theirs", "theirs"), ("linear", "ours")])
def test_metadata_in_conflict(repo: Repo, strategy: str, side: str) -> None:
    """A strategy that computes says nothing of metadata: ours."""
    fork(repo, save(weights(b=1), {"by": "ours"}), save(weights(b=2, c=2), {"by": "theirs"}))
    merge = merging()
    assert [row.name for row in merge.rows(MODEL)] == [STRUCTURE, "b"]
    merge.choose(Rule("b", "linear"))
    with pytest.raises(RequestError, match=r"\(structure\) still to be decided"):
        merge.finish()
    merge.choose(Rule(STRUCTURE, strategy))
    merge.finish()
    repo.check(save(weights(c=2) | {"b": between(1, 2)}, {"by": side}))


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_tensor_deleted_and_changed(repo: Repo, side: str) -> None:
    without = weights()
    del without["b"]
    fork(repo, save(without), safetensors(b=2, c=2))
    merge = merging()
    (row,) = merge.rows(MODEL)
    assert (row.name, row.kind) == ("b", "deleted and changed")
    assert dict(row.refusals)["linear"] == "one side has no such tensor: take a side"
    assert [side for side, _ in merge.preview(MODEL, "b", "theirs").norms] == ["theirs", "base", "result"]
    with pytest.raises(RequestError, match="linear cannot merge 'b'"):
        merge.choose(ALL)
    merge.choose(Rule("b", side))
    merge.finish()
    tree = weights(b=2, c=2)
    repo.check(save({name: tree[name] for name in (tree if side == "theirs" else without)}))


def test_reshaped_tensors(repo: Repo) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    repo.commit(save({"emb": rows}), "base")
    ours, theirs = np.vstack([rows * 2, rows[:1] + 50]), np.vstack([rows * 4, rows[:2] + 70])
    fork(repo, save({"emb": ours}), save({"emb": theirs}))
    merge = merging()
    assert [(row.kind, row.ours_shape, row.theirs_shape) for row in merge.rows(MODEL)] == [("reshaped", (5, 3), (6, 3))]
    assert "5 x 3 / 6 x 3" in merge.conflict_list().text()
    shown = merge.preview(MODEL, "emb", "linear")
    assert "5 x 3 and 6 x 3 laid over each other" in shown.remark
    merge.choose(ALL)
    merge.finish()
    expected = theirs.copy()
    expected[:5] = (ours.astype(np.float64) + theirs[:5]) / 2
    repo.check()
    assert np.array_equal(load(repo.read())["emb"], expected)


def test_hostile_names(repo: Repo) -> None:
    """Patterns match what they say, and a name from a stranger is only a name; odd ones are quoted."""
    names = ["*", "w[0]", "w0", "--strategy", "../../x", "a\nb", "$(id)", "<b>", "ü b"]
    files = [save({name: np.full(8, seed, np.float32) for name in names}) for seed in (0, 2, 4)]
    repo.commit(files[0], "base")
    fork(repo, files[1], files[2])
    merge = merging()
    text = merge.conflict_list().text() + merge.state().text()
    assert "a\\nb" in text
    assert "a\nb" not in text
    merge.choose(Rule("*", "ours"))
    merge.choose(Rule("w[[]0]", "theirs"), Rule("[*]", "linear"), Rule('"--strategy"', "base"))
    assert merge.state().left == 0
    merge.finish()
    found = {name: value[0] for name, value in load(repo.read()).items()}
    assert found == dict.fromkeys(names, 2.0) | {"w[0]": 4.0, "*": 3.0, "--strategy": 0.0}


def test_two_models_in_a_folder_with_spaces(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository()
    other = "mödels of/theirs & ours.safetensors"
    repository.track("*.safetensors")
    repo.commit(safetensors(7), "base", other)
    repo.git("config", "merge.conflictStyle", "diff3")
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.write(safetensors(7, b=2), other)
    repo.commit(safetensors(b=2), "theirs")
    repo.git("switch", "--quiet", "main")
    repo.write(safetensors(7, b=1), other)
    repo.commit(safetensors(b=1), "ours")
    repo.fails("merge", "theirs")
    monkeypatch.chdir(repo.top / "mödels of")
    merge = merging()
    assert [file.path for file in merge.state().files] == [MODEL, other]
    with pytest.raises(RequestError, match=r"nothing\.safetensors is not a model in conflict"):
        merge.choose(Rule("b", "ours", {}, "nothing.safetensors"))
    merge.choose(Rule("b", "linear"))
    state = merge.choose(Rule("*", "theirs", {}, other))
    assert state.left == 0
    merge.finish()
    assert repo.read(other) == safetensors(7, b=2)
    repo.check(model(between(1, 2)))


@pytest.mark.parametrize("how", ["HEAD", "worktree"])
def test_a_detached_head_and_another_worktree(forked: Repo, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, top = forked, forked.top
    if how == "worktree":
        top = repo.top.parent / "a tree"
        repo.git("worktree", "add", "--quiet", "--detach", str(top), "main")
        monkeypatch.chdir(top)
    else:
        repo.git("checkout", "--quiet", "--detach")
    assert repo.run("merge", "theirs", cwd=top).returncode == 1
    merge = merging()
    assert merge.state().situation.title == f"Merging theirs into {repo.head('main')[:7]}"
    merge.choose(ALL)
    merge.finish()
    assert (top / MODEL).read_bytes() == model(between(1, 3), a=1, c=3, wide=2)
    assert repo.run("status", "--porcelain", cwd=top).stdout == b""
    assert repo.status() == ""


def test_a_file_that_one_side_made_executable(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "theirs")
    (repo.top / MODEL).chmod(0o755)
    repo.commit(safetensors(b=2), "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(b=1), "ours")
    repo.fails("merge", "theirs")
    merge = merging()
    merge.choose(Rule("*", "ours"))
    merge.finish()
    repo.check(safetensors(b=1))
    assert repo.git("ls-files", "--stage", MODEL).startswith("100755")


# What is chosen.


def test_choices(conflict: Repo) -> None:
    """They survive in a file: for another object, and another process; and can be taken back."""
    merge = merging()
    before = frozen(conflict)[:2]
    merge.choose(Rule("*", "ours"))
    merge.choose(Rule("b", "linear", {"weight": "3, 1"}))
    merge.choose(Rule("b", "linear", {"weight": "1, 1"}))  # The same once more: a slider was moved.
    code = "from theta_jupyter import Repository; print(Repository().merging().state().text())"
    assert "rule 2: b -> linear(weight=[1, 1])" in conflict.python(code)
    other = merging()
    assert [rule.described() for rule in other.state().plan.rules] == ["* -> ours", "b -> linear(weight=[1, 1])"]
    assert other.undo().plan.rules[-1].parameters == {"weight": [3.0, 1.0]}
    assert other.edit(1, Rule("b", "theirs")).plan.rules[-1].strategy == "theirs"
    assert other.edit(1, None).plan.rules == (Rule("*", "ours"),)
    assert other.undo().plan.rules[-1].strategy == "theirs"
    with pytest.raises(RequestError, match="there is no rule 7"):
        other.edit(6, None)
    for _ in range(3):
        state = merge.undo()
    assert (state.plan.rules, state.can_undo, state.left) == ((), False, 1)
    with pytest.raises(RequestError, match="there is nothing to undo"):
        merge.undo()
    assert frozen(conflict)[:2] == before


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("b", "nonsense"), "no strategy 'nonsense'|there is no strategy"),
        (Rule("b", "ties", {"density": 3}), "density cannot be 3"),
        (Rule("b", "ties", {"nothing": 3}), "ties has no parameter 'nothing'"),
        (Rule("a", "ours"), "no tensor in conflict is called 'a'"),
        (Rule("b", "fisher", {"fisher": "x.pt,y.pt"}), r"there is no checkpoint x\.pt"),
    ],
)
def test_rules_that_are_wrong(conflict: Repo, rule: Rule, message: str) -> None:
    merge = merging()
    merge.choose(ALL)
    before = frozen(conflict)
    with pytest.raises(RequestError, match=message):
        merge.choose(rule)
    with pytest.raises(RequestError, match=message):
        merge.edit(0, rule)
    assert frozen(conflict) == before


def test_choices_of_another_merge_are_not_used(forked: Repo) -> None:
    repo = forked
    repo.fails("merge", "theirs")
    merging().choose(Rule("*", "theirs"))
    repo.git("merge", "--abort")
    repo.fails("merge", "theirs~1")
    merge = merging()
    assert merge.state().plan.rules == ()
    assert not merge.state().can_undo
    with pytest.raises(RequestError, match="b still to be decided"):
        merge.finish()
    (repo.top / ".git/THETA_MERGE").write_text("{")
    assert merge.state().revision == 0


def test_nothing_is_decided_by_accident(repo: Repo) -> None:
    fork(repo, safetensors(a=1, b=1, c=1), safetensors(a=2, b=2, c=2))
    merge = merging()
    merge.choose(Rule("a", "ours"))
    before = (*frozen(repo), repo.read())
    with pytest.raises(RequestError, match=r"m\.safetensors: b and 1 more still to be decided") as caught:
        merge.finish()
    assert "git theta merge --status" in caught.value.hint
    assert (*frozen(repo), repo.read()) == before
    assert "2 of 3 conflicts left" in merge.state().headline()


def test_values_that_are_not_finite(repo: Repo) -> None:
    odd = weights(b=1, c=1)
    odd["b"][0, 0] = np.nan
    fork(repo, save(odd), safetensors(b=2, c=2))
    merge = merging()
    rows = {row.name: row for row in merge.rows(MODEL)}
    assert dict(rows["b"].refusals)["linear"] == "1 of its values is NaN or infinite: take a side"
    json.dumps(merge.conflict_list().to_dict(), allow_nan=False)
    json.dumps(merge.preview(MODEL, "b").to_dict(), allow_nan=False)
    state = merge.choose(ALL)
    assert state.left == 1
    with pytest.raises(RequestError, match="b still to be decided"):
        merge.finish()
    merge.choose(Rule("b", "ours"))
    merge.finish()
    repo.check(save(odd | {"c": between(1, 2, "c")}))


def test_text_in_conflict_beside(repo: Repo) -> None:
    (repo.top / "a b.txt").write_text("base\n")
    repo.commit(None, "base")
    repo.git("switch", "--quiet", "--create", "theirs")
    (repo.top / "a b.txt").write_text("theirs\n")
    repo.commit(safetensors(b=2), "theirs")
    repo.git("switch", "--quiet", "main")
    (repo.top / "a b.txt").write_text("ours\n")
    repo.commit(safetensors(b=1), "ours")
    repo.fails("merge", "theirs")
    merge = merging()
    state = merge.choose(ALL)
    assert (state.left, state.others) == (0, ("a b.txt",))
    assert "also in conflict, to be edited by hand: a b.txt" in state.text()
    before = frozen(repo)
    with pytest.raises(RequestError, match=r"a b\.txt is still in conflict") as caught:
        merge.finish()
    assert caught.value.hint == "edit it, then: git add 'a b.txt'"
    assert frozen(repo) == before
    (repo.top / "a b.txt").write_text("both\n")
    repo.git("add", "a b.txt")
    merge.finish()
    repo.check(model(between(1, 2)))
    assert len(repo.git("rev-parse", "HEAD^@").split()) == 2


# What is seen.


@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [("linear", {"weight": [1, 3]}), ("ties", {"density": 0.5}), ("dare_ties", {"seed": 7}), ("theirs", {})],
)
def test_a_preview_is_what_will_be(conflict: Repo, strategy: str, parameters: dict[str, Any]) -> None:
    merge = merging()
    before = frozen(conflict), conflict.objects
    shown = merge.preview(MODEL, "b", strategy, parameters)
    assert (frozen(conflict), conflict.objects) == before
    merge.choose(Rule("b", strategy, parameters))
    chosen = merge.preview(MODEL, "b")
    assert chosen.to_dict() == shown.to_dict() or chosen.row.rule != shown.row.rule
    assert dict(chosen.norms) == dict(shown.norms)
    merge.finish()
    result = load(conflict.read())["b"].astype(np.float64)
    tree = {"ours": weights(b=1)["b"], "theirs": weights(b=2)["b"], "base": weights()["b"]}
    assert dict(shown.norms) == {
        **{
            side: pytest.approx(float(np.linalg.norm(value.astype(np.float64))), rel=1e-12)
            for side, value in tree.items()
        },
        "result": pytest.approx(float(np.linalg.norm(result)), rel=1e-12),
    }
    assert dict(shown.distances) == {
        side: pytest.approx(float(np.linalg.norm(result - value)), rel=1e-9, abs=1e-12) for side, value in tree.items()
    }
    changes = [(tree[side].astype(np.float64) - tree["base"]).ravel() for side in ("ours", "theirs")]
    cosine = changes[0] @ changes[1] / np.linalg.norm(changes[0]) / np.linalg.norm(changes[1])
    assert shown.row.standing.angle == pytest.approx(np.degrees(np.arccos(cosine)), rel=1e-9)
    assert shown.labels == ("main", "theirs", conflict.head("HEAD~1~1")[:7])


def test_previews_that_cannot_be(conflict: Repo) -> None:
    merge = merging()
    for path, name, strategy, message in [
        (MODEL, "nothing", "", "has no tensor 'nothing'"),
        ("x.pt", "b", "", r"x\.pt is not a model in conflict"),
        (MODEL, "b", "nonsense", "nonsense"),
    ]:
        with pytest.raises(RequestError, match=message):
            merge.preview(path, name, strategy)
    assert merge.preview(MODEL, "wide", "linear").row.strategy == ""  # It has settled.
    assert conflict.head()


# When something goes wrong.


def stopping(words: str) -> Callable[[str, int, int], None]:
    """A progress that interrupts when these are done."""

    def progress(what: str, *_: int) -> None:
        if words in what:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("when", ["merging", ""])
def test_an_interrupt_loses_nothing(conflict: Repo, when: str) -> None:
    merge = merging()
    merge.choose(ALL)
    before = frozen(conflict)
    with pytest.raises(KeyboardInterrupt):
        merge.finish(progress=stopping(when))
    assert frozen(conflict) == before
    assert merge.state().left == 0
    merge.finish()
    conflict.check(model(between(1, 2), a=1, wide=2))


def test_an_interrupt_between_two_files(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository().track("*.safetensors")
    repo.commit(safetensors(7), "base", "n.safetensors")
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.write(safetensors(7, b=2), "n.safetensors")
    repo.commit(safetensors(b=2), "theirs")
    repo.git("switch", "--quiet", "main")
    repo.write(safetensors(7, b=1), "n.safetensors")
    repo.commit(safetensors(b=1), "ours")
    repo.fails("merge", "theirs")
    merge = merging()
    merge.choose(ALL)
    before = frozen(repo)

    def interrupted(worktree: Any, name: str, *rest: Any) -> None:
        if name == "n.safetensors":
            raise KeyboardInterrupt
        lay(worktree, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("theta_jupyter.staging.lay", interrupted)
        with pytest.raises(KeyboardInterrupt):
            merge.finish()
    assert frozen(repo) == before
    merge.abort()
    repo.check(safetensors(b=1))
    repo.fails("merge", "theirs")
    merge.choose(ALL)
    merge.finish()
    repo.check(model(between(1, 2)))


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_objects_that_are_damaged_or_missing(conflict: Repo, how: str) -> None:
    merge = merging()
    merge.choose(ALL)
    (place,) = conflict.manifest("theirs:m.safetensors").records["b"].objects
    file = conflict.theta / "objects" / place.object[:2] / place.object[2:4] / place.object
    data = file.read_bytes()
    file.chmod(0o644)
    if how == "damaged":
        file.write_bytes(bytes([data[0] ^ 1]) + bytes(byte ^ 255 for byte in data[1:]))
    else:
        file.unlink()
    before = (*frozen(conflict), conflict.read())
    expected: type[ThetaError] = IntegrityError if how == "damaged" else ThetaError
    with pytest.raises(expected, match="no remote" if how == "missing" else "b") as caught:
        merge.finish()
    assert caught.value.message
    assert (*frozen(conflict), conflict.read()) == before
    file.write_bytes(data)
    merge.finish()
    conflict.check(model(between(1, 2), a=1, wide=2))


@pytest.mark.parametrize("way", ["merge main", "cherry-pick main"])
def test_a_hook_that_refuses_the_commit(forked: Repo, way: str) -> None:
    """Its words are told; all is staged, and finishing again makes the same commit, with the plan."""
    repo = forked
    repo.git("switch", "--quiet", "--create", "work", "theirs~1")
    repo.fails(*way.split())
    hook = repo.top / ".git/hooks/commit-msg"
    hook.write_text("#!/bin/sh\necho not on a Friday >&2\nexit 1\n")
    hook.chmod(0o755)
    merge = merging()
    merge.choose(ALL)
    head = repo.head()
    with pytest.raises(GitError, match="not on a Friday") as caught:
        merge.finish("" if "merge" not in way else "mine")
    assert "git theta merge --continue" in caught.value.hint
    state = merge.state()
    assert (state.situation.kind, state.files, repo.head()) == (way.split(maxsplit=1)[0], (), head)
    assert "finish with: git theta merge --continue" in state.text()
    hook.unlink()
    state = merge.finish()
    assert state.situation.kind == ""
    repo.check(model(between(1, 2), a=1, wide=2))
    body = repo.git("log", "-1", "--format=%B")
    assert body.startswith("mine" if "merge" in way else "ours")
    assert body.count("Theta-Plan: {") == 1


@pytest.mark.parametrize("way", ["merge main", "rebase main"])
def test_signed_commits(forked: Repo, way: str) -> None:
    """Git signs; a signature that fails is told, and can be made good."""
    repo = forked
    gpg = repo.home / "gpg"
    gpg.write_text("#!/bin/sh\necho no key >&2\nexit 2\n")
    gpg.chmod(0o755)
    repo.git("switch", "--quiet", "--create", "work", "theirs~1")
    repo.git("config", "gpg.program", str(gpg))
    repo.git("config", "commit.gpgsign", "true")
    repo.fails(*way.split())
    merge = merging()
    merge.choose(ALL)
    with pytest.raises(GitError, match="failed to sign"):
        merge.finish()
    gpg.write_text('#!/bin/sh\ncat > /dev/null\necho "[GNUPG:] SIG_CREATED " >&2\necho signature\n')
    assert merge.finish().situation.kind == ""
    repo.check(model(between(1, 2), a=1, wide=2))
    assert repo.git("log", "-1", "--format=%(trailers:key=Theta-Plan,valueonly)").count('"strategy"') == 1
    assert "gpgsig signature" in repo.git("cat-file", "commit", "HEAD")


def test_an_editor_is_never_opened(forked: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = forked
    monkeypatch.setenv("GIT_EDITOR", "false")
    repo.git("switch", "--quiet", "theirs")
    repo.fails("rebase", "main")
    merge = merging()
    for _ in range(2):
        merge.choose(ALL)
        state = merge.finish()
    assert state.situation.kind == ""


# By hand.


def test_by_hand(conflict: Repo, tmp_path: Path) -> None:
    merge = merging()
    told = merge.export(tmp_path / "out")
    assert told.message == f"wrote 3 versions to {tmp_path / 'out'}"
    files = {side: (tmp_path / f"out/m.{side}.safetensors").read_bytes() for side in ("base", "ours", "theirs")}
    assert files == {
        "base": safetensors(),
        "ours": safetensors(a=1, b=1),
        "theirs": safetensors(b=2, wide=2),
    }
    with pytest.raises(RequestError, match="is there already"):
        merge.export(tmp_path / "out")
    with pytest.raises(RequestError, match="there is no file"):
        merge.take(tmp_path / "nothing")
    mine = safetensors(a=9, b=9)
    (tmp_path / "mine.safetensors").write_bytes(mine)
    merge.choose(Rule("*", "ours"))
    state = merge.take(tmp_path / "mine.safetensors")
    assert (state.situation.kind, state.files) == ("merge", ())
    merge.finish()
    conflict.check(mine)
    assert "Theta-Plan" not in conflict.git("log", "-1", "--format=%B")  # No plan made this.


@pytest.mark.usefixtures("repo")
@pytest.mark.parametrize("env", [{}, {"GIT_THETA_SKIP_SMUDGE": "1"}])
def test_weights_come_from_a_remote(bare: Repo, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge begun before its weights are here fetches what it reads."""
    save_file(weights(wide=2) | {"theirs": np.ones(3, np.float32)}, MODEL)
    repository = Repository()
    repository.commit("theirs")
    repository.push()
    clone = bare.clone("clone")
    clone.init()
    monkeypatch.chdir(clone.top)
    clone.git("reset", "--quiet", "--hard", "HEAD~1")
    Repository.init()
    save_file(weights(wide=1) | {"ours": np.zeros(3, np.float32)}, MODEL)
    Repository().commit("ours")
    clone.fails("merge", "origin/main", env=env)
    needed = {place.object for place in clone.manifest(f"origin/main:{MODEL}").records["wide"].objects}
    assert not needed <= clone.objects
    merge = merging()
    state = merge.state()
    assert (state.situation.theirs.name, state.files[0].whole) == ("origin/main", False)
    merge.choose(ALL)
    assert not needed <= clone.objects
    assert merge.preview(MODEL, "wide").norms
    merge.finish()
    both = {"wide": between(1, 2, "wide"), "ours": np.zeros(3, np.float32), "theirs": np.ones(3, np.float32)}
    clone.check()
    assert {name: value.tobytes() for name, value in load(clone.read()).items()} == {
        name: value.tobytes() for name, value in (weights() | both).items()
    }


# Again.


def test_a_plan_repeats_a_merge(forked: Repo, tmp_path: Path) -> None:
    repo = forked
    repository = Repository()
    head = repo.head()
    state = repository.merge("theirs", strategy="dare_ties", parameters={"density": 0.5, "seed": 3})
    assert state.situation.kind == ""
    blob, commit = repo.head(f"HEAD:{MODEL}"), repo.head()
    plan = json.loads(repo.git("log", "-1", "--format=%(trailers:key=Theta-Plan,valueonly)"))
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    for again in (commit, tmp_path / "plan.yaml"):
        repo.git("reset", "--quiet", "--hard", head)
        shutil.rmtree(repo.theta / "cache")
        assert repository.merge("theirs", plan=again).situation.kind == ""
        assert repo.head(f"HEAD:{MODEL}") == blob
        repo.check()
        assert json.loads(repo.git("log", "-1", "--format=%(trailers:key=Theta-Plan,valueonly)")) == plan
    for wrong, message in [("main~1", "main~1 was not made by a plan"), ("nothing", "there is no plan nothing")]:
        with pytest.raises(RequestError, match=message):
            repository.merge("theirs", plan=wrong)
    with pytest.raises(RequestError, match="give one or the other"):
        repository.merge("theirs", plan=commit, strategy="linear")


def test_write_is_the_model(repo: Repo) -> None:
    """What the oracles above rest on."""
    assert write(b=1) == model(weights(b=1)["b"]) == safetensors(b=1)
    assert repo.status() == f" M {MODEL}\n"
    assert issubclass(MissingObjectError, ThetaError)
