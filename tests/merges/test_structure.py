"""Structures of merged files, with real files in a real store: what is built can be checked out, and read by others."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from tests.storage.samples import restore, take
from tests.storage.samples import save as save_torch
from theta_jupyter import checkpoints
from theta_jupyter.checkpoints import safetensors
from theta_jupyter.errors import IntegrityError, ThetaError
from theta_jupyter.merges.structure import Side, assemble
from theta_jupyter.merges.threeway import STRUCTURE, Merged, merge
from theta_jupyter.storage.codec import decompress
from theta_jupyter.storage.manifest import Manifest, Place, Record, dump, parse
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.snapshot import load_skeleton

Array = npt.NDArray[Any]
Tree = dict[str, Array]


@pytest.fixture(scope="module")
def store() -> ObjectStore:
    return shared()


@functools.cache
def shared() -> ObjectStore:
    """One store for all examples: what is written twice is there."""
    folder = tempfile.TemporaryDirectory()
    found = ObjectStore(Path(folder.name))
    found.folder = folder  # type: ignore[attr-defined]  # removed with it
    return found


def values(seed: int, *shape: int, dtype: str = "float32") -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * 100).astype(dtype)


def taken(tree: Tree, metadata: dict[str, str] | None = None) -> Manifest:
    # Of no tensors and no metadata, given as such, the reference implementation makes a file that it cannot read.
    return take(save(tree, metadata or None), shared())


def checked(manifest: Manifest) -> Tree:
    """Check that a manifest is that of a file, and give what the reference implementation reads in it."""
    assert parse(dump(manifest)) == manifest
    load_skeleton(manifest, shared())
    data = restore(manifest, shared())
    again = take(data, shared())
    assert again.header == manifest.header
    assert {name: r.blake3 for name, r in again.records.items()} == {
        name: r.blake3 for name, r in manifest.records.items()
    }
    found: Tree = load(data)
    return found


def equal(a: Tree, b: Tree) -> bool:
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
        for name in a
    )


def merged(base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: Side = "ours") -> Merged:
    """Merge; without a conflict, the other way round gives the same file."""
    found = merge(base, ours, theirs, prefer, shared())
    checked(found.manifest)
    if not found.conflicts:
        other = merge(base, theirs, ours, prefer, shared())
        assert restore(other.manifest, shared()) == restore(found.manifest, shared())
    return found


W = {"w": values(1, 4, 3), "x": values(2, 5), "e": values(3, 8, 2)}


def test_both_add_a_tensor() -> None:
    found = merged(taken(W), taken(W | {"o": values(4, 2)}), taken(W | {"t": values(5, 3, dtype="float16")}))
    assert found.conflicts == ()
    # Just what the reference implementation would have written.
    expected = W | {"o": values(4, 2), "t": values(5, 3, dtype="float16")}
    assert restore(found.manifest, shared()) == save(expected)


def test_one_adds_and_the_other_deletes() -> None:
    less = {name: value for name, value in W.items() if name != "x"}
    found = merged(taken(W), taken(W | {"o": values(4, 2)}), taken(less))
    assert found.conflicts == ()
    assert equal(checked(found.manifest), less | {"o": values(4, 2)})


def test_a_trimmed_embedding() -> None:
    """One side trims it, the other trains the rest, and writes something else into the metadata."""
    ours, theirs = W | {"e": W["e"][:6].copy()}, W | {"w": values(6, 4, 3)}
    found = merged(taken(W, {"epoch": "1"}), taken(ours, {"epoch": "1"}), taken(theirs, {"epoch": "2"}))
    assert found.conflicts == ()
    assert restore(found.manifest, shared()) == save(ours | {"w": theirs["w"]}, {"epoch": "2"})


@pytest.mark.parametrize("prefer", ["ours", "theirs", "base"])
def test_resized_against_changed_is_all_that_is_in_conflict(prefer: Side) -> None:
    ours = W | {"e": np.concatenate([W["e"], values(7, 2, 2)]), "w": values(6, 4, 3)}
    theirs = W | {"e": values(8, 8, 2), "x": values(9, 5)}
    found = merged(taken(W), taken(ours), taken(theirs), prefer)
    assert (found.conflicts, found.classes["e"], found.whole) == (("e",), "reshaped", False)
    side = {"ours": ours, "theirs": theirs, "base": W}[prefer]
    assert equal(checked(found.manifest), {"w": ours["w"], "x": theirs["x"], "e": side["e"]})


def test_chosen_records() -> None:
    """Both extended an embedding; what is chosen is of a shape that no side has, and another tensor goes."""
    base = taken(W)
    ours = taken(W | {"e": np.concatenate([W["e"], values(7, 2, 2)])})
    theirs = taken(W | {"e": np.concatenate([W["e"], values(8, 3, 2)])})
    union = {"e": np.concatenate([W["e"], values(7, 2, 2), values(8, 3, 2)])}
    assert merged(base, ours, theirs).conflicts == ("e",)
    records = {"e": taken(union).records["e"], "w": base.records["w"]}
    found = assemble(records, base, ours, theirs, "ours", shared())
    assert found is not None
    assert not found.undecided
    assert equal(checked(found.manifest), union | {"w": W["w"]})
    # Nothing at all is a file, too.
    nothing = assemble({}, base, ours, theirs, "ours", shared())
    assert nothing is not None
    assert checked(nothing.manifest) == {}


METADATA = [
    ({}, {"a": "1"}, {"b": "1"}, {"a": "1", "b": "1"}, False),
    ({"a": "0", "b": "0"}, {"a": "1", "b": "0"}, {"a": "0"}, {"a": "1"}, False),
    ({"a": "0", "b": "0"}, {"a": "1", "b": "1"}, {"a": "1", "b": "0", "c": "2"}, {"a": "1", "b": "1", "c": "2"}, False),
    ({"a": "0", "b": "0"}, {"a": "1", "b": "1"}, {"a": "2", "b": "0"}, {"a": "1", "b": "1"}, True),
    ({"a": "0", "b": "0"}, {"b": "1"}, {"a": "2", "b": "0"}, {"b": "1"}, True),
    (None, {"a": "1", "b": "1"}, {"a": "1", "c": "1"}, {"a": "1", "b": "1", "c": "1"}, False),
    (None, {"a": "1"}, {"a": "2"}, {"a": "1"}, True),
]


@pytest.mark.parametrize(("base", "ours", "theirs", "expected", "undecided"), METADATA)
def test_metadata(
    base: dict[str, str] | None, ours: dict[str, str], theirs: dict[str, str], expected: dict[str, str], undecided: bool
) -> None:
    found = merged(None if base is None else taken(W, base), taken(W, ours), taken(W, theirs))
    assert found.conflicts == ((STRUCTURE,) if undecided else ())
    data = restore(found.manifest, shared())
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header.get("__metadata__") == expected
    assert list(expected) == list(header["__metadata__"])


def test_metadata_of_the_preferred_side() -> None:
    base, ours, theirs = (taken(W, {"a": value}) for value in ("0", "1", "2"))
    for prefer, manifest in (("base", base), ("ours", ours), ("theirs", theirs)):
        found = assemble(base.records, base, ours, theirs, prefer, shared())  # type: ignore[arg-type]  # a side
        assert found is not None
        assert (found.undecided, found.manifest.header) == (True, manifest.header)


HOSTILE = {'a"b': values(1, 2), "a/b": values(2, 2), "\n": values(3, 2), "é": values(4, 2), "0": values(5, 2)}


def test_names_that_are_quoted() -> None:
    found = merged(taken({}), taken(HOSTILE), taken(W))
    assert found.conflicts == ()
    assert equal(checked(found.manifest), HOSTILE | W)


def test_a_name_that_the_format_does_not_know() -> None:
    """As a record of another format may have."""
    base, ours, theirs = taken(W), taken(W | {"o": values(4, 2)}), taken(W | {"t": values(5, 3)})
    w = W["w"]
    for name in ("a/b", '"ab"', '"a', '"\\ud800"', "__metadata__", "0"):
        records = {"w": base.records["w"], name: taken({"v": w}).records["v"]}
        assert assemble(records, base, ours, theirs, "ours", shared()) is None
    complex_ = msgspec.structs.replace(base.records["w"], dtype="C128")
    assert assemble({"w": complex_}, base, ours, theirs, "ours", shared()) is None


def test_tensors_that_are_not_plain_are_not_built() -> None:
    base, ours, theirs = taken(W), taken(W | {"o": values(4, 2)}), taken(W | {"t": values(5, 3)})
    w = base.records["w"]
    for odd in (
        msgspec.structs.replace(w, shape=(3, 4), stride=(1, 3)),
        msgspec.structs.replace(w, shape=(2, 3), storage=48),
        msgspec.structs.replace(w, shape=(3, 3), offset=12, storage=48),
    ):
        assert assemble({"w": odd}, base, ours, theirs, "ours", shared()) is None
    assert assemble({"v": Record("F32", (4, 3), of="w"), "w": w}, base, ours, theirs, "ours", shared()) is None


def test_without_structures_it_is_as_if_nothing_could_be_built(tmp_path: Path) -> None:
    """As in a clone that has fetched nothing."""
    base, ours, theirs = taken(W), taken(W | {"o": values(4, 2)}), taken(W | {"t": values(5, 3)})
    for store in (None, ObjectStore(tmp_path / "nothing")):
        found = merge(base, ours, theirs, "ours", store)
        assert (found.conflicts, found.whole, found.lost) == ((STRUCTURE,), True, ("t",))
        assert found.manifest == ours
    assert not (tmp_path / "nothing").exists()


def test_a_damaged_structure_is_an_error(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    base, ours, theirs = (take(save(W | more), store) for more in ({}, {"o": values(4, 2)}, {"t": values(5, 3)}))
    path = store.path(theirs.header.skeleton.object)
    path.chmod(0o644)
    path.write_bytes(bytes(theirs.header.skeleton.size))
    with pytest.raises(IntegrityError, match="skeleton"):
        merge(base, ours, theirs, "ours", store)


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(tmp_path)
    base, ours, theirs = (take(save(W | more), store) for more in ({}, {"o": values(4, 2)}, {"t": values(5, 3)}))
    monkeypatch.setattr(ObjectStore, "temporary", lambda _: Path("/nowhere/at/all"))
    with pytest.raises(ThetaError, match="cannot store"):
        merge(base, ours, theirs, "ours", store)


def test_a_known_structure_is_used_again(tmp_path: Path) -> None:
    """It may have been compressed by another version of the library; then it would be another object."""
    store = ObjectStore(tmp_path)
    base, ours, theirs = (take(save(W, {"a": a}), store) for a in ("0", "1", "2"))
    place = ours.header.skeleton
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(decompress(store.read(place.object), None))
    other = Place(store.write(packed), len(packed))
    assert other != place
    ours = Manifest(msgspec.structs.replace(ours.header, skeleton=other), ours.records)
    before = set(store)
    assert merge(base, ours, theirs, "ours", store).manifest.header == ours.header
    assert set(store) == before


def test_torch_files_have_no_builder(store: ObjectStore) -> None:
    import torch

    def file(**more: Any) -> Manifest:
        return take(save_torch({"w": torch.from_numpy(W["w"]), "n": 1, **more}), store)

    assert checkpoints.builder("torch") is None
    base, more = file(), file(t=torch.ones(3))
    assert merge(base, file(n=2), more, "ours", store).whole
    # They may fit all the same.
    records = {**more.records}
    assert assemble(records, base, file(n=2), more, "ours", store) is None
    found = assemble(records, base, file(n=2), more, "theirs", store)
    assert found is not None
    assert (found.undecided, found.manifest) == (True, more)


def test_opaque_files_are_taken_whole(store: ObjectStore) -> None:
    base, ours, theirs = (take(data, store) for data in (b"base", b"ours", b"theirs"))
    for side in (ours, theirs, base):
        found = assemble(side.records, base, ours, theirs, "ours", store)
        assert found is not None
        assert (found.manifest, found.undecided) == (side, False)
    assert assemble({}, base, ours, theirs, "ours", store) is None


@pytest.mark.parametrize("fault", ["raises", "refuses", "lies about a shape", "forgets one", "leaves a gap"])
def test_a_builder_is_not_trusted(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = safetensors.build

    def build(*versions: Any) -> checkpoints.Built | None:
        if fault == "raises":
            raise KeyError("a bug")
        built = right(*versions)
        if fault == "refuses" or built is None:
            return None
        layout, literals = built.layout, built.literals
        if fault == "lies about a shape":
            view = msgspec.structs.replace(layout.views[0], shape=(1,))
            layout = msgspec.structs.replace(layout, views=(view, *layout.views[1:]))
        elif fault == "forgets one":
            spans, views = layout.storages[:-1], layout.views[:-1]
            layout = msgspec.structs.replace(layout, storages=spans, views=views, size=spans[-1].stop)
        else:
            literals = literals[:-1]
        return checkpoints.Built(layout, literals)

    monkeypatch.setattr(safetensors, "build", build)
    base, ours, theirs = taken(W), taken(W | {"o": values(4, 2)}), taken(W | {"t": values(5, 3)})
    assert merge(base, ours, theirs, "ours", shared()).conflicts == (STRUCTURE,)


def test_formats_are_not_mixed(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody converted the file: its structure says nothing to the other format."""
    asked: list[object] = []
    monkeypatch.setattr(safetensors, "build", lambda *_: asked.append(1))
    ours, theirs = taken(W | {"o": values(4, 2)}), taken(W | {"t": values(5, 3)})
    assert merge(taken(W), ours, theirs, "ours", store).whole
    assert len(asked) == 1
    assert merge(take(save_torch({}), store), ours, theirs, "ours", store).whole
    assert len(asked) == 1


def test_a_broken_plug_in_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    broken = EntryPoint("safetensors", "no.such.module", "theta_jupyter.checkpoints")
    monkeypatch.setattr(checkpoints, "_plugins", lambda: (broken,))
    assert checkpoints.builder("safetensors") is None
    assert checkpoints.builder("other") is None


arrays = st.builds(
    values,
    st.integers(0, 2),
    st.sampled_from([2, 3]),
    st.sampled_from([0, 1, 4]),
    dtype=st.sampled_from(["float32", "float16", "uint8"]),
)
files = st.builds(
    taken,
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "a.a", "0"]), arrays, max_size=4),
    st.none() | st.dictionaries(st.sampled_from("pq"), st.sampled_from("01"), max_size=2),
)


@given(st.none() | files, files, files, st.sampled_from(["ours", "theirs", "base"]))
@settings(deadline=None)
def test_safetensors_are_never_taken_whole(base: Manifest | None, ours: Manifest, theirs: Manifest, side: Side) -> None:
    found = merged(base, ours, theirs, side)
    assert (found.whole, found.lost) == (False, ())
    for name, kind in found.classes.items():
        one, record = found.versions[name], found.manifest.records.get(name)
        for source, manifest in (("ours", ours), ("theirs", theirs)):
            if kind in {f"{source} only", "unchanged", "same on both"}:
                own = one.on(source)  # type: ignore[arg-type]  # a side
                settled = manifest.records.get(own) if own else None
                if kind == f"{source} only" or (record is None) != (settled is None):
                    assert (record and record.blake3) == (settled and settled.blake3)
