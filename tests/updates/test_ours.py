"""Each update is found where it was made, says nothing elsewhere, and guesses the same bits everywhere."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import torch
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.samples import flushed
from theta_jupyter.dtypes import DTYPES, from_floats, nbytes, to_floats
from theta_jupyter.errors import IntegrityError
from theta_jupyter.storage.contest import Said, encode
from theta_jupyter.storage.manifest import Place, Record
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.sketch import fixed_arithmetic
from theta_jupyter.storage.tensors import chains, decode, depth
from theta_jupyter.updates import base, cast, combine, low_rank, parameters, resize, scale, sparse
from theta_jupyter.updates.base import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from theta_jupyter.storage.tensors import Chain

    Array = npt.NDArray[Any]

NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "uint8": "U8"}
FLOATS = [kind.name for kind in DTYPES.values() if kind.is_float and kind.words == 1]


def tensor(array: Array) -> Tensor:
    return Tensor(memoryview(array.tobytes()), NAMES[array.dtype.name], array.shape)


def record_of(new: Tensor, store: ObjectStore, *bases: Chain, said: tuple[Said, ...] = ()) -> Record:
    draft = encode(new, bases, store, said)
    place = Place(store.write(draft.payload), len(draft.payload))
    nodes = draft.nodes(new.dtype, new.shape, place) if new.data else ()
    return Record(new.dtype, new.shape, blake3(new.data).hexdigest(), nodes)


def history(store: ObjectStore, *versions: Array) -> list[Record]:
    """Store versions one after the other, each offered all before it, and check that each comes back."""
    records: list[Record] = []
    for version in versions:
        new = tensor(version)
        records.append(record_of(new, store, *(chain for record in records for chain in chains(record))))
        assert bytes(decode(records[-1], store, "x")) == bytes(new.data)
    return records


def share(record: Record) -> float:
    return record.nodes[-1].place.stored / record.nbytes


def guess(update: Any, bases: list[Tensor], new: Tensor) -> bytes:
    found = update.fit(bases, new)
    assert found is not None
    with fixed_arithmetic():
        return bytes(update.predict(bases, memoryview(found), new.dtype, new.shape))


def normal(seed: int, *shape: int, deviation: float = 0.04) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, deviation, shape).astype("f4")


W = normal(1, 320, 256)
LORA = W + 2 * (normal(2, 320, 8, deviation=0.02) @ normal(3, 8, 256, deviation=0.02))
TUNED = W + normal(4, 320, 256, deviation=1e-5)
OTHER = W + normal(5, 320, 256, deviation=2e-5)
MOST = np.delete(W, [3, 4, 90, 200], axis=0)


def edited() -> Array:
    new = W.copy()
    new.reshape(-1)[np.random.default_rng(6).choice(W.size, 300, replace=False)] += np.float32(0.01)
    return new


FOUND: list[tuple[str, list[Array], Array, float]] = [
    ("delta", [W], TUNED, 0.65),
    ("sparse", [W], edited(), 0.02),
    ("low_rank", [W], LORA, 0.12),
    ("low_rank", [W.astype("bfloat16")], (W.astype("bfloat16").astype("f4") + (LORA - W)).astype("bfloat16"), 0.14),
    ("scale", [W], W * normal(7, 256, deviation=0.1), 0.02),
    ("scale", [W], W * (1 + normal(8, 320, 1, deviation=0.1)), 0.02),
    ("scale", [W], W * np.float32(0.99), 0.001),
    ("resize", [W], MOST, 0.001),
    ("resize", [W], W[::-1].copy(), 0.02),
    ("resize", [W], W[:, 20:].copy(), 0.001),
    ("resize", [W], np.concatenate([W, W.mean(0, keepdims=True)]), 0.01),
    ("cast", [W.astype("bfloat16")], W.astype("bfloat16").astype("f4"), 0.001),
    ("cast", [W.astype("float16")], W.astype("float16").astype("f8"), 0.001),
    ("combine", [W, TUNED], (W + TUNED) / 2, 0.001),
    ("combine", [W.astype("bfloat16"), OTHER.astype("bfloat16"), LORA.astype("bfloat16")],
     ((OTHER.astype("bfloat16").astype("f4") + LORA.astype("bfloat16").astype("f4")) / 2).astype("bfloat16"), 0.001),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "bases", "new", "most"), FOUND, ids=[f"{case[0]} {number}" for number, case in enumerate(FOUND)]
)
def test_an_update_is_found_unaided(name: str, bases: list[Array], new: Array, most: float, store: ObjectStore) -> None:
    record = history(store, *bases, new)[-1]
    assert record.update == name
    assert share(record) <= most


def test_a_large_tensor_is_judged_by_a_piece(store: ObjectStore) -> None:
    """What was made to it is found all the same, above and below the size that is looked at as a whole."""
    old = normal(1, 2048, 1024)
    change = normal(2, 2048, 8, deviation=0.02) @ normal(3, 8, 1024, deviation=0.02)
    folded, scaled, tuned = old + change, old * normal(4, 1024), old + normal(5, 2048, 1024, deviation=1e-5)
    records = history(store, old, folded, scaled, tuned)
    assert [record.update for record in records] == ["whole", "low_rank", "scale", "delta"]
    assert history(store, old, tuned, (old + tuned) / 2)[-1].update == "combine"


def test_a_base_is_read_in_pieces(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks before and after are not decoded to see that a base is of no use."""
    from theta_jupyter.storage import codec

    chains_before = chains(history(store, normal(1, 4096, 1024))[0])
    decoded = 0
    unpack = codec.unpack

    def counting(payload: memoryview, dtype: str, out: memoryview) -> None:
        nonlocal decoded
        decoded += len(out)
        unpack(payload, dtype, out)

    monkeypatch.setattr(codec, "unpack", counting)
    new = tensor(normal(2, 4096, 1024))
    assert encode(new, chains_before, store).update == ""
    assert decoded < 2 * len(new.data)  # All of it once, in the hope that rows were moved; and the piece.


@pytest.mark.parametrize(
    ("update", "bases", "new"),
    [
        (sparse, [W], TUNED),
        (low_rank, [W], TUNED),
        (low_rank, [W], W),
        (scale, [W], TUNED),
        (scale, [W], LORA),
        (resize, [W], TUNED),
        (resize, [W], W[:100, :100].copy()),
        (cast, [W], TUNED),
        (cast, [W], W[:10].astype("bfloat16")),
    ],
)
def test_an_update_is_silent_elsewhere(update: Any, bases: list[Array], new: Array) -> None:
    assert update.fit([tensor(array) for array in bases], tensor(new)) is None


def test_unrelated_tensors_are_no_combination() -> None:
    assert combine.choose([tensor(normal(seed, 64, 64)) for seed in (1, 2, 3)], tensor(normal(4, 64, 64))) is None
    assert combine.choose([tensor(W)], tensor(TUNED)) is None


TORCH_MERGES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "average": lambda _, a, b: (a + b) / 2,
    "mean of three": lambda w, a, b: torch.stack([w, a, b]).mean(0),
    "task arithmetic": lambda w, a, b: w + 0.7 * ((a - w) + (b - w)),
    "two tasks": lambda w, a, b: w + 0.3 * (a - w) + 0.4 * (b - w),
    "moving average": lambda _, a, b: a.clone().mul_(0.99).add_(b, alpha=0.01),
    "lerp": lambda _, a, b: torch.lerp(a, b, 0.3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("merge", TORCH_MERGES.values(), ids=TORCH_MERGES)
def test_a_merge_as_people_write_it_is_predicted(merge: Callable[[Any, Any, Any], Any], dtype: Any) -> None:
    """Computed by torch, in the type of the weights: hardly a value is wrong, and of bfloat16 most are right."""
    sources = [
        torch.from_numpy(array).to(dtype) for array in (W, W + normal(9, *W.shape, deviation=2e-3), OTHER + LORA - W)
    ]
    kind = {torch.float32: "F32", torch.bfloat16: "BF16"}[dtype]

    def as_tensor(value: Any) -> Tensor:
        return Tensor(memoryview(value.contiguous().view(torch.uint8).numpy().tobytes()), kind, tuple(value.shape))

    bases, new = [as_tensor(source) for source in sources], as_tensor(merge(*sources))
    chosen = combine.choose(bases, new)
    assert chosen is not None
    found = guess(combine, [bases[index] for index in chosen], new)
    words = f"<u{DTYPES[kind].word_bytes}"
    assert np.mean(np.frombuffer(found, words) != np.frombuffer(new.data, words)) < (0.02 if kind == "F32" else 0.3)


def test_a_change_upon_a_change_goes_two_deep_and_no_deeper(store: ObjectStore) -> None:
    """A LoRA on a fine-tune rests on it; the next fine-tune of that stands on what is less deep."""
    change = LORA - W
    records = history(store, W, TUNED, TUNED + change, TUNED + change + (OTHER - W))
    assert [depth(record.nodes) for record in records[:3]] == [0, 1, 2]
    assert records[2].update == "low_rank"
    assert share(records[2]) < 0.12
    assert depth(records[3].nodes) <= 2


# Everything comes back, whatever it is.


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two tensors that have something to do with each other: special values, other shapes and types included."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = (*draw(st.lists(st.integers(0, 24), min_size=0, max_size=3)), 8)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    size = nbytes(dtype, shape)
    raw = draw(st.sampled_from(["bits", "values", "zeros"]))
    if raw == "bits" or not DTYPES[dtype].is_float:
        old = rng.bytes(size)
    elif raw == "zeros":
        old = bytes(size)
    else:
        old = from_floats(rng.normal(size=size * 8 // DTYPES[dtype].bits * DTYPES[dtype].words), dtype)
    how = draw(st.sampled_from(["same", "flip", "rows", "scaled", "cast", "random", "more"]))
    rows = np.frombuffer(old, np.uint8).reshape(shape[0] if len(shape) > 1 else 1, -1) if size else None
    new, kind, new_shape = old, dtype, shape
    if how == "flip" and size:
        changed = bytearray(old)
        changed[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        new = bytes(changed)
    elif how == "rows" and rows is not None:
        new = rng.permutation(rows).tobytes()
    elif how == "more" and rows is not None and len(shape) > 1:
        new, new_shape = old + rows[:1].tobytes(), (shape[0] + 1, *shape[1:])
    elif how == "scaled" and DTYPES[dtype].is_float:
        with np.errstate(all="ignore"):
            new = from_floats(to_floats(old, dtype) * np.float32(1.5), dtype)
    elif how == "cast" and DTYPES[dtype].is_float and DTYPES[dtype].words == 1:
        kind = draw(st.sampled_from(FLOATS))
        with np.errstate(all="ignore"):
            new = from_floats(to_floats(old, dtype), kind)
    elif how == "random":
        new = rng.bytes(size)
    return Tensor(memoryview(old), dtype, shape), Tensor(memoryview(new), kind, new_shape)


@given(pairs())
@settings(max_examples=300, deadline=None)
def test_every_update_type_and_shape_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[Tensor, Tensor]
) -> None:
    old, new = pair
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    first = record_of(old, store)
    assert bytes(decode(first, store, "x")) == bytes(old.data)
    with flushed():
        second = record_of(new, store, *chains(first))
    assert bytes(decode(second, store, "x")) == bytes(new.data)
    assert record_of(new, store, *chains(first)) == second
    # And by each update by itself, where it says that it applies.
    for name, update in base.installed().items():
        if hasattr(update, "choose") or not old.data or not new.data:
            continue
        with fixed_arithmetic():
            found = update.fit([old], new)
            if found is not None:
                again = update.predict([old], memoryview(found), new.dtype, new.shape)
                assert len(memoryview(again).cast("B")) == len(new.data), name


THREADS = """
import hashlib, numpy as np
from tests.updates.test_ours import LORA, TUNED, W, guess, tensor
from theta_jupyter.updates import combine, low_rank
found = low_rank.fit([tensor(W)], tensor(LORA))
import pathlib, sys
path = pathlib.Path(sys.argv[1])
if not path.exists():
    path.write_bytes(found)
predicted = low_rank.predict([tensor(W)], memoryview(path.read_bytes()), "F32", W.shape)
print(hashlib.sha256(predicted).hexdigest())
"""


def test_a_guess_does_not_depend_on_threads(tmp_path: Any) -> None:
    """The factors that one machine found give the same bits on another, with another number of BLAS threads."""
    said = set()
    for threads in ("1", "2", "8"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", THREADS, str(tmp_path / "factors")]
        said.add(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    assert len(said) == 1


# Said by somebody who knows.


def test_given_factors_are_taken(store: ObjectStore) -> None:
    """A change of a rank too high to be looked for is of low rank if somebody says so."""
    left, right = normal(2, 320, 100, deviation=0.02), normal(3, 100, 256, deviation=0.02)
    new = W + left @ right
    first = history(store, W)[0]
    found = low_rank.parameters_of(left, right, "F32")
    assert found is not None
    said = record_of(tensor(new), store, *chains(first), said=(Said("low_rank", found),))
    assert said.update == "low_rank"
    assert bytes(decode(said, store, "x")) == new.tobytes()
    assert share(said) < len(found) / new.nbytes + 0.15


def test_said_wrongly_it_costs_nothing(store: ObjectStore) -> None:
    first = history(store, W)[0]
    wrong = low_rank.parameters_of(normal(2, 320, 4), normal(3, 4, 256), "F32")
    assert wrong is not None
    said = (Said("low_rank", wrong), Said("low_rank", b"rubbish"), Said("nobody's", b""))
    assert record_of(tensor(TUNED), store, *chains(first), said=said).update == "delta"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_factors_that_are_not_finite_are_none(value: float) -> None:
    left = normal(1, 8, 2)
    left[3, 1] = value
    assert low_rank.parameters_of(left, normal(2, 2, 8), "F32") is None
    assert low_rank.parameters_of(normal(1, 8, 513), normal(2, 513, 8), "F32") is None


# Parameters from strangers.


ARRAYS = st.lists(
    st.tuples(st.sampled_from(parameters.TYPES), st.lists(st.integers(0, 5), max_size=3), st.integers(0, 1 << 30)),
    max_size=4,
)


@given(ARRAYS)
def test_arrays_come_back(drawn: list[tuple[str, list[int], int]]) -> None:
    arrays = [
        np.frombuffer(np.random.default_rng(seed).bytes(math.prod([*shape, np.dtype(kind).itemsize])), kind)
        .reshape(shape)
        for kind, shape, seed in drawn
    ]  # fmt: skip
    packed = memoryview(parameters.pack(*arrays))
    limit = sum(array.nbytes for array in arrays)
    found = parameters.unpack(packed, [array.dtype.str[1:] for array in arrays], limit)
    assert [array.tobytes() for array in found] == [array.tobytes() for array in arrays]
    assert [array.shape for array in found] == [array.shape for array in arrays]


@given(st.binary(max_size=200))
def test_rubbish_is_no_parameters(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parameters.unpack(memoryview(data), ["i4", "f4"], 1 << 20)


def test_parameters_that_declare_much_are_not_unpacked() -> None:
    packed = memoryview(parameters.pack(np.zeros(1 << 20)))
    with pytest.raises(IntegrityError, match="at most 100"):
        parameters.unpack(packed, ["f8"], 100)


CASES: list[tuple[Any, list[Array], Array]] = [
    (sparse, [W], edited()),
    (low_rank, [W], LORA),
    (scale, [W], W * np.float32(0.99)),
    (resize, [W], MOST),
    (combine, [W, TUNED], (W + TUNED) / 2),
]


@pytest.mark.parametrize(("update", "bases", "new"), CASES, ids=[case[0].__name__ for case in CASES])
def test_damaged_parameters_give_an_error_or_a_guess(update: Any, bases: list[Array], new: Array) -> None:
    """Never a crash, never another size: the correction and the hash see to the rest."""
    tensors, wanted = [tensor(array) for array in bases], tensor(new)
    found = update.fit(tensors, wanted)
    others = [parameters.pack(np.array([], kind)) for kind in parameters.TYPES]
    others += [found[:-1], found + b"x", b"", bytes(len(found))]
    for at in range(0, len(found), max(1, len(found) // 60)):
        others.append(found[:at] + bytes([found[at] ^ 0x41]) + found[at + 1 :])
    for damaged in others:
        try:
            with fixed_arithmetic():
                guessed = update.predict(tensors, memoryview(damaged), wanted.dtype, wanted.shape)
        except IntegrityError:
            continue
        assert len(memoryview(guessed).cast("B")) == len(wanted.data)


@pytest.mark.parametrize(
    ("update", "arrays"),
    [
        (low_rank, [np.array(0, "i4"), np.full((320, 512), 1 << 25, "i4"), np.full((512, 256), 1 << 25, "i4")]),
        (low_rank, [np.array(1 << 20, "i4"), np.ones((320, 1), "i4"), np.ones((1, 256), "i4")]),
        (low_rank, [np.array(0, "i4"), np.ones((320, 1), "i4"), np.ones((2, 256), "i4")]),
        (low_rank, [np.array(0, "i4"), np.ones((319, 1), "i4"), np.ones((1, 256), "i4")]),
        (scale, [np.array(3, "u1"), np.ones(256, "f4")]),
        (scale, [np.array(0, "u1"), np.ones(256, "f4")]),
        (resize, [np.array(0, "u1"), np.array([300], "i8"), np.array([320], "u4")]),
        (resize, [np.array(0, "u1"), np.array([-5], "i8"), np.array([320], "u4")]),
        (resize, [np.array(9, "u1"), np.array([1], "i8"), np.array([320], "u4")]),
        (resize, [np.array(0, "u1"), np.array([1], "i8"), np.array([319], "u4")]),
        (sparse, [np.array([1 << 20], "u4"), np.array([1], "u4")]),
        (sparse, [np.array([1, 0], "u4"), np.array([1, 1], "u4")]),
        (sparse, [np.array([1], "u4"), np.array([1, 1], "u4")]),
        (combine, [np.array([9, 0, 0], "u1"), np.ones(1)]),
        (combine, [np.array([0, 0, 1], "u1"), np.ones(1)]),
        (combine, [np.array([0, 0, 0], "u1"), np.ones(2)]),
    ],
)
def test_parameters_that_do_not_fit_are_refused(update: Any, arrays: list[Array]) -> None:
    with pytest.raises(IntegrityError):
        update.predict([tensor(W)], memoryview(parameters.pack(*arrays)), "F32", W.shape)


def test_rounding_is_that_of_ml_dtypes() -> None:
    """An oracle of its own for the cast."""
    values = np.concatenate([normal(1, 5000), np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3e38], "f4")])
    for name in ("bfloat16", "float16"):
        with np.errstate(all="ignore"):
            wanted = values.astype(getattr(ml_dtypes, name, name))
        assert guess(cast, [tensor(values)], tensor(wanted)) == wanted.tobytes()
