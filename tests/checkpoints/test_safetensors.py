"""Safetensors files, beside what the reference implementation makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints.roundtrip import Tensor, opaque, safetensors_file, tensors
from theta_jupyter.checkpoints import builder, locate, quote
from theta_jupyter.dtypes import DTYPES, nbytes


def oracle(data: bytes) -> dict[str, Tensor]:
    found = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    return {quote(name): (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in found}


def entry(dtype: str, shape: list[Any], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


ONE = entry("F32", [1], 0, 4)
SMALL = safetensors_file({"a": ONE, "b": entry("U8", [3], 4, 7)}, bytes(range(7)))


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"C128"}))
def test_every_dtype(dtype: str) -> None:
    size = nbytes(dtype, (2, 4))
    body = bytes(range(100, 100 + size))
    data = safetensors_file({"a": entry(dtype, [2, 4], 0, size)}, body)
    assert tensors(data, "safetensors") == oracle(data) == {"a": (dtype, (2, 4), body)}


def test_a_file_from_torch() -> None:
    model = torch.nn.TransformerEncoderLayer(8, 2, 16)
    data = safetensors.torch.save(model.state_dict(), metadata={"format": "pt"})
    found = tensors(data, "safetensors")
    assert found == oracle(data)
    assert found["linear1.weight"][2] == model.linear1.weight.detach().numpy().tobytes()


def test_empty_and_scalar_tensors() -> None:
    header = {
        "z": entry("F32", [0, 3], 0, 0),
        "s": entry("F64", [], 0, 8),
        "y": entry("I8", [0], 8, 8),
        "x": entry("I8", [5, 0, 1 << 40], 8, 8),
    }
    data = safetensors_file(header, bytes(range(8)))
    assert tensors(data, "safetensors") == oracle(data)


def test_no_tensors() -> None:
    assert tensors(safetensors_file({"__metadata__": {"a": "b"}}), "safetensors") == {}


@pytest.mark.parametrize("padding", ["", " ", " " * 77, "\n"])
def test_padding_and_order_of_the_header(padding: str) -> None:
    header = '{{ "b": {},\n"__metadata__":{{"k":"v"}}, "a":{}}}'.format(
        json.dumps(entry("F32", [1], 4, 8)), json.dumps(ONE)
    )
    data = safetensors_file(header + padding, bytes(range(8)))
    assert tensors(data, "safetensors") == oracle(data)


NAMES = [
    "a\nb",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "-rf",
    "--",
    "a/b",
    '"',
    "0",
    " ",
    "(a)",
    "é\u202e",
    "\x1b[1m",
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(name: str) -> None:
    data = safetensors_file({name: ONE}, bytes(4))
    assert tensors(data, "safetensors") == oracle(data)
    assert next(iter(tensors(data, "safetensors"))).isprintable()


def test_names_that_differ_stay_apart() -> None:
    names = [*NAMES, "a", "b", "a.b", "ab"]
    header = {name: entry("U8", [1], index, index + 1) for index, name in enumerate(names)}
    assert len(tensors(safetensors_file(header, bytes(len(names))), "safetensors")) == len(names)


HUGE = 1 << 63


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (safetensors_file({"a": ONE}, bytes(3)), "tensor 'a' ends at byte"),
        (safetensors_file({"a": ONE}, bytes(5)), "1 bytes at the end belong to no tensor"),
        (safetensors_file({"a": ONE}, bytes(4), length=10_000), "cut short"),
        (safetensors_file({"a": ONE}, bytes(4), length=5), "header is not what"),
        (safetensors_file({"a": ONE, "b": ONE}, bytes(4)), "leaves a gap or overlaps"),
        (safetensors_file({"a": ONE, "b": entry("U8", [3], 3, 6)}, bytes(6)), "tensor 'b' leaves a gap or overlaps"),
        (safetensors_file({"a": ONE, "b": entry("U8", [3], 5, 8)}, bytes(8)), "tensor 'b' leaves a gap or overlaps"),
        (safetensors_file({"a": entry("U8", [1], 1, 2)}, bytes(2)), "leaves a gap"),
        (safetensors_file({"a": entry("F32", [2], 0, 4)}, bytes(4)), "needs 8 bytes of a storage of 4"),
        (safetensors_file({"a": entry("F32", [1], 0, 8)}, bytes(8)), "does not fill its 8 bytes"),
        (safetensors_file({"a": entry("F4", [3], 0, 1)}, bytes(1)), "whole bytes"),
        (safetensors_file({"a": entry("F99", [1], 0, 4)}, bytes(4)), "unknown dtype"),
        (safetensors_file({"a": entry("F32", [HUGE], 0, 4)}, bytes(4)), "absurd shape"),
        (safetensors_file({"a": entry("F32", [HUGE, HUGE, 0], 0, 0)}), "absurd shape"),
        (safetensors_file({"a": entry("U8", [1 << 40] * 60, 0, 4)}, bytes(4)), "needs"),
        (safetensors_file({"a": entry("U8", [9] * 100_000, 0, 4)}, bytes(4)), "absurd shape"),
        (safetensors_file({"a": entry("F32", [-1], 0, 4)}, bytes(4)), "header is not what"),
        (safetensors_file({"a": entry("F32", [1.0], 0, 4)}, bytes(4)), "header is not what"),
        (safetensors_file({"a": entry("F32", [True], 0, 4)}, bytes(4)), "header is not what"),
        (safetensors_file({"a": entry("F32", [1], 4, 0)}, bytes(4)), "leaves a gap or overlaps"),
        (safetensors_file({"a": entry("F32", [1], 0, HUGE)}, bytes(4)), "cut short"),
        (safetensors_file({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "data_offsets"),
        (safetensors_file({"a": ONE, "__metadata__": {"k": 1}}, bytes(4)), "header is not what"),
        (safetensors_file(f'{{"a":{json.dumps(ONE)},"a":{json.dumps(ONE)}}}', bytes(4)), "'a' comes twice"),
        (safetensors_file('{"__metadata__":{"k":"1","k":"2"}}'), "'k' comes twice"),
        (safetensors_file(f'{{"\\ud800":{json.dumps(ONE)}}}', bytes(4)), "header is not what"),
        (safetensors_file('{"a":%s' % ("[" * 100_000)), "header is not what"),
        (safetensors_file('{"a":%s}' % ("9" * 10_000)), "header is not what"),
        (safetensors_file("{]"), "header is not what"),
    ],
)
def test_a_file_that_lies_is_opaque(data: bytes, reason: str) -> None:
    assert reason in opaque(data)


def test_a_giant_header_is_not_read() -> None:
    assert opaque(safetensors_file({"a": ONE}, length=100_000_001)) == "not a format any plug-in knows"


def test_cut_anywhere() -> None:
    for length in range(1, len(SMALL)):
        opaque(SMALL[:length])


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
@settings(max_examples=500)
def test_what_the_reference_refuses_we_refuse(at: int, value: int) -> None:
    data = bytearray(SMALL)
    data[at] = value
    layout, _ = locate(memoryview(data))
    if layout.format == "safetensors":
        assert tensors(bytes(data), "safetensors") == oracle(bytes(data))


shapes = st.lists(st.integers(0, 4), max_size=3)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float8_e5m2, torch.complex64])
trees = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"), st.tuples(shapes, dtypes), max_size=6
)


@given(trees, st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2))
@settings(deadline=None)
def test_generated_files(tree: dict[str, tuple[list[int], torch.dtype]], metadata: dict[str, str]) -> None:
    named = {name: torch.ones(shape).to(dtype) for name, (shape, dtype) in tree.items()}
    data = safetensors.torch.save(named, metadata=metadata or None)
    assert tensors(data, "safetensors") == oracle(data)


def literals(data: bytes) -> bytes:
    layout, _ = locate(memoryview(data))
    return b"".join(data[span.start : span.stop] for span in layout.literals())


def built(data: bytes) -> bytes:
    """Build anew a file like this one, of no values."""
    layout, _ = locate(memoryview(data))
    form = builder("safetensors")
    assert form is not None
    wanted = {view.name: (view.dtype, view.shape) for view in layout.views}
    made = form.build(None, literals(data), literals(data), literals(data), wanted)
    assert made is not None
    assert not made.undecided
    found = made.literals + bytes(made.layout.size - len(made.literals))
    assert locate(memoryview(found)) == (made.layout, "")
    return found


@given(trees, st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=1))
@settings(deadline=None)
def test_built_as_the_reference_writes_it(
    tree: dict[str, tuple[list[int], torch.dtype]], metadata: dict[str, str]
) -> None:
    named = {name: torch.zeros(shape).to(dtype) for name, (shape, dtype) in tree.items()}
    data = safetensors.torch.save(named, metadata=metadata or None)
    assert built(data) == data


def test_built_of_a_file_that_is_sorted_otherwise() -> None:
    header = {"b": entry("U8", [8], 0, 8), "__metadata__": {"z": "1", "a": "2"}, "a": entry("F32", [2], 8, 16)}
    data = safetensors_file(json.dumps(header) + " ", bytes(16))
    assert len(built(data)) % 8 == 0
    assert built(built(data)) == built(data)
    found = json.loads(literals(built(data))[8:])
    assert list(found) == ["__metadata__", "a", "b"]
    assert list(found["__metadata__"].items()) == [("a", "2"), ("z", "1")]
    assert tensors(built(data), "safetensors") == oracle(built(data))


def test_a_header_that_is_too_long_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theta_jupyter.checkpoints.safetensors.MAX_HEADER", 40)
    form = builder("safetensors")
    assert form is not None
    empty = literals(safetensors_file({}))
    assert form.build(None, empty, empty, empty, {"a": ("F32", (1,))}) is None


@pytest.mark.parametrize("name", ['"\\ud800"', '"a', '"a"', "a/b", "0", "__metadata__"])
def test_a_name_that_is_none_here_is_not_built(name: str) -> None:
    form = builder("safetensors")
    assert form is not None
    empty = literals(safetensors_file({}))
    assert form.build(None, empty, empty, empty, {name: ("F32", (1,))}) is None
    assert form.build(None, empty, empty, empty, {"b": ("C128", (1,))}) is None


def test_built_in_the_order_of_the_reference() -> None:
    kinds = [
        *("bool", "uint8", "int8", "int16", "uint16", "float16", "bfloat16", "int32", "uint32", "float32"),
        *("float64", "int64", "uint64", "float8_e4m3fn", "float8_e5m2", "complex64"),
    ]
    data = safetensors.torch.save({f"t{kind}": torch.zeros(8, dtype=getattr(torch, kind)) for kind in kinds})
    assert built(data) == data
