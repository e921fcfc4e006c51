"""What live objects hold, under the names that a file of it has."""

from __future__ import annotations

import collections
import io
import types
from typing import Any

import ml_dtypes
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theta_jupyter.checkpoints import locate
from theta_jupyter.states import state, tensors

KEYS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["a.b", "a/b", "0", "(0)", '"a"', "<<<<<<<", "", " ", "weight", "\n", "-1", "é", "\u200b"]),
    st.integers(-3, 1000),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.tuples(st.integers(0, 3), st.text(max_size=3)),
)
LEAVES = st.one_of(
    st.builds(torch.ones, st.sampled_from([(), (2,), (0, 3), (2, 3)])),
    st.builds(lambda: torch.nn.Parameter(torch.ones(2))),
    st.builds(lambda: torch.ones(4, 6).T[::2]),
    st.sampled_from([None, 1, 2.5, "text", True, b"bytes", torch.float16, torch.Size([2])]),
)
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.lists(trees, max_size=4),
        st.lists(trees, max_size=3).map(tuple),
        st.dictionaries(KEYS, trees, max_size=4),
        st.dictionaries(KEYS, trees, max_size=4).map(collections.OrderedDict),
    ),
    max_leaves=12,
)


def located(tree: Any) -> list[str]:
    """Names of the tensors in a file of a tree."""
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    layout, reason = locate(memoryview(buffer.getvalue()))
    assert (layout.format, reason) == ("torch", "")
    return [view.name for view in layout.views]


@settings(max_examples=400, deadline=None)
@given(TREES)
def test_names_are_those_of_a_file(tree: Any) -> None:
    found = tensors(state(tree))
    assert list(found) == located(tree)
    assert all(isinstance(leaf, torch.Tensor) for leaf in found.values())


def test_names_of_what_is_trained() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    live = {"model": model, "optimizer": optimizer, "rest": [scheduler, (model,), {0: model, "0": model}], "step": 3}
    tree = state(live)
    assert tree["optimizer"].keys() == {"state", "param_groups"}
    assert tree["step"] == 3
    names = list(tensors(tree))
    assert names == located(tree)
    assert {"model/0.weight", "model/1.num_batches_tracked", "optimizer/state/0/exp_avg"} <= set(names)
    assert {"rest/1/0/0.weight", "rest/2/0/0.weight", 'rest/2/"0"/0.weight'} <= set(names)
    assert tensors(tree)["model/0.weight"].data_ptr() == model[0].weight.data_ptr()  # type: ignore[operator]  # a tensor


def test_what_needs_no_replacing_stays_itself() -> None:
    saved = torch.nn.Linear(2, 3).state_dict()
    assert state(saved) is saved  # With its metadata.
    tree = {"a": [saved, 1], "b": (2, "x")}
    assert state(tree) is tree
    mixed = {"a": tree, "m": torch.nn.Linear(1, 1)}
    assert state(mixed)["a"] is tree
    assert state(types.MappingProxyType({"a": 1})) == {"a": 1}
    assert type(state(types.MappingProxyType({"a": 1}))) is dict
    # A class is not a model.
    assert state(torch.nn.Linear) is torch.nn.Linear


def test_what_holds_itself() -> None:
    tree: dict[str, Any] = {"w": torch.ones(1), "list": []}
    tree["self"], tree["list"] = tree, [tree["list"], tree]
    assert state(tree) is tree
    assert list(tensors(tree)) == located(tree) == ["w"]


def test_a_leaf_by_itself() -> None:
    assert list(tensors(torch.ones(2))) == located(torch.ones(2)) == ["tensor"]
    assert list(tensors(np.ones(2))) == ["array"]
    assert tensors(3) == tensors("x") == tensors(None) == {}


def test_arrays_are_leaves_if_they_hold_numbers() -> None:
    tree = {
        "f": np.ones(2, np.float32),
        "bf": np.ones(2, ml_dtypes.bfloat16),
        "text": np.array(["a"]),
        "objects": np.array([object()]),
        "record": np.zeros(1, [("a", np.int8)]),
        "scalar": np.float32(1),
    }
    assert list(tensors(tree)) == ["f", "bf"]


def test_tensors_without_memory_are_no_leaves() -> None:
    tree = {"meta": torch.empty(2, device="meta"), "sparse": torch.eye(2).to_sparse(), "w": torch.ones(1)}
    assert list(tensors(tree)) == ["w"]


def test_a_checkpoint_keeps_its_names(tmp_path: Any) -> None:
    from theta_jupyter import load

    torch.save({"model": {"a/b": torch.ones(2)}, "step": 1}, tmp_path / "m.pt")
    checkpoint = load(tmp_path / "m.pt")
    assert state(checkpoint) is checkpoint
    assert list(tensors(checkpoint)) == ['model/"a/b"']
    assert list(tensors({"x": checkpoint})) == ['x/model/"a/b"']
