"""Trying ways to merge: what the user's function is given, what comes of it, and that nothing is touched."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file

from tests.api.place import write
from tests.e2e.repo import safetensors, torch_file, weights
from theta_jupyter import Repository
from theta_jupyter.errors import RequestError
from theta_jupyter.merges.plan import Rule
from theta_jupyter.scoring import Measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.repo import Repo
    from theta_jupyter.board import Board

NAMES = [*"abcd", "wide"]


def oracle(strategy: str = "linear", weight: float = 0.5) -> dict[str, Any]:
    """The merge of ``theirs`` into ``main`` of ``forked``, with the mean in place of what both changed, or a side."""
    tree = weights(a=1, b={"ours": 1, "theirs": 3}.get(strategy, 0), c=3, wide=2)
    if strategy == "linear":
        x, y = (weights(b=seed)["b"].astype(np.float64) for seed in (1, 3))
        tree["b"] = (x * (1 - weight) + y * weight).astype(np.float32)
    return tree


def total(state: dict[str, Any]) -> float:
    """A score that depends on every value."""
    return math.fsum(float(torch.as_tensor(value).double().square().sum()) for value in state.values())


def scores(board: Board) -> dict[str, float | None]:
    return {trial.label: trial.score for trial in board.trials}


def frozen(repo: Repo) -> tuple[Any, ...]:
    files = {
        str(p.relative_to(repo.top)): p.read_bytes()
        for p in repo.top.rglob("*")
        if p.is_file() and ".git/" not in str(p)
    }
    return files, repo.git("ls-files", "--stage"), repo.head(), repo.git("for-each-ref")


def test_state_dicts(forked: Repo) -> None:
    before = frozen(forked)
    seen: list[dict[str, Any]] = []

    def score(state: dict[str, Any]) -> float:
        seen.append(state)
        return total(state)

    board = Repository().try_merge("theirs", strategies=["ours", "linear", "theirs"], score=score)
    assert frozen(forked) == before
    labels = ["ours: main", "theirs: theirs", "ours", "linear", "theirs"]
    trees = [weights(a=1, b=1), weights(b=3, c=3, wide=2), *map(oracle, ("ours", "linear", "theirs"))]
    for label, tree, state in zip(labels, trees, seen, strict=True):
        assert all(state[name].numpy().tobytes() == tree[name].tobytes() for name in NAMES)
        assert scores(board)[label] == total(tree)
    assert [trial.kind for trial in board.trials] == ["parent"] * 2 + ["candidate"] * 3
    assert board.best == 2 + int(np.argmax([total(tree) for tree in trees[2:]]))
    assert board.title == "Merging theirs into main"
    assert "best parent" in board.text()
    json.dumps(board.to_dict(), allow_nan=False)
    assert len(board.to_pandas()) == 5
    # Nothing that the function does to its state is seen by the next one, or kept.
    with pytest.raises(RequestError, match="that is no candidate"):
        board.use(0)


class Net(torch.nn.Module):
    """A module with the model's tensors."""

    a: torch.nn.Parameter
    b: torch.nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        for name, value in weights(9).items():
            setattr(self, name, torch.nn.Parameter(torch.from_numpy(value)))


def test_into_a_model_that_is_put_back(forked: Repo) -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    net.a.grad = torch.ones(8, 8)
    optimizer.step()
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    momentum = optimizer.state[net.a]["momentum_buffer"].clone()
    seen: list[float] = []

    def score(model: Net) -> float:
        assert model is net
        seen.append(total(model.state_dict()))
        model.a.data += 1  # A function may do what it likes.
        return seen[-1]

    before = frozen(forked)
    measure = Measure(score, net)
    board = Repository().try_merge("theirs", strategies=["linear"], score=measure)
    assert seen[-1] == total(oracle())
    assert [trial.failed for trial in board.trials] == ["", "", ""]
    for name, value in net.state_dict().items():
        assert value.numpy().tobytes() == kept[name].numpy().tobytes()
    assert optimizer.state[net.a]["momentum_buffer"].equal(momentum)
    assert frozen(forked) == before


def test_what_is_put_back(forked: Repo) -> None:
    """Also in arrays and tensors, in dicts of them, and when the function fails."""
    assert forked.head()
    tensors = {name: torch.from_numpy(value).requires_grad_() for name, value in weights(9).items()}
    arrays = weights(8)
    for into in (tensors, arrays):
        before = {name: torch.as_tensor(value).detach().numpy().tobytes() for name, value in into.items()}
        members = {name: id(value) for name, value in into.items()}
        board = Repository().try_merge("theirs", strategies=["ours"], score=Measure(total, into))
        assert scores(board)["ours"] == total(oracle("ours"))

        def broken(_: Any) -> float:
            raise SystemExit

        with pytest.raises(SystemExit):
            Repository().try_merge("theirs", strategies=["ours"], score=Measure(broken, into))
        assert {name: torch.as_tensor(value).detach().numpy().tobytes() for name, value in into.items()} == before
        assert {name: id(value) for name, value in into.items()} == members


def test_as_a_file(forked: Repo) -> None:
    before = frozen(forked)
    paths: list[Path] = []

    def score(path: Path) -> float:
        paths.append(path)
        assert path.suffix == ".safetensors"
        return total(load_file(path))

    board = Repository().try_merge("theirs", strategies=["linear"], score=Measure(score, as_file=True))
    assert scores(board)["linear"] == total(oracle())
    assert scores(board)["ours: main"] == total(weights(a=1, b=1))
    assert len(set(paths)) == 3
    assert not any(path.exists() for path in paths)
    assert frozen(forked) == before


def test_torch_files_into_a_model(repo: Repo) -> None:
    """With the plain values of a file, which are put back too."""
    repository = Repository()
    repository.track("*.pt")
    net = Net()

    def commit(message: str, epoch: int, **changed: int) -> None:
        tree = {name: torch.from_numpy(value) for name, value in weights(**changed).items()}
        torch.save({"model": tree, "epoch": epoch}, "m.pt")
        repository.commit(message, ["m.pt"])

    commit("base", 1)
    repository.switch("theirs", create=True)
    commit("theirs", 1, b=2)
    repository.switch("main")
    commit("ours", 1, b=1)
    into = {"model": net, "epoch": 77}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    seen = []

    def score(found: dict[str, Any]) -> float:
        seen.append(found["epoch"])
        return float(found["model"].b.sum())

    board = repository.try_merge("theirs", strategies=["linear"], score=Measure(score, into), path="m.pt")
    x, y = (weights(b=seed)["b"].astype(np.float64) for seed in (1, 2))
    assert board.trials[-1].failed == ""
    assert board.trials[-1].score == float(torch.from_numpy(((x + y) / 2).astype(np.float32)).sum())
    assert seen == [1, 1, 1]
    assert into["epoch"] == 77
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (ZeroDivisionError("what\nis this"), "ZeroDivisionError: what"),
        (RequestError("refused"), "refused"),
        ("good", "the score is a str, not a number"),
        (None, "the score is a NoneType, not a number"),
        (torch.ones(2), "the score is a Tensor, not a number"),
        (math.nan, ""),
        (math.inf, ""),
    ],
)
def test_scores_that_are_none(forked: Repo, value: Any, words: str) -> None:
    """The others are scored all the same, and one of them is the best."""
    number = iter([1.0, 2.0, value, 3.0])

    def score(_: Any) -> Any:
        found = next(number)
        if isinstance(found, Exception):
            raise found
        return found

    board = Repository().try_merge("theirs", strategies=["ours", "linear"], score=score)
    odd = board.trials[2]
    assert odd.failed.startswith(words)
    assert (odd.score is None) == bool(words)
    assert (board.best, board.trials[3].score) == (3, 3.0)
    assert "is this" not in board.text()
    json.dumps(board.to_dict(), allow_nan=False)
    assert board.spec()
    assert "<table" in board.html()
    assert forked.status() == ""


def test_candidates_that_cannot_be(forked: Repo) -> None:
    forked.write(forked.read())
    strategies = ["linear", "fisher", "slerp"]
    board = Repository().try_merge("theirs", strategies=strategies, score=total, parameters={"t": "2"})
    found = {trial.label: trial for trial in board.trials}
    assert found["fisher"].failed == "fisher needs fisher"
    assert "t cannot be '2'" in found["slerp(t=2)"].failed
    assert found["linear"].score == total(oracle())


def interrupting(words: str) -> Callable[[str, int, int], None]:
    def progress(what: str, *_: int) -> None:
        if words in what:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("where", ["function", "progress"])
def test_an_interrupt_keeps_what_was_scored(forked: Repo, where: str) -> None:
    count = 0

    def score(state: Any) -> float:
        nonlocal count
        count += 1
        if count == 4 and where == "function":
            raise KeyboardInterrupt
        return total(state)

    repository = Repository(".", interrupting("trying 4 of 5") if where == "progress" else lambda *_: None)
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure = Measure(lambda model: score(model.state_dict()), net)
    board = repository.try_merge("theirs", strategies=["ours", "linear", "theirs"], score=measure)
    assert [trial.label for trial in board.trials] == ["ours: main", "theirs: theirs", "ours"]
    assert board.note == "interrupted: 2 were not tried"
    assert board.note in board.text()
    assert board.best == 2
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert forked.status() == ""


def test_a_sweep(forked: Repo) -> None:
    near = oracle(weight=0.25)["b"]

    def score(state: dict[str, Any]) -> float:
        return float(np.abs(state["b"].numpy() - near).max())

    repository = Repository()
    board = repository.try_merge(
        *("theirs",), strategies=["slerp"], sweep="t=0:1:5", score=Measure(score, higher_is_better=False)
    )
    assert board.swept == "t"
    candidates = [trial for trial in board.trials if trial.kind == "candidate"]
    assert [trial.value for trial in candidates] == [0, 0.25, 0.5, 0.75, 1]
    assert [trial.label for trial in candidates][1] == "slerp(t=0.25)"
    assert board.best is not None
    best = board.trials[board.best]
    assert best.score == min(t.score for t in candidates if t.score is not None)
    spec = board.spec()
    assert spec
    assert spec["data"][0]["x"] == [0, 0.25, 0.5, 0.75, 1]
    for wrong, names, message in [
        ("t", ["slerp"], "'t' is not a range"),
        ("t=0:1", ["slerp"], "is not a range"),
        ("t=0:1:1", ["slerp"], "is not a range"),
        ("t=0:nan:5", ["slerp"], "is not a range"),
        ("t=0:1:5", ["slerp", "linear"], "a sweep is of one strategy"),
        ("density=0:1:5", ["slerp"], "slerp has no parameter 'density'"),
    ]:
        with pytest.raises(RequestError, match=message):
            repository.try_merge("theirs", strategies=names, sweep=wrong, score=score)
    assert forked.status() == ""


def test_use_before_and_during_a_merge(forked: Repo) -> None:
    """Once it is used the merge is in progress, with that plan; then others can be tried for it."""
    repository = Repository()
    board = repository.try_merge("theirs", strategies=["ours", "linear"], score=lambda state: float(state["b"][0, 0]))
    assert board.best is not None
    state = board.use(3)
    assert (state.situation.kind, state.left, state.exit_status) == ("merge", 0, 0)
    assert [rule.described() for rule in state.plan.rules] == ["* -> linear"]
    before = frozen(forked)
    with pytest.raises(RequestError, match="a merge is in progress"):
        repository.try_merge("theirs", strategies=["ours"], score=total)
    again = repository.try_merge(strategies=["theirs", "linear"], score=total)
    assert again.title == "Merging theirs into main"
    assert scores(again)["linear"] == total(oracle())
    assert frozen(forked) == before
    assert again.use(2).plan.rules == (Rule("*", "theirs"),)
    assert repository.merging().undo().plan.rules[0].strategy == "linear"
    repository.merging().finish()
    assert all(value.tobytes() == oracle()[name].tobytes() for name, value in load(forked.read()).items())
    with pytest.raises(RequestError, match="there is no model to merge"):
        repository.try_merge(strategies=["linear"], score=total)


@pytest.mark.parametrize("every", [True, False])
def test_several_branches(forked: Repo, *, every: bool) -> None:
    forked.git("switch", "--quiet", "--create", "more", "main~1")
    forked.commit(safetensors(b=4, d=4), "more")
    forked.git("switch", "--quiet", "main")
    board = Repository().try_merge("theirs", "more", strategies=["linear", "slerp"], score=total, every=every)
    assert [trial.label for trial in board.trials[:3]] == ["ours: main", "theirs: theirs", "theirs: more"]
    assert board.trials[4].failed.endswith("slerp: it merges two models, not 3")
    score = board.trials[3].score
    state = board.use()
    assert state.situation.kind == ""
    assert total(load(forked.read())) == score
    trees = [weights(a=1, b=1), weights(b=3, c=3, wide=2), weights(b=4, d=4)]
    name = "c" if every else "b"
    mean = sum(tree[name].astype(np.float64) for tree in trees) / 3
    np.testing.assert_allclose(load(forked.read())[name], mean, rtol=1e-6, atol=1e-7)
    forked.check()


def test_plans_from_files(forked: Repo) -> None:
    plan = {"rules": [{"tensors": "*", "strategy": "ours"}, {"tensors": "b", "strategy": "linear"}]}
    (forked.top.parent / "plan.yaml").write_text(json.dumps(plan))
    (forked.top.parent / "none.yaml").write_text(json.dumps({"rules": [{"tensors": "a", "strategy": "ours"}]}))
    names = [str(forked.top.parent / name) for name in ("plan.yaml", "none.yaml")]
    repository = Repository()
    board = repository.try_merge("theirs", strategies=names, score=total)
    assert scores(board)[names[0]] == total(oracle())
    assert board.trials[3].failed == "b: no rule speaks of it"
    for strategies, parameters, message in [
        ([], {}, "try what"),
        (["linear"], {"nothing": 1}, "has a parameter 'nothing'"),
        (["nonsense"], {}, "nonsense"),
        (["nothing.yaml"], {}, r"there is no plan nothing\.yaml"),
    ]:
        with pytest.raises(RequestError, match=message):
            repository.try_merge("theirs", strategies=strategies, parameters=parameters, score=total)


def test_which_model_is_scored(forked: Repo) -> None:
    repository = Repository()
    repository.track("*.pt")
    for branch, changed in (("theirs", {"b": 2}), ("main", {"b": 1})):
        repository.switch(branch)
        forked.write(torch_file(**changed), "n.pt")
        repository.track("*.pt")
        repository.commit(f"torch of {branch}")
    with pytest.raises(RequestError, match=r"which model is scored\? m\.safetensors, n\.pt") as caught:
        repository.try_merge("theirs", strategies=["ours"], score=total)
    assert caught.value.hint == "say it: --file PATH"
    board = repository.try_merge("theirs", strategies=["ours"], score=total, path="n.pt")
    assert scores(board)["ours"] == total(weights(b=1))


def test_where_nothing_can_be_mixed(repo: Repo) -> None:
    repository = Repository()
    repository.track("*.pt")
    for branch in ("main", "theirs"):
        if branch == "theirs":
            repository.switch("theirs", "HEAD~1", create=True)
            repository.track("*.pt")
        tree = {name: torch.from_numpy(value) for name, value in weights().items()}
        torch.save(tree | {branch: torch.ones(3)}, "n.pt")
        repository.commit(branch)
    repository.switch("main")
    board = repository.try_merge("theirs", strategies=["linear", "theirs"], score=len)
    assert board.trials[2].failed == "(structure): nothing can be mixed here: take ours or theirs"
    assert board.trials[3].score == 6
    assert repo.status() == ""
    assert write()


def test_weights_come_from_a_remote(bare: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository().switch("theirs", create=True)
    write(wide=2)
    Repository().commit("theirs")
    Repository().push("--set-upstream", "origin", "theirs")
    clone = bare.clone("clone")
    clone.init()
    monkeypatch.chdir(clone.top)
    clone.git("checkout", "--quiet", "main")
    Repository.init()
    write(wide=1)
    Repository().commit("ours")
    board = Repository().try_merge("origin/theirs", strategies=["linear", "theirs"], score=total)
    assert board.trials[1].score == total(weights(wide=2))
    assert scores(board)["theirs"] == total(weights(wide=2))
    assert not board.trials[2].failed
