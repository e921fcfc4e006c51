"""A tensor comes back exactly, rests on little, costs no more than it must, and says what is wrong when it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.samples import flushed, moved
from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import IntegrityError, MissingObjectError, ThetaError
from theta_jupyter.storage import codec, contest
from theta_jupyter.storage.contest import BUDGET, encode
from theta_jupyter.storage.manifest import Node, Place, Record
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.tensors import Chain, chains, decode, depth
from theta_jupyter.updates import base as updates
from theta_jupyter.updates.base import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

RANDOM = np.random.default_rng(0)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], None]:
    def put(found: Mapping[str, Any]) -> None:
        monkeypatch.setattr(updates, "installed", lambda: found)
        monkeypatch.setattr(contest, "installed", lambda: found)

    return put


def tensor(array: npt.NDArray[Any]) -> Tensor:
    name = {"float32": "F32", "float64": "F64", "uint8": "U8", "uint16": "U16"}[array.dtype.name]
    return Tensor(memoryview(array.tobytes()), name, array.shape)


def stored(new: Tensor, store: ObjectStore, *bases: Chain) -> Record:
    """Encode and store a tensor on its own."""
    draft = encode(new, bases, store)
    place = Place(store.write(draft.payload), len(draft.payload))
    nodes = draft.nodes(new.dtype, new.shape, place)
    return Record(new.dtype, new.shape, blake3(new.data).hexdigest(), nodes)


def base_of(record: Record) -> Chain:
    """The whole node that a record rests on, or is."""
    return chains(record)[-1]._replace(blake3="")


@given(st.sampled_from(sorted(DTYPES)), st.integers(1, 200), st.integers(0, 5), st.data())
@settings(max_examples=100, deadline=None)
def test_a_tensor_comes_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, count: int, changes: int, data: st.DataObject
) -> None:
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    size = nbytes(dtype, (count * 8,))
    before = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
    first = stored(Tensor(memoryview(bytes(before)), dtype, (count * 8,)), store)
    assert decode(first, store, "x") == before
    for _ in range(changes):
        before[data.draw(st.integers(0, size - 1))] ^= 1
    second = stored(Tensor(memoryview(bytes(before)), dtype, (8, count)), store, base_of(first))
    assert decode(second, store, "x") == before
    out = bytearray(size)
    assert decode(second, store, "x", memoryview(out)) == before == out


def test_an_empty_tensor_needs_nothing(store: ObjectStore) -> None:
    record = Record("F32", (0, 4), blake3(b"").hexdigest())
    assert bytes(decode(record, store, "x")) == b""
    assert chains(record) == []


def test_a_small_change_rests_on_its_base(store: ObjectStore) -> None:
    old = RANDOM.normal(size=(300, 1000)).astype("f4")
    first = stored(tensor(old), store)
    assert first.update == "whole"
    second = stored(tensor(moved(old)), store, base_of(first))
    assert second.update == "delta"
    assert base_of(second) == base_of(first)
    assert second.nodes[1].place.stored < 0.3 * first.nodes[0].place.stored


@pytest.mark.parametrize("count", [100, 20_000, 300_000])
def test_an_unrelated_base_is_not_rested_on(count: int, store: ObjectStore) -> None:
    first = stored(tensor(RANDOM.normal(size=count).astype("f4")), store)
    assert stored(tensor(RANDOM.normal(size=count).astype("f4")), store, base_of(first)).update == "whole"


def test_the_nearest_of_many_bases_is_found(store: ObjectStore) -> None:
    new = RANDOM.normal(size=200_000).astype("f4")
    records = [
        stored(tensor((new + scale * RANDOM.normal(size=new.size)).astype("f4")), store) for scale in (1, 1e-5, 0.1)
    ]
    assert base_of(stored(tensor(new), store, *map(base_of, records))) == base_of(records[1])


def test_a_base_of_another_type_or_size_is_passed_over(store: ObjectStore) -> None:
    others = [RANDOM.normal(size=999).astype("f4"), RANDOM.normal(size=500), RANDOM.integers(0, 9, 4000).astype("u1")]
    bases = [base_of(stored(tensor(other), store)) for other in others]
    assert stored(tensor(np.zeros(1000, "f4")), store, *bases).update == "whole"


def decode_node(chain: Chain, store: ObjectStore) -> bytes:
    (node,) = chain.nodes
    out = bytearray(node.nbytes)
    codec.unpack(store.read(node.place.object, node.place.offset, node.place.stored), node.dtype, memoryview(out))
    return bytes(out)


# A history: law 7.


def drifting(random: np.random.Generator, size: int) -> list[npt.NDArray[Any]]:
    values = random.normal(size=size).astype("f4")
    versions = [values]
    for _ in range(29):
        values = (values + 1e-4 * random.normal(size=size)).astype("f4")
        versions.append(values)
    return versions


def noise(random: np.random.Generator, size: int) -> list[npt.NDArray[Any]]:
    return [random.integers(0, 1 << 32, size, dtype="u4").view("f4") for _ in range(30)]


def alternating(random: np.random.Generator, size: int) -> list[npt.NDArray[Any]]:
    """Two models that share a file, and zeros now and then."""
    pair = random.normal(size=(2, size)).astype("f4")
    return [pair[step % 2] * np.float32(1 + 1e-6 * step) * np.float32(step % 7 > 0) for step in range(30)]


def misleading(random: np.random.Generator, size: int) -> list[npt.NDArray[Any]]:
    """Noise in small parts, zeros elsewhere, so that samples mislead."""
    versions = []
    for step in range(30):
        values = np.zeros(size, "f4") if step % 2 else random.normal(size=size).astype("f4")
        values.reshape(-1, size // 10)[:, :50] = random.normal(size=50)
        versions.append(values)
    return versions


@pytest.mark.parametrize("size", [3000, 200_000])
@pytest.mark.parametrize("make", [drifting, noise, alternating, misleading])
def test_no_version_costs_much_more_than_it_weighs(
    make: Callable[[np.random.Generator, int], list[npt.NDArray[Any]]], size: int, store: ObjectStore
) -> None:
    record: Record | None = None
    for values in make(np.random.default_rng(size), size):
        record = stored(tensor(values), store, *(chains(record) if record else []))
        assert bytes(decode(record, store, "x")) == values.tobytes()
        # Two deep, and within the budget.
        assert depth(record.nodes) <= 2
        assert sum(place.stored for place in record.objects) <= BUDGET * values.nbytes
        # Never larger than it would be on its own.
        assert record.nodes[-1].place.stored <= len(codec.pack(memoryview(values.tobytes()), "F32"))


def test_what_would_cost_too_much_is_stored_whole(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old = RANDOM.normal(size=200_000).astype("f4")
    node = base_of(stored(tensor(old), store))
    new = tensor(moved(old))
    assert encode(new, [node], store).update == "delta"
    monkeypatch.setattr(contest, "BUDGET", 0.9)
    assert encode(new, [node], store).update == ""
    assert encode(tensor(moved(old[:1000])), [base_of(stored(tensor(old[:1000]), store))], store).update == ""


def test_samples_that_mislead_do_not_decide(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was sampled the tensor is noise and its base the same; elsewhere it is zero and its base is noise."""
    monkeypatch.setattr(contest, "_SAMPLE_WORDS", 256)
    size = 200_000
    sampled: list[tuple[int, int]] = []
    correction = contest._Guess.correction

    def watching(self: Any, new: Tensor, start: int, stop: int) -> bytes:
        sampled.append((start // 4, stop // 4))
        return correction(self, new, start, stop)

    noise_all = RANDOM.integers(0, 1 << 16, size, dtype="u4").view("f4")  # Cheap enough for the budget.
    with monkeypatch.context() as patch:
        patch.setattr(contest._Guess, "correction", watching)
        encode(tensor(noise_all), [], store)
    new = np.zeros(size, "f4")
    for start, stop in sampled[:-1]:  # The last one is the tensor itself.
        new[start:stop] = noise_all[start:stop]
    node = base_of(stored(tensor(noise_all), store))
    draft = encode(tensor(new), [node], store)
    assert len(draft.payload) <= len(codec.pack(memoryview(new.tobytes()), "F32"))


# Damage: law 5.


def damage(store: ObjectStore, object_id: str, at: int = -1) -> None:
    path = store.path(object_id)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_damage_names_tensor_and_object(store: ObjectStore) -> None:
    old = RANDOM.normal(size=3000).astype("f4")
    first = stored(tensor(old), store)
    second = stored(tensor(old * np.float32(1 + 1e-6)), store, base_of(first))
    for node in second.nodes:
        kept_bytes = store.path(node.place.object).read_bytes()
        for at in range(0, len(kept_bytes), max(1, len(kept_bytes) // 40)):
            damage(store, node.place.object, at)
            with pytest.raises(IntegrityError, match=rf"tensor 'x' .*{node.place.object[:12]}"):
                decode(second, store, "x")
            store.path(node.place.object).write_bytes(kept_bytes)
        assert decode(second, store, "x")
        store.path(node.place.object).unlink()
        with pytest.raises(MissingObjectError, match=rf"tensor 'x' needs object {node.place.object[:12]}") as caught:
            decode(second, store, "x")
        assert caught.value.object_id == node.place.object
        store.write(kept_bytes)


def test_a_record_of_other_bytes_is_noticed(store: ObjectStore) -> None:
    record = stored(tensor(np.ones(10, "f4")), store)
    other = Record("F32", (10,), blake3(b"other").hexdigest(), record.nodes)
    with pytest.raises(IntegrityError, match="does not have its hash"):
        decode(other, store, "x")


@pytest.mark.parametrize("gone", [True, False])
def test_nothing_rests_on_a_base_that_is_gone_or_damaged(gone: bool, tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    old = RANDOM.integers(0, 1 << 32, 5000, dtype="u4").view("f4")
    first = stored(tensor(old), store)
    if gone:
        store.path(base_of(first).node.place.object).unlink()
    else:
        # In a plane that is stored as it is: it decodes to something, and nothing but the hash can tell.
        damage(store, base_of(first).node.place.object)
        decode_node(base_of(first), store)
    new = tensor((old.view("u4") + np.uint32(1)).view("f4"))
    assert stored(new, ObjectStore(tmp_path), base_of(first)).update == "whole"


def test_a_base_that_makes_no_sense_is_passed_over(store: ObjectStore) -> None:
    node = base_of(stored(tensor(np.ones(1000, "f4")), store))
    place = node.node.place
    wrong = Chain((Node("F32", (1 << 40,), place),))
    short = Chain((Node("F32", (1000,), Place(place.object, place.size, 0, place.size - 1)),))
    far = Chain((Node("F32", (1000,), Place(place.object, 1 << 60, 1 << 50)),))
    assert stored(tensor(np.ones(1000, "f4")), store, wrong, short, far).update == "whole"


@pytest.mark.parametrize("count", [1 << 40, 1 << 59])
def test_a_size_that_cannot_be_is_refused_before_it_is_allocated(count: int, store: ObjectStore) -> None:
    place = Place(store.write(b"x" * 1000), 1000)
    for node in (Node("F32", (count,), place), Node("F32", (count,), place, "delta", (0,))):
        record = Record("F32", (count,), "0" * 64, (Node("F32", (count,), place), node))
        with pytest.raises(IntegrityError, match="cannot hold"):
            decode(record, store, "x")
    with pytest.raises(IntegrityError, match="too short"):
        decode(Record("F32", (count,), "0" * 64, (Node("F32", (count,), Place(place.object, 1 << 61)),)), store, "x")
    part = Place(place.object, 1 << 61, 0, 1 << 60)
    with pytest.raises(IntegrityError, match="too short"):
        decode(Record("F32", (count,), "0" * 64, (Node("F32", (count,), part),)), store, "x")


# Updates of others.


def scaled(bases: Sequence[Tensor], parameters: memoryview, _dtype: str, _shape: tuple[int, ...]) -> memoryview:
    factor = np.frombuffer(parameters, "<f4")[0]
    return memoryview((np.frombuffer(bases[0].data, "<f4") * factor).tobytes())


def half(_bases: Sequence[Tensor], _new: Tensor) -> bytes:
    return np.float32(0.5).tobytes()


HALF = SimpleNamespace(fit=half, predict=scaled)


@pytest.mark.parametrize("count", [1000, 200_000])
def test_the_best_update_wins(count: int, store: ObjectStore, install: Callable[[Any], None]) -> None:
    install({"delta": updates.find("delta"), "half": HALF})
    old = RANDOM.normal(size=count).astype("f4")
    node = base_of(stored(tensor(old), store))
    record = stored(tensor(old * np.float32(0.5)), store, node)
    assert record.update == "half"
    assert record.nodes[-1].parameters == 4
    assert record.nodes[-1].place.stored < 100
    assert bytes(decode(record, store, "x")) == (old * np.float32(0.5)).tobytes()
    assert stored(tensor(old * np.float32(1 + 1e-6)), store, node).update == "delta"


def test_a_prediction_is_the_same_where_subnormal_numbers_are_flushed(
    store: ObjectStore, install: Callable[[Any], None]
) -> None:
    install({"half": HALF})
    old = RANDOM.integers(0, 1 << 23, 5000).astype("<u4").view("f4")
    new = tensor(old * np.float32(0.5))
    node = base_of(stored(tensor(old), store))
    plain = stored(new, store, node)
    with flushed():
        assert stored(new, store, node) == plain
        assert decode(plain, store, "x") == new.data
    assert plain.update == "half"


def failing(*_args: Any) -> Any:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    "update",
    [
        SimpleNamespace(fit=failing, predict=scaled),
        SimpleNamespace(fit=half, predict=failing),
        SimpleNamespace(fit=half, predict=lambda *_: memoryview(b"short")),
        SimpleNamespace(fit=half, predict=lambda *_: None),
        SimpleNamespace(),
    ],
)
def test_an_update_that_fails_costs_no_commit(
    update: Any, store: ObjectStore, install: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    install({"buggy": update, "delta": updates.find("delta")})
    old = RANDOM.normal(size=1000).astype("f4")
    record = stored(tensor(old * np.float32(1 + 1e-6)), store, base_of(stored(tensor(old), store)))
    assert record.update == "delta"
    assert "the update buggy failed" in caplog.text


@pytest.mark.parametrize("predict", [failing, lambda *_: memoryview(b"short")])
def test_an_update_that_fails_when_rebuilding_names_the_tensor(
    predict: Any, store: ObjectStore, install: Callable[[Any], None]
) -> None:
    install({"half": HALF})
    old = RANDOM.normal(size=1000).astype("f4")
    record = stored(tensor(old * np.float32(0.5)), store, base_of(stored(tensor(old), store)))
    install({"half": SimpleNamespace(fit=half, predict=predict)})
    with pytest.raises(IntegrityError, match=r"tensor 'x' .*update 'half'"):
        decode(record, store, "x")
    install({})
    with pytest.raises(ThetaError, match="no installed package provides the update 'half'"):
        decode(record, store, "x")


@pytest.mark.parametrize(("times", "update"), [(63, "first"), (64, "")])
def test_a_base_much_larger_than_the_tensor_is_passed_over(
    times: int, update: str, store: ObjectStore, install: Callable[[Any], None]
) -> None:
    """Its manifest would be refused."""
    first = SimpleNamespace(RESHAPES=True, fit=lambda *_: b"", predict=lambda bases, *_: bases[0].data[: 4 * 4096])
    install({"first": first})
    block = RANDOM.integers(0, 1 << 32, 4096, dtype="u4")
    node = base_of(stored(tensor(np.tile(block, times).view("f4")), store))
    assert encode(tensor((block + np.uint32(1)).view("f4")), [node], store).update == update
