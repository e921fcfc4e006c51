"""Beginning a merge: of one branch, of several at once, and of every tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file

from tests.api.place import write
from tests.e2e.repo import LAYERS, MODEL, Repo, safetensors, weights
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.merges.plan import Plan, Rule
from theta_jupyter.storage import tensors

if TYPE_CHECKING:
    import numpy.typing as npt

    from theta_jupyter.storage.manifest import Node, Place

    Floats = npt.NDArray[np.float64]

NAMES = (*LAYERS, "wide")


def wide(**changed: int) -> dict[str, Floats]:
    return {name: value.astype(np.float64) for name, value in weights(**changed).items()}


def ties(base: Floats, models: list[Floats], density: float) -> Floats:
    """TIES-Merging, written down once more: trim, elect, and the mean of those that agree."""
    changes = []
    for found in models:
        change = (found - base).ravel()
        keep = np.argsort(-np.abs(change), kind="stable")[: int(density * change.size)]
        trimmed = np.zeros_like(change)
        trimmed[keep] = change[keep]
        changes.append(trimmed)
    table = np.stack(changes)
    elected = np.sign(table.sum(axis=0))
    agree = (np.sign(table) == elected) & (elected != 0)
    mean = np.where(agree, table, 0).sum(axis=0) / np.maximum(1, agree.sum(axis=0))
    result: Floats = base + mean.reshape(base.shape)
    return result


def frozen(repo: Repo) -> tuple[Any, ...]:
    """HEAD, the index, the work tree, and Git's folder: all that must be as it was when something is refused."""
    work = {path.name: path.read_bytes() for path in repo.top.iterdir() if path.is_file()}
    kept = {path.name for path in (repo.top / ".git").iterdir()} - {"ORIG_HEAD", "AUTO_MERGE"}
    return repo.head(), repo.git("ls-files", "--stage"), work, kept, repo.git("for-each-ref")


@pytest.fixture
def three(repo: Repo) -> Repo:
    """``main`` changed ``a`` and ``b``; ``one`` changed ``b``, ``c``; ``two`` changed ``b``, ``c``; all of seed 0."""
    base = repo.head()
    for branch, changed in (("one", {"b": 2, "c": 2}), ("two", {"b": 3, "c": 3}), ("main", {"a": 1, "b": 1})):
        if branch != "main":
            repo.git("switch", "--quiet", "--create", branch, base)
        else:
            repo.git("switch", "--quiet", "main")
        repo.commit(safetensors(**changed), branch)
    return repo


# One branch.


def test_one_branch_that_settles_by_itself(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(safetensors(wide=2), "theirs")
    repo.git("switch", "--quiet", "main")
    repository = Repository()
    state = repository.merge("theirs")
    assert state.text() == f"moved on to theirs: {repo.head('theirs')[:7]}"
    assert (repo.head(), state.exit_status) == (repo.head("theirs"), 0)
    repo.check(safetensors(wide=2))
    assert repository.merge("theirs").text() == "already up to date"
    repo.git("reset", "--quiet", "--hard", "HEAD~1")
    repo.commit(safetensors(a=1), "ours")
    state = repository.merge("theirs", message="told")
    assert state.text() == f"merged theirs: {repo.head()[:7]}"
    assert repo.git("log", "-1", "--format=%B").strip() == "told"
    repo.check(safetensors(a=1, wide=2))


def test_one_branch_in_conflict_waits(forked: Repo) -> None:
    repository = Repository()
    state = repository.merge("theirs")
    assert (state.exit_status, state.left, state.plan.rules) == (1, 1, ())
    # What lies there meanwhile is a whole checkpoint.
    assert forked.read() == safetensors(a=1, b=1, c=3, wide=2)
    assert forked.status() == f"UU {MODEL}\n"
    with pytest.raises(RequestError, match="Merging theirs into main is not finished"):
        repository.merge("theirs")
    assert state.merge
    state.merge.abort()
    # A plan that speaks of something else leaves it, and is kept.
    state = repository.merge("theirs", plan=Plan((Rule("wide", "linear"),)))
    assert (state.exit_status, state.left, len(state.plan.rules)) == (1, 1, 1)
    repository.merging().choose(Rule("b", "ours"))
    repository.merging().finish()
    forked.check(safetensors(a=1, b=1, c=3, wide=2))
    assert "wide" not in forked.git("log", "-1", "--format=%B")  # It decided nothing.


def test_one_branch_with_a_strategy_is_finished(forked: Repo) -> None:
    state = Repository().merge("theirs", strategy="ties", parameters={"density": 0.5}, message="a merge")
    assert state.text() == f"merged theirs into main: {forked.head()[:7]} ({MODEL})"
    b = ties(wide()["b"], [wide(b=1)["b"], wide(b=3)["b"]], 0.5)
    found = load(forked.read())["b"]
    np.testing.assert_allclose(found, b, rtol=1e-6, atol=1e-7)
    forked.check(save(weights(a=1, c=3, wide=2) | {"b": found}))
    assert forked.git("log", "-1", "--format=%s").strip() == "a merge"
    assert len(forked.git("rev-parse", "HEAD^@").split()) == 2


@pytest.mark.parametrize("strategy", ["", "linear"])
def test_changes_that_a_merge_would_overwrite(forked: Repo, strategy: str) -> None:
    write(b=9)
    before = frozen(forked)
    with pytest.raises(RequestError, match="has changes that are not committed"):
        Repository().merge("theirs", strategy=strategy)
    assert frozen(forked) == before
    assert forked.status() == f" M {MODEL}\n"


def test_a_merge_that_a_hook_refuses(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(safetensors(wide=2), "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(a=1), "ours")
    hook = repo.top / ".git/hooks/commit-msg"
    hook.write_text("#!/bin/sh\necho not on a Friday >&2\nexit 1\n")
    hook.chmod(0o755)
    repository = Repository()
    with pytest.raises(GitError, match="not on a Friday") as caught:
        repository.merge("theirs")
    assert "git theta merge --continue" in caught.value.hint
    assert repo.read() == safetensors(a=1, wide=2)
    hook.unlink()
    assert repository.merging().finish().situation.kind == ""
    repo.check(safetensors(a=1, wide=2))


def test_a_result_that_does_not_fit_its_type_leaves_the_merge_in_progress(repo: Repo) -> None:
    big = {name: np.full(4, value, np.float16) for name, value in {"h": 6e4, "i": 1}.items()}
    files = [save({name: (value * scale).astype(np.float16) for name, value in big.items()}) for scale in (0.1, 1, 0.9)]
    repo.commit(files[0], "base")
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(files[2], "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(files[1], "ours")
    with pytest.raises(RequestError, match="task_arithmetic cannot merge 'h': its result does not fit F16"):
        Repository().merge("theirs", strategy="task_arithmetic")
    merge = Repository().merging()
    assert merge.state().situation.kind == "merge"
    assert repo.read() == files[1]  # And no manifest.
    merge.choose(Rule("h", "ours"))
    merge.finish()
    repo.check()


def test_requests_that_are_wrong(forked: Repo) -> None:
    repository = Repository()
    before = frozen(forked)
    calls: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
        ({}, (), "merge what"),
        ({}, ("nothing",), "'nothing' is not a commit"),
        ({}, ("--abort",), "'--abort' is not a commit"),
        ({"strategy": "nonsense"}, ("theirs",), "nonsense"),
        ({"strategy": "ties", "parameters": {"density": 7}}, ("theirs",), "density cannot be 7"),
        ({"strategy": "linear", "parameters": {"weight": "1,2,3"}}, ("theirs",), "there are 2 models"),
        ({"parameters": {"density": 0.3}}, ("theirs",), "parameters of what"),
        ({"every": True}, ("theirs",), "every tensor is merged by what"),
    ]
    for options, branches, message in calls:
        with pytest.raises(ThetaError, match=message):
            repository.merge(*branches, **options)
    assert frozen(forked) == before


# Several branches.


def test_several_branches_by_ties(three: Repo) -> None:
    """What only one or two of them changed is merged of those; what one alone changed is its own."""
    repository = Repository()
    state = repository.merge("one", "two", strategy="ties", parameters={"density": 0.5})
    assert state.text() == f"merged one, two into main: {three.head()[:7]} ({MODEL})"
    base = wide()
    b = ties(base["b"], [wide(b=seed)["b"] for seed in (1, 2, 3)], 0.5)
    c = ties(base["c"], [wide(c=seed)["c"] for seed in (2, 3)], 0.5)
    found = load(three.read())
    np.testing.assert_allclose(found["b"], b, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["c"], c, rtol=1e-6, atol=1e-7)
    three.check(save(weights(a=1) | {"b": found["b"], "c": found["c"]}))
    assert three.git("rev-parse", "HEAD^@").split() == [three.head("HEAD~1"), three.head("one"), three.head("two")]
    assert three.git("log", "-1", "--format=%s").strip() == "Merge branches 'one' and 'two'"
    plan = three.git("log", "-1", "--format=%(trailers:key=Theta-Plan,valueonly)")
    # The same bits once more, from the commit.
    blob = three.head(f"HEAD:{MODEL}")
    commit = three.head()
    three.git("reset", "--quiet", "--hard", "HEAD~1")
    repository.merge("one", "two", plan=commit)
    assert three.head(f"HEAD:{MODEL}") == blob
    assert three.git("log", "-1", "--format=%(trailers:key=Theta-Plan,valueonly)") == plan


@pytest.mark.parametrize("weight", ["1", "1,2,5"])
def test_every_tensor(three: Repo, weight: str) -> None:
    """A merge as mergekit means it: of every tensor, also of those that only one has changed."""
    (three.top / "notes").write_text("of ours\n")
    three.commit(None, "notes")
    Repository().merge("one", "two", strategy="linear", parameters={"weight": weight}, every=True, message="soup")
    trees = [wide(a=1, b=1), wide(b=2, c=2), wide(b=3, c=3)]
    parts = [float(part) for part in weight.split(",")] * (3 if weight == "1" else 1)
    total = sum(parts)
    found = load(three.read())
    for name in NAMES:
        mean = sum((part / total) * tree[name] for part, tree in zip(parts, trees, strict=True))
        np.testing.assert_allclose(found[name], mean, rtol=1e-6, atol=1e-7)
    assert found["d"].tobytes() == weights()["d"].tobytes()
    assert (three.top / "notes").read_text() == "of ours\n"
    assert three.git("log", "-1", "--format=%s").strip() == "soup"
    assert '"all":true' in three.git("log", "-1", "--format=%B")
    three.check()


def test_every_tensor_of_what_could_be_fast_forwarded(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(safetensors(b=2), "theirs")
    repo.git("switch", "--quiet", "main")
    Repository().merge("theirs", strategy="linear", every=True)
    expected = weights() | {"b": ((wide()["b"] + wide(b=2)["b"]) / 2).astype(np.float32)}
    repo.check(save(expected))
    assert len(repo.git("rev-parse", "HEAD^@").split()) == 2


def test_branches_that_are_merged_already(three: Repo) -> None:
    repository = Repository()
    repository.merge("one", strategy="ours")
    head = three.head()
    assert repository.merge("one", strategy="linear", every=True).text() == "already up to date"
    with pytest.raises(RequestError, match="there are 2 models, because a branch is merged already"):
        repository.merge("one", "two", strategy="linear", parameters={"weight": "1,2,3"})
    assert three.head() == head
    state = repository.merge("one", "two", "two", strategy="theirs")
    assert state.text() == f"merged two into main: {three.head()[:7]} ({MODEL})"
    assert three.git("rev-parse", "HEAD^@").split() == [head, three.head("two")]
    three.check(safetensors(a=1, b=3, c=3))


def test_several_branches_are_refused_whole(three: Repo) -> None:
    """Nothing is changed by a merge that cannot be completed."""
    repository = Repository()
    before = frozen(three)
    with pytest.raises(GitError, match="one and two do not merge by themselves") as caught:
        repository.merge("one", "two")
    assert "--strategy linear" in caught.value.hint
    assert frozen(three) == before
    with pytest.raises(RequestError, match=r"m\.safetensors: c cannot be decided: no rule speaks of it"):
        repository.merge("one", "two", plan=Plan((Rule("b", "linear"),)))
    with pytest.raises(RequestError, match=r"b cannot be decided: slerp: it merges two models, not 3"):
        repository.merge("one", "two", plan=Plan((Rule("*", "linear"), Rule("b", "slerp"))))
    assert frozen(three) == before
    write(d=5)
    before = frozen(three)
    with pytest.raises(RequestError, match="changes that are not committed"):
        repository.merge("one", "two", strategy="linear")
    assert frozen(three) == before


def test_text_in_conflict_is_refused(three: Repo) -> None:
    for branch in ("one", "two", "main"):
        three.git("switch", "--quiet", branch)
        (three.top / "a b").write_text(branch)
        three.commit(None, "text")
    before = frozen(three)
    with pytest.raises(RequestError, match="a b is in conflict, and is no model"):
        Repository().merge("one", "two", strategy="linear")
    assert frozen(three) == before


def test_a_file_in_the_way(three: Repo) -> None:
    three.git("switch", "--quiet", "one")
    (three.top / "notes").write_text("theirs")
    three.commit(None, "notes")
    three.git("switch", "--quiet", "main")
    (three.top / "notes").write_text("mine, and not in Git")
    before = frozen(three)
    with pytest.raises(GitError, match="notes"):
        Repository().merge("one", "two", strategy="linear")
    assert frozen(three) == before


def test_metadata_in_conflict(three: Repo) -> None:
    for branch, changed in (("one", {"b": 2}), ("two", {"b": 3}), ("main", {"b": 1})):
        three.git("switch", "--quiet", branch)
        three.commit(save(weights(**changed), {"by": branch}), "metadata")
    repository = Repository()
    before = frozen(three)
    with pytest.raises(RequestError, match=r"\(structure\) cannot be decided: no rule speaks of it"):
        repository.merge("one", "two", plan=Plan((Rule("[!(]*", "linear"),)))
    assert frozen(three) == before
    repository.merge("one", "two", strategy="linear")
    assert b'"by":"main"' in three.read()
    three.check()


@pytest.mark.parametrize("gpg", [True, False])
def test_a_merge_of_several_is_signed_if_commits_are(three: Repo, *, gpg: bool) -> None:
    program = three.home / "gpg"
    program.write_text('#!/bin/sh\ncat > /dev/null\necho "[GNUPG:] SIG_CREATED " >&2\necho signature\n')
    program.chmod(0o755)
    three.git("config", "gpg.program", str(program))
    three.git("config", "commit.gpgSign", "yes" if gpg else "no")
    Repository().merge("one", "two", strategy="linear")
    assert ("gpgsig signature" in three.git("cat-file", "commit", "HEAD")) == gpg


@pytest.mark.parametrize("branches", [("one",), ("one", "two")])
def test_fisher(three: Repo, branches: tuple[str, ...]) -> None:
    """Statistics are checkpoints: files, or versions in the repository."""
    rng = np.random.default_rng(5)
    tables = [
        {name: rng.uniform(1, 2, value.shape).astype(np.float32) for name, value in weights().items()}
        for _ in range(1 + len(branches))
    ]
    Repository().track("f.safetensors")
    save_file(tables[0], "f.safetensors")
    Repository().commit("statistics", ["f.safetensors"])
    paths = ["HEAD:f.safetensors"]
    for number, table in enumerate(tables[1:]):
        paths.append(str(three.top.parent / f"{number}.safetensors"))
        save_file(table, paths[-1])
    Repository().merge(*branches, strategy="fisher", parameters={"fisher": ",".join(paths)})
    models = [wide(b=seed)["b"] for seed in range(1, 2 + len(branches))]
    known = [table["b"].astype(np.float64) for table in tables]
    expected = sum(x * f for x, f in zip(models, known, strict=True)) / sum(known)
    np.testing.assert_allclose(load(three.read())["b"], expected, rtol=1e-6, atol=1e-7)
    three.check()
    with pytest.raises(RequestError, match="there is no checkpoint HEAD:nothing"):
        Repository().merge("two", strategy="fisher", parameters={"fisher": "HEAD:nothing,x"})


def test_of_worktrees_and_subfolders(three: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    top = three.top.parent / "a tree"
    three.git("worktree", "add", "--quiet", "-b", "work", str(top), "main")
    (top / "sub folder").mkdir()
    monkeypatch.chdir(top / "sub folder")
    Repository().merge("one", "two", strategy="linear")
    c = (wide(c=2)["c"] + wide(c=3)["c"]) / 2
    np.testing.assert_allclose(load((top / MODEL).read_bytes())["c"], c, rtol=1e-6, atol=1e-7)
    assert three.run("status", "--porcelain", cwd=top).stdout == b""
    assert three.status() == ""
    assert three.head("main") != three.head("work")


# What lies at hand is not rebuilt.


def test_a_merge_reads_ours_from_the_file_and_writes_what_it_made(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the base is rebuilt from what is stored, and theirs, each once."""
    near = {branch: {n: v + np.float32(step) for n, v in weights().items()} for branch, step in STEPS.items()}
    repo.git("switch", "--quiet", "--create", "theirs")
    repo.commit(save(near["theirs"]), "theirs")
    repo.git("switch", "--quiet", "main")
    repo.commit(save(near["main"]), "ours")
    records = {branch: Repository().manifest(MODEL, branch).records for branch in near}
    assert all(record.update for found in records.values() for record in found.values())
    rebuilt: list[Place] = []
    decode = tensors._node

    def watched(node: Node, *rest: Any) -> memoryview:
        rebuilt.append(node.place)
        return decode(node, *rest)

    monkeypatch.setattr(tensors, "_node", watched)
    Repository().merge("theirs", strategy="linear")
    for name in NAMES:
        base, ours = records["main"][name].nodes
        assert (rebuilt.count(base.place), rebuilt.count(ours.place)) == (1, 0)
        assert rebuilt.count(records["theirs"][name].nodes[-1].place) == 1
    found = load((repo.top / MODEL).read_bytes())
    for name in NAMES:
        mean = (near["main"][name].astype("f8") + near["theirs"][name]) / 2
        np.testing.assert_array_equal(found[name], mean.astype("f4"))
    assert not list((repo.top / ".git" / "theta" / "tmp").iterdir())


STEPS = {"main": 2.0**-12, "theirs": 3 * 2.0**-12}
