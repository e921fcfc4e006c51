"""The way back: versions into live objects, in place."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.e2e.repo import MODEL, weights
from theta_jupyter import Repository, load
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


class Net(torch.nn.Module):
    """A module with parameters, buffers, and what is tied."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(7, width)
        self.norm = torch.nn.BatchNorm1d(width)
        self.head = torch.nn.Linear(width, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embed(x)))  # type: ignore[no-any-return]  # a tensor


def bits(obj: Any) -> dict[str, bytes]:
    state = obj if isinstance(obj, dict) else obj.state_dict()
    return {name: np.asarray(leaf).tobytes() for name, leaf in state.items()}


def step(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(torch.arange(7)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("path", ["net.pt", "net.safetensors", "net.npz"])
def test_a_module(repo: Repo, path: str) -> None:
    first, second = Net(1), Net(2)
    Repository().save(first, path, "one")
    Repository().save(second, path, "two")
    net = Net(3)
    place = {name: parameter.data_ptr() for name, parameter in net.named_parameters()}
    assert load(path, "HEAD~1", into=net) is net
    assert bits(net) == bits(first)
    assert Repository().load(path, into=net) is net
    assert bits(net) == bits(second)
    assert {name: parameter.data_ptr() for name, parameter in net.named_parameters()} == place
    assert net.head.weight is net.embed.weight
    Path(path).write_bytes(repo.text(f"HEAD~1:{path}"))  # A manifest in the work tree stands for its file.
    assert bits(load(path, into=net)) == bits(first)


def test_outside_any_repository(empty: Repo) -> None:
    net, optimizer = Net(1), torch.optim.SGD(Net(1).parameters(), 0.1, momentum=0.9)
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, "net.pt")
    found = load("net.pt", into={"model": Net(2), "optimizer": optimizer})
    assert bits(found["model"]) == bits(net)
    assert empty.top.exists()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_training_goes_on_as_if_it_had_not_stopped(repo: Repo, kind: Any) -> None:
    net = Net(1)
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(net.parameters(), lr=0.01, **options)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    live = {"model": net, "optimizer": optimizer, "scheduler": scheduler, "epoch": 1, "history": [1.5, None]}
    for _ in range(3):
        step(net, optimizer)
        scheduler.step()
    Repository().save(live, "all.pt", "three steps")
    live["epoch"], live["history"] = 2, []
    for _ in range(2):
        step(net, optimizer)
        scheduler.step()
    gone_on = bits(net)
    assert load("all.pt", "HEAD", into=live) is live
    assert (live["epoch"], live["history"]) == (1, [1.5, None])
    assert scheduler.last_epoch == 3
    for _ in range(2):
        step(net, optimizer)
        scheduler.step()
    assert bits(net) == gone_on
    # By themselves, each finds its part.
    other = Net(5)
    fresh = kind(other.parameters(), lr=1.0, **options)
    load("all.pt", "HEAD", into=other)
    load("all.pt", "HEAD", into=fresh)
    assert fresh.param_groups[0]["lr"] == pytest.approx(0.005)
    assert fresh.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()
    assert list((repo.theta / "tmp").glob("*")) == []


def test_the_one_part_that_fits(repo: Repo) -> None:
    net, ema = Net(1), Net(2)
    deep = {"a/b": {0: net.state_dict(), "0": {"w": torch.ones(1)}}, "w": torch.ones(2)}
    Repository().save(deep, "deep.pt", "deep")
    assert bits(load("deep.pt", "HEAD", into=Net(3))) == bits(net)
    Repository().save({"model": net, "ema": ema}, "two.pt", "two")
    before = bits(live := Net(3))
    with pytest.raises(RequestError) as caught:
        load("two.pt", "HEAD", into=live)
    assert caught.value.message == "two.pt at HEAD has several parts that fit this Net: ema and model"
    assert caught.value.hint == "say which, as in: into={'model': ...}"
    assert bits(live) == before
    load("two.pt", "HEAD", into={"ema": live})
    assert bits(live) == bits(ema)
    # What has more than its names does not fit.
    Repository().save({"model": net, "more": {**ema.state_dict(), "x": torch.ones(1)}}, "more.pt", "more")
    assert bits(load("more.pt", "HEAD", into=Net(3))) == bits(net)
    optimizers = [torch.optim.SGD(net.parameters()), torch.optim.SGD(ema.parameters())]
    Repository().save({"model": net, "one": optimizers[0], "two": optimizers[1]}, "o.pt", "o")
    with pytest.raises(RequestError, match="several parts that fit this SGD: one and two"):
        load("o.pt", "HEAD", into=optimizers[0])
    with pytest.raises(RequestError, match="nothing that fits this StepLR"):
        load("o.pt", "HEAD", into=torch.optim.lr_scheduler.StepLR(optimizers[0], 1))
    assert repo.status() == ""


def test_tied_weights_that_the_file_lacks(repo: Repo) -> None:
    net = Net(1)
    Repository().save(net, "net.safetensors", "tied")
    assert "head.weight" not in load("net.safetensors")
    assert bits(load("net.safetensors", "HEAD", into=Net(2))) == bits(net)
    # The other one may be the one that is there.
    state = net.state_dict()
    del state["embed.weight"]
    save_file(state, "net.safetensors")
    assert bits(load("net.safetensors", into=Net(2))) == bits(net)
    tied = Net(2).state_dict()
    assert bits(load("net.safetensors", into=tied)) == bits(net)
    # Not tied, it is missing.
    loose = Net(2)
    loose.embed.weight = torch.nn.Parameter(torch.zeros(7, 4))
    with pytest.raises(RequestError, match=r"has no tensor 'embed\.weight', which the Net has"):
        load("net.safetensors", into=loose)
    assert repo.top.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"norm.bias": None}, "net.pt at HEAD has no tensor 'norm.bias', which the Net has"),
        ({"norm.bias": None, "norm.weight": None}, "net.pt at HEAD has no tensor 'norm.weight' and 1 more, which the"),
        ({"extra": torch.ones(1)}, "net.pt at HEAD has tensor 'extra', which the Net lacks"),
        (
            {"norm.running_var": torch.ones(5)},
            "net.pt at HEAD: tensor 'norm.running_var' has shape [5], and what it goes into has [4]",
        ),
        (
            {"norm.num_batches_tracked": torch.tensor(2.5)},
            "net.pt at HEAD: tensor 'norm.num_batches_tracked' is torch.float32, which torch.int64 cannot take",
        ),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_does_not_fit_touches_nothing(
    repo: Repo, spoil: dict[str, torch.Tensor | None], message: str, *, nested: bool
) -> None:
    other = Net(1)
    state = {**other.state_dict(), **spoil}
    state = {name: leaf for name, leaf in state.items() if leaf is not None}
    optimizer = torch.optim.SGD(other.parameters(), momentum=0.9)
    step(other, optimizer)
    Repository().save({"optimizer": optimizer, "model": state} if nested else state, "net.pt", "spoilt")
    net = Net(3)
    mine = torch.optim.SGD(net.parameters(), momentum=0.5)
    before, state_before = bits(net), copy.deepcopy(mine.state_dict())
    with pytest.raises(RequestError) as caught:
        load("net.pt", "HEAD", into={"optimizer": mine, "model": net} if nested else net)
    assert caught.value.message.replace("'model/", "'").startswith(message)
    assert bits(net) == before
    assert mine.state_dict() == state_before
    assert repo.status() == ""


def test_an_optimizer_of_another_model(repo: Repo) -> None:
    net, wide = Net(1), Net(1, width=5)
    ours, theirs = torch.optim.SGD(net.parameters(), momentum=0.9), torch.optim.SGD(wide.parameters(), momentum=0.9)
    step(net, ours)
    step(wide, theirs)
    Repository().save({"model": wide, "optimizer": theirs}, "wide.pt", "wide")
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(RequestError) as caught:
        load("wide.pt", "HEAD", into={"optimizer": ours})
    assert caught.value.message == (
        "wide.pt at HEAD: optimizer: tensor 'state/0/momentum_buffer' has shape [7, 5], "
        "and what it goes into has [7, 4]"
    )
    few = torch.optim.SGD([net.embed.weight])
    with pytest.raises(RequestError, match=r"has groups of \[3\] parameters, and this SGD has groups of \[1\]"):
        load("wide.pt", "HEAD", into=few)
    with pytest.raises(RequestError, match="has nothing at optimiser"):
        load("wide.pt", "HEAD", into={"optimiser": ours})
    assert str(ours.state_dict()) == str(before)
    assert repo.status() == ""


def test_an_object_that_turns_its_state_down(repo: Repo) -> None:
    class Picky:
        def state_dict(self) -> dict[str, Any]:
            return {"w": torch.ones(2)}

        def load_state_dict(self, _: Any) -> None:
            message = "not today"
            raise KeyError(message)

    Repository().save({"picky": Picky()}, "x.pt", "x")
    with pytest.raises(RequestError, match=r"x\.pt at HEAD: picky does not load into Picky: KeyError: 'not today'"):
        load("x.pt", "HEAD", into={"picky": Picky()})
    assert repo.status() == ""


def test_tensors_and_arrays_in_place(repo: Repo) -> None:
    tensors = {name: torch.zeros(array.shape) for name, array in weights().items()}
    alias = tensors["a"]
    assert load(MODEL, "HEAD", into=tensors) is tensors
    assert tensors["a"] is alias
    assert bits(tensors) == bits(weights())
    arrays = {name: np.zeros(array.shape, order="F") for name, array in weights().items()}
    load(MODEL, "HEAD", into=arrays)
    assert all(np.array_equal(arrays[name], array) for name, array in weights().items())
    half = {"a": torch.nn.Parameter(torch.zeros(8, 8, dtype=torch.float16))}
    load(MODEL, "HEAD", ["a"], into=half)  # Only what is named; and it goes into shorter floats.
    assert np.array_equal(half["a"].detach().numpy(), weights()["a"].astype(np.float16))
    assert bits(Repository().load(MODEL, names=["b"], into={"b": np.zeros((8, 8), np.float32)})) == {
        "b": weights()["b"].tobytes()
    }
    bf = {"a": np.zeros((8, 8), ml_dtypes.bfloat16)}
    load(MODEL, "HEAD", ["a"], into=bf)
    assert np.array_equal(bf["a"], weights()["a"].astype(ml_dtypes.bfloat16))
    assert repo.status() == ""


def test_one_tensor_at_its_place(repo: Repo) -> None:
    Repository().save([{"w": torch.arange(3.0)}, torch.ones(2)], "list.pt", "list")
    w, ones = torch.zeros(3), np.zeros(2)
    load("list.pt", "HEAD", into=[{"w": w}, ones])
    assert w.tolist() == [0, 1, 2]
    assert ones.tolist() == [1, 1]
    Repository().save(torch.ones(2), "one.pt", "one")
    Repository().save(np.ones(2), "one.npy", "one")
    assert load("one.pt", "HEAD", into=torch.zeros(2)).tolist() == [1, 1]
    assert load("one.npy", "HEAD", into=np.zeros(2)).tolist() == [1, 1]
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ({"a": torch.zeros(8, 8)}, "has tensor 'b' and 3 more, which the dict lacks"),
        ({"a": torch.zeros(8, 8), "zz": torch.zeros(1)}, "has no tensor 'zz', which the dict has"),
        ({"zz": torch.zeros(1)}, "has nothing that fits this dict"),
        (torch.zeros(1), "has no tensor 'tensor'"),
        (torch.nn.Linear(2, 3), "has nothing that fits this Linear"),
        ({"a": np.zeros((8, 8)), "b": torch.zeros(8, 8)}, "either tensors or arrays"),
        (torch.optim.SGD([torch.zeros(1)]), "cannot be read as a torch file"),
        (object(), "a object cannot be filled"),
        ("text", "a str cannot be filled"),
        ([3], "a int at 0 cannot be filled"),
        (torch.nn.Linear(2, 3, device="meta"), "this Linear has no memory yet"),
    ],
)
def test_what_cannot_be_filled(repo: Repo, into: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(MODEL, "HEAD", into=into)
    assert message in caught.value.message
    assert repo.status() == ""


@pytest.mark.parametrize("dtype", [np.int32, np.bool_])
def test_floats_do_not_go_into_integers(repo: Repo, dtype: Any) -> None:
    arrays = {name: np.zeros(array.shape, dtype) for name, array in weights().items()}
    with pytest.raises(RequestError, match="tensor 'a' is float32, which"):
        load(MODEL, "HEAD", into=arrays)
    fixed = {name: np.zeros(array.shape, np.float32) for name, array in weights().items()}
    fixed["wide"].flags.writeable = False
    with pytest.raises(RequestError, match="array 'wide' cannot be written to"):
        load(MODEL, "HEAD", into=fixed)
    assert not any(array.any() for array in (*arrays.values(), *fixed.values()))
    assert repo.status() == ""


class Extra(torch.nn.Module):
    """A module that keeps more than tensors."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.count = count

    def get_extra_state(self) -> dict[str, int]:
        return {"count": self.count}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def test_a_module_with_more_than_tensors(repo: Repo) -> None:
    Repository().save({"x": [0], "a/b": {"net": Extra(5)}, "w": torch.ones(1)}, "x.pt", "x")
    for into in (Extra(1), {"a/b": {"net": Extra(1)}}):
        load("x.pt", "HEAD", into=into)
        found = into if isinstance(into, Extra) else into["a/b"]["net"]
        assert found.count == 5
    Repository().save(Extra(1).layer, "y.pt", "y")
    holder = torch.nn.Module()
    holder.layer = Extra(1)
    with pytest.raises(RequestError, match="has nothing that fits this Module"):
        load("y.pt", "HEAD", into=holder)
    assert repo.status() == ""


def test_a_flat_dict_has_names_of_the_version(repo: Repo) -> None:
    net = Net(1)
    optimizer = torch.optim.AdamW(net.parameters())
    step(net, optimizer)
    Repository().save({"model": net, "optimizer": optimizer, "a/b": {"0": torch.ones(2)}}, "run.pt", "run")
    state = load("run.pt").to_torch()
    expected = bits(state)
    for leaf in state.values():
        leaf.zero_()
    assert bits(load("run.pt", "HEAD", into=state)) == expected
    name = "optimizer/state/0/exp_avg"
    one = {name: torch.zeros_like(state[name])}
    assert bits(load("run.pt", "HEAD", names=[name], into=one)) == {name: expected[name]}
    assert load("run.pt", "HEAD", into={"a/b": {"0": torch.zeros(2)}})["a/b"]["0"].tolist() == [1, 1]
    assert repo.status() == ""


@pytest.mark.parametrize("before", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_what_is_wrapped_around_a_model(repo: Repo, before: str) -> None:
    def wrapped(net: torch.nn.Module) -> torch.nn.Module:
        for part in reversed(before.split(".")[:-1]):
            outer = torch.nn.Module()
            outer.add_module(part, net)
            net = outer
        return net

    first = Net(1)
    Repository().save(first, "plain.pt", "plain")
    Repository().save({"model": wrapped(first), "x": torch.ones(1)}, "wrapped.pt", "wrapped")
    for path in ("plain.pt", "wrapped.pt"):
        for live in (Net(2), wrapped(Net(2)), Net(2).state_dict(), wrapped(Net(2)).state_dict()):
            load(path, "HEAD", into=live)
            assert list(bits(live).values()) == list(bits(first).values())
    placed = load("wrapped.pt", "HEAD", into={"model": Net(2)})
    assert bits(placed["model"]) == bits(first)
    Repository().save(Extra(5), "extra.pt", "extra")
    extra = Extra(1)
    load("extra.pt", "HEAD", into=wrapped(extra))
    assert extra.count == 5
    Repository().save(wrapped(torch.nn.Linear(2, 1)), "other.pt", "other")
    with pytest.raises(RequestError, match="has nothing that fits this Net"):
        load("other.pt", "HEAD", into=Net(2))
    assert repo.status() == ""


def test_a_compiled_model(repo: Repo) -> None:
    first, net = Net(1), Net(2)
    Repository().save(first, "net.safetensors", "one")
    load("net.safetensors", "HEAD", into=torch.compile(net, backend="eager"))
    assert bits(net) == bits(first)
    assert repo.status() == ""


@pytest.mark.parametrize("into", [None, {"a": torch.ones(1)}])
def test_a_file_that_is_not_there(repo: Repo, tmp_path: Path, into: Any) -> None:
    for path in ("missing.pt", tmp_path / "missing.pt"):
        with pytest.raises(RequestError, match=r"missing\.pt does not exist"):
            load(path, into=into)
    with pytest.raises(RequestError, match=r"home is no file"):
        load(repo.home, into=into)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]  # it need not work


def test_nothing_in_a_file_is_executed(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the user has told torch to trust every file."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    net, optimizer = Net(1), torch.optim.SGD(Net(1).parameters())
    live = {"model": net, "optimizer": optimizer}
    Repository().save({**live, "evil": Evil()}, "evil.pt", "evil")
    torch.load("evil.pt", weights_only=False)
    assert (repo.top / "ran").exists()
    (repo.top / "ran").unlink()
    assert bits(load("evil.pt", "HEAD", into=Net(2))) == bits(net)
    with pytest.raises(RequestError, match=r"evil\.pt at HEAD cannot be read as a torch file") as caught:
        load("evil.pt", "HEAD", into=live)
    assert "weights_only" not in str(caught.value)
    assert re.search(r": Weights only load failed: it holds \S+, which is not plain data$", caught.value.message)
    assert "checkout" in caught.value.hint
    assert not (repo.top / "ran").exists()
    assert list((repo.theta / "tmp").glob("*")) == []
