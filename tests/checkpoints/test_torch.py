"""Torch files, beside what torch makes of them."""

from __future__ import annotations

import argparse
import collections
import io
import random
import warnings
import zipfile
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.checkpoints.roundtrip import Tensor, opaque, tensors
from theta_jupyter.checkpoints import locate, quote

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.complex64: "C64",
    torch.complex128: "C128",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save(tree: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer, **options)
    return buffer.getvalue()


def read(tensor: torch.Tensor) -> Tensor:
    # A copy, because torch calls [[1.0]] contiguous whatever its stride.
    raw = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()).flatten().view(torch.uint8)
    return DTYPES[tensor.dtype], tuple(tensor.shape), raw.numpy().tobytes()


def oracle(tree: Any, *path: Any) -> dict[str, Tensor]:
    """Name and read the tensors of a tree of dicts, lists and tuples that torch has loaded."""
    if isinstance(tree, torch.Tensor):
        return {quote(*path): read(tree)}
    if isinstance(tree, dict):
        return {k: v for key, part in tree.items() for k, v in oracle(part, *path, key).items()}
    if isinstance(tree, list | tuple):
        return {k: v for index, part in enumerate(tree) for k, v in oracle(part, *path, index).items()}
    return {}


def agree(tree: Any, **options: Any) -> dict[str, Tensor]:
    """Save a tree, and check that we and torch read the same from it, in the same order."""
    data = save(tree, **options)
    found = tensors(data, "torch")
    expected = oracle(torch.load(io.BytesIO(data), weights_only=False))
    assert list(found.items()) == list(expected.items())
    return found


def storages(data: bytes) -> int:
    layout, _ = locate(memoryview(data))
    assert layout.format == "torch"
    return len(layout.storages)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype) -> None:
    bits = torch.arange(96, dtype=torch.uint8)
    if dtype == torch.bool:
        bits = bits % 2
    agree({"a": bits.view(dtype).reshape(2, -1), "scalar": bits.view(dtype)[1], "empty": bits.view(dtype)[:0]})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol: int) -> None:
    tree = {"w": torch.ones(2), 3: [torch.zeros(1), (torch.ones(1), {"x": torch.ones(3)})], "s": {1, 2}, "b": b"raw"}
    agree(tree, pickle_protocol=protocol)


@pytest.mark.parametrize("dtype", [torch.complex32, torch.float4_e2m1fn_x2, torch.bits8], ids=str)
def test_a_dtype_we_do_not_know_is_bytes(dtype: torch.dtype) -> None:
    raw = torch.arange(16, dtype=torch.uint8)
    assert tensors(save({"a": raw.view(dtype)}), "torch") == {"a": read(raw)}


def test_names() -> None:
    one = torch.ones(1)
    tree = {"a.b": one, "a": {"b": one, "0": one, 0: one}, (1, "x"): one, -1: one, None: [one], True: one, "é\n": one}
    assert list(agree(tree)) == [
        "a.b",
        "a/b",
        'a/"0"',
        "a/0",
        "((1, 'x'))",
        "(-1)",
        "(None)/0",
        "(True)",
        r'"\u00e9\n"',
    ]


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "<b>", "-rf", "a\nb", "", " ", "\ud800", '"', "\x00"])
def test_hostile_names(name: str) -> None:
    [found] = tensors(save({name: torch.ones(1)}), "torch")
    assert found.isprintable()
    assert found.strip() == found != ""
    assert not found.startswith(("-", "<", "/"))


def test_a_tensor_by_itself() -> None:
    assert tensors(save(torch.ones(2)), "torch") == {"tensor": read(torch.ones(2))}


def test_a_training_checkpoint() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    functional.mse_loss(model(torch.randn(5, 4)), torch.zeros(5, 2)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    scheduler.step()
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": 3,
        "loss": 0.25,
        "args": argparse.Namespace(lr=1e-3, seeds=[1, 2]),
        "rng": {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.default_rng(0)},
        "history": collections.defaultdict(list, loss=[1.0, 0.5]),
    }
    found = agree(checkpoint)
    assert {"model/0.weight", "optimizer/state/0/exp_avg_sq", "optimizer/state/5/step", "rng/torch"} <= set(found)


def test_tied_weights_share_a_storage() -> None:
    weight = torch.randn(4, 4)
    data = save({"in": weight, "out": weight, "view": weight.view(16), "detached": weight.detach()})
    assert storages(data) == 1
    agree({"in": weight, "out": weight, "view": weight.view(16), "detached": weight.detach()})


def test_views() -> None:
    big = torch.arange(60.0).reshape(5, 4, 3)
    tree = {
        "big": big,
        "rows": big[2:4],
        "column": big[:, 1],
        "transposed": big.transpose(0, 2),
        "expanded": torch.tensor([7.0]).expand(3, 2),
        "stepped": big[::2, 1:, ::2],
        "element": big[1, 2, 2],
        "empty": big[:, 4:],
        "beyond": torch.zeros(0, 5)[:, 2:],
        "diagonal": torch.eye(3).diagonal(),
        "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    }
    agree(tree)
    layout, _ = locate(memoryview(save(tree)))
    strides = {view.name: view.stride for view in layout.views}
    assert strides["transposed"] == (1, 3, 12)
    assert strides["expanded"] == (0, 0)
    assert [strides[name] for name in ("big", "rows", "element", "empty", "beyond")] == [None] * 5
    assert {view.offset for view in layout.views if view.name == "rows"} == {24 * 4}


def test_lazy_conjugates() -> None:
    plain = torch.tensor([1 + 2j])
    # Torch keeps a flag beside the tensor; the bytes are those of the tensor it was made from.
    assert tensors(save({"a": plain.conj()}), "torch") == {"a": read(plain)}


def test_a_whole_module() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    model.register_buffer("steps", torch.tensor(5))
    found = tensors(save(model), "torch")
    weight = model.state_dict()["1.weight"]
    assert found['_modules/"1"/_parameters/weight'] == read(weight)
    assert found["_buffers/steps"] == read(torch.tensor(5))
    assert len(found) == 5


class Scaled(torch.nn.Parameter):
    """A parameter of a type of its own."""


class Tagged(torch.Tensor):
    """A tensor of a type of its own."""


def test_parameters_and_subclasses() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.scale = torch.tensor(3.0)  # type: ignore[attr-defined]
    tagged = torch.arange(3.0).as_subclass(Tagged)
    tagged.mask = torch.ones(3, dtype=torch.bool)  # type: ignore[attr-defined]
    tree = {"p": torch.nn.Parameter(torch.ones(1)), "q": parameter, "s": Scaled(torch.ones(2)), "t": tagged}
    found = tensors(save(tree), "torch")
    assert found == {
        "p": read(torch.ones(1)),
        "q": read(torch.ones(2)),
        "q/scale": read(torch.tensor(3.0)),
        "s": read(torch.ones(2)),
        "t": read(torch.arange(3.0)),
        "t/mask": read(torch.ones(3, dtype=torch.bool)),
    }


class Pair(NamedTuple):
    """A tuple with a class of its own."""

    left: torch.Tensor
    right: torch.Tensor


class Holder:
    """An object with attributes, and slots beside them."""

    __slots__ = ("__dict__", "slot")

    def __init__(self) -> None:
        self.slot = torch.ones(2)
        self.plain = torch.zeros(1)


def test_objects_give_names_too() -> None:
    tree = {
        "pair": Pair(torch.ones(1), torch.zeros(2)),
        "object": Holder(),
        "deque": collections.deque([torch.ones(3)]),
        "default": collections.defaultdict(None, {"k": torch.ones(4)}),
        "ordered": collections.OrderedDict(k=torch.ones(5)),
    }
    names = ["pair/0", "pair/1", "object/plain", "object/slot", "deque/0", "default/k", "ordered/k"]
    assert list(tensors(save(tree), "torch")) == names


def test_sparse_tensors_are_named_by_their_parts() -> None:
    found = tensors(save({"s": torch.eye(2).to_sparse()}), "torch")
    assert sorted(found.values()) == sorted([read(torch.tensor([[0, 1], [0, 1]])), read(torch.ones(2))])


def test_quantized_tensors_are_seen_as_integers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 3, torch.quint8)
        channels = torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8)
        data = save({"t": whole, "c": channels})
        found = tensors(data, "torch")
        assert found["t"] == read(whole.int_repr())
        assert found["c"] == read(channels.int_repr())
        # Scales and zero points, one of each per channel.
        assert found["c/quantizer/1"] == read(torch.ones(2))
        assert found["c/quantizer/2"] == read(torch.zeros(2))


def test_a_storage_by_itself() -> None:
    storage = torch.arange(4, dtype=torch.uint8).untyped_storage()
    assert tensors(save({"s": storage}), "torch") == {"s": read(torch.arange(4, dtype=torch.uint8))}


def test_a_tensor_in_a_set_or_a_key_has_no_name() -> None:
    assert list(tensors(save({"set": {torch.ones(2)}, torch.ones(3): 1, "a": torch.ones(1)}), "torch")) == ["a"]


def test_a_large_storage_without_a_name_is_kept_as_bytes() -> None:
    found = tensors(save({"set": {torch.ones(1 << 19)}}), "torch")
    assert found == {'"(unreferenced)"/"0"': ("U8", (1 << 21,), torch.ones(1 << 19).numpy().tobytes())}


def test_nothing_to_see() -> None:
    assert tensors(save({"epoch": 3}), "torch") == {}


def test_checksums_and_the_serialization_id_are_derived() -> None:
    data = save({"a": torch.ones(3), "b": torch.zeros(2), "empty": torch.ones(0)})
    layout, _ = locate(memoryview(data))
    assert [derived.rule for derived in layout.derived] == ["crc32"] * 4 + ["torch-serialization-id"] + ["crc32"] * 2
    tensors(data, "torch")


def test_the_skeleton_does_not_depend_on_values() -> None:
    def skeleton(value: float) -> list[bytes]:
        data = save({"a": torch.full((3,), value), "b": torch.full((5,), -value)})
        layout, _ = locate(memoryview(data))
        return [data[span.start : span.stop] for span in layout.literals()]

    assert skeleton(1.0) == skeleton(2.0)


def test_files_from_before_the_zip_format_are_opaque() -> None:
    data = save({"a": torch.ones(2)}, _use_new_zipfile_serialization=False)
    assert opaque(data) == "not a format any plug-in knows"


def test_files_without_a_byte_order_are_little_endian() -> None:
    old = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(save({"a": torch.ones(2)}))) as new, zipfile.ZipFile(old, "w") as archive:
        for name in new.namelist():
            if not name.endswith(("byteorder", "serialization_id")):
                archive.writestr(name, new.read(name))
    assert tensors(old.getvalue(), "torch") == oracle(torch.load(io.BytesIO(old.getvalue())))


def test_a_file_from_a_big_endian_machine_is_opaque() -> None:
    data = save({"a": torch.ones(2)})
    at = data.index(b"little")
    assert opaque(data[:at] + b"bigend" + data[at + 6 :]) == "its tensors are not little-endian"


def test_torchscript() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(model), buffer)
    found = tensors(buffer.getvalue(), "torch")
    assert sorted(found.values()) == sorted(read(tensor) for tensor in model.state_dict().values())


keys = st.one_of(st.text(max_size=5), st.integers(-2, 12), st.booleans(), st.tuples(st.integers(0, 2)))
leaves = st.one_of(
    st.none(),
    st.floats(),
    st.text(max_size=4),
    st.builds(
        lambda shape, dtype: torch.ones(shape).to(dtype),
        st.lists(st.integers(0, 3), max_size=3),
        st.sampled_from([torch.float32, torch.int64, torch.bfloat16, torch.bool, torch.float8_e4m3fn, torch.uint16]),
    ),
    st.builds(lambda rows, columns: torch.rand(rows, columns).T[1:], st.integers(0, 3), st.integers(1, 3)),
)
trees = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3), st.dictionaries(keys, parts, max_size=3), st.tuples(parts, parts)
    ),
    max_leaves=8,
)


@given(trees, st.sampled_from([2, 4]))
@settings(deadline=None, max_examples=200)
def test_generated_trees(tree: Any, protocol: int) -> None:
    agree({"root": tree}, pickle_protocol=protocol)
