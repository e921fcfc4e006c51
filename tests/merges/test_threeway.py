"""The three-way merge of manifests: every class, and that the result is always a valid manifest."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theta_jupyter.merges.structure import same
from theta_jupyter.merges.threeway import CONFLICTS, STRUCTURE, Side, Versions, classify, merge
from theta_jupyter.storage.manifest import Header, Manifest, Node, Place, Record, content_hash, dump, parse


def digest(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def record(value: int, shape: tuple[int, ...] = (2, 3), dtype: str = "F32", stored: int = 0) -> Record:
    """A tensor of some value; ``stored`` tells apart two ways to store it."""
    place = Place(digest("object", value, stored), 100)
    return Record(dtype, shape, digest("value", value), (Node(dtype, shape, place),))


def manifest(records: dict[str, Record], structure: object = None) -> Manifest:
    """A file; its structure is the geometry of its records, and what else is given."""
    geometry = sorted((name, r.dtype, r.shape, r.of) for name, r in records.items())
    skeleton = digest("skeleton", geometry, structure)
    ordered = dict(sorted(records.items()))
    return Manifest(Header("safetensors", 100_000, skeleton, Place(skeleton, 50)), ordered)


A, B, C = record(1), record(2), record(3)
WIDE, HALF, SPLIT = record(4, (3, 2)), record(5, (2, 3), "BF16"), record(1, stored=1)

TABLE = [
    (A, A, A, "unchanged"),
    (A, SPLIT, A, "unchanged"),
    (None, None, None, "unchanged"),
    (A, B, A, "ours only"),
    (A, None, A, "ours only"),
    (None, A, None, "ours only"),
    (A, WIDE, A, "ours only"),
    (A, A, B, "theirs only"),
    (A, A, None, "theirs only"),
    (None, None, A, "theirs only"),
    (A, B, B, "same on both"),
    (A, None, None, "same on both"),
    (None, A, SPLIT, "same on both"),
    (A, B, C, "both changed"),
    (None, A, B, "added by both"),
    (A, None, B, "deleted and changed"),
    (A, B, None, "deleted and changed"),
    (A, WIDE, B, "reshaped"),
    (A, B, HALF, "reshaped"),
]


@pytest.mark.parametrize(("base", "ours", "theirs", "kind"), TABLE)
def test_classes(base: Record | None, ours: Record | None, theirs: Record | None, kind: str) -> None:
    assert classify(base, ours, theirs) == kind
    swap = {"ours only": "theirs only", "theirs only": "ours only"}
    assert classify(base, theirs, ours) == swap.get(kind, kind)


@pytest.mark.parametrize(("base", "ours", "theirs", "kind"), TABLE)
def test_one_tensor_among_others(base: Record | None, ours: Record | None, theirs: Record | None, kind: str) -> None:
    first, second, third = (manifest({"x": C} | ({"w": side} if side else {})) for side in (base, ours, theirs))
    merged = merge(first, second, third)
    assert parse(dump(merged.manifest)) == merged.manifest
    assert merged.classes.get("w", "unchanged") == kind
    assert bool(merged.conflicts) == (kind in CONFLICTS)
    expected = {"theirs only": theirs}.get(kind, ours)
    assert merged.manifest.records.get("w") == expected


def test_structure() -> None:
    base, values = manifest({"w": A, "x": C}), manifest({"w": B, "x": C})
    other = manifest({"w": A, "x": C}, "metadata")
    merged = merge(base, values, other)
    assert (merged.conflicts, merged.manifest) == ((), manifest({"w": B, "x": C}, "metadata"))
    third = manifest({"w": A, "x": C}, "more metadata")
    assert merge(base, other, third).conflicts == (STRUCTURE,)
    assert merge(base, other, third).manifest == other
    assert merge(base, other, third, "theirs").manifest == third
    assert merge(None, other, third).conflicts == (STRUCTURE,)


@pytest.mark.parametrize("prefer", ["ours", "theirs"])
def test_tensors_merge_where_only_the_rest_of_the_structure_is_in_conflict(prefer: Side) -> None:
    """As when both sides wrote another epoch into the file."""
    base = manifest({"w": A, "x": C, "y": A})
    ours, theirs = manifest({"w": B, "x": C, "y": B}, "one"), manifest({"w": A, "x": B, "y": C}, "two")
    merged = merge(base, ours, theirs, prefer)
    side = {"ours": ours, "theirs": theirs}[prefer]
    assert (merged.conflicts, merged.undecided, merged.whole, merged.lost) == ((STRUCTURE, "y"), ("y",), False, ())
    assert merged.manifest == Manifest(side.header, {"w": B, "x": B, "y": side.records["y"]})


def test_a_made_up_ancestor_of_another_geometry_is_the_base() -> None:
    base = manifest({"w": A, "x": A})
    ours, theirs = manifest({"w": B, "x": WIDE}, "one"), manifest({"w": C, "x": WIDE}, "two")
    merged = merge(base, ours, theirs, "base")
    assert (merged.manifest, merged.whole) == (base, True)


def chunks(*values: int) -> Manifest:
    """An opaque file."""
    plain = manifest({f"bytes/{at:04d}": record(value, (24,), "U8") for at, value in enumerate(values)}, "opaque")
    header = msgspec.structs.replace(plain.header, format="opaque", content=content_hash(plain.records))
    return Manifest(header, plain.records)


@pytest.mark.parametrize("base", [chunks(1, 2), None, manifest({"w": A})])
def test_opaque_files_are_never_mixed(base: Manifest | None) -> None:
    ours, theirs = chunks(3, 2), chunks(1, 4)
    for prefer, side in (("ours", ours), ("theirs", theirs)):
        merged = merge(base, ours, theirs, prefer)  # type: ignore[arg-type]  # a side
        assert (merged.manifest, merged.whole, merged.conflicts[0]) == (side, True, STRUCTURE)
        assert parse(dump(merged.manifest)) == side
    assert merge(base, ours, ours).conflicts == ()
    if base:
        assert (merge(base, ours, base).manifest, merge(base, base, ours).manifest) == (ours, ours)


def test_values_are_not_lost_where_the_other_side_became_opaque() -> None:
    base, ours, theirs = manifest({"w": A}), manifest({"w": B}), chunks(1)
    merged = merge(base, ours, theirs)
    assert (merged.manifest, merged.whole, merged.conflicts) == (ours, True, (STRUCTURE, "w"))


def test_both_add_a_tensor() -> None:
    base = manifest({"w": A})
    merged = merge(base, manifest({"w": A, "o": B}), manifest({"w": A, "t": C}))
    assert merged.conflicts == (STRUCTURE,)
    assert set(merged.manifest.records) == {"w", "o"}
    assert (merged.whole, merged.lost) == (True, ("t",))
    assert merged.without("theirs") == "1 change of theirs is not in it: t"


def test_reshaped_with_as_many_bytes_is_no_mixture() -> None:
    """Its header would say one shape and its record another."""
    base, ours, theirs = manifest({"w": A, "x": C}), manifest({"w": B, "x": C}), manifest({"w": WIDE, "x": B})
    merged = merge(base, ours, theirs)
    # It fits into the structure of ours, with nothing else lost.
    assert (merged.conflicts, merged.whole) == ((STRUCTURE, "w"), False)
    assert merged.manifest == Manifest(ours.header, {"w": B, "x": B})
    merged = merge(base, ours, theirs, "theirs")
    assert (merged.conflicts, merged.manifest) == (("w",), theirs)


def test_where_the_tensors_fit_nowhere_a_file_is_taken_whole() -> None:
    base, ours = manifest({"w": A, "x": A, "y": A}), manifest({"w": WIDE, "x": A, "y": A})
    theirs = manifest({"w": B, "x": B, "y": HALF})
    merged = merge(base, ours, theirs)
    assert (merged.conflicts, merged.manifest) == ((STRUCTURE, "w"), ours)
    assert (merged.whole, merged.lost) == (True, ("w", "x", "y"))
    assert merged.without("theirs") == "3 changes of theirs are not in it: w, x, y"
    merged = merge(base, ours, theirs, "theirs")
    assert (merged.manifest, merged.whole) == (theirs, False)


def sketched(of: Manifest, value: float) -> Manifest:
    """Such that tensors of nearly the same value are found to be."""
    sketch = (1.0 + value, *[1.0] * 63)
    made = {
        name: msgspec.structs.replace(r, shape=(64, 64), nodes=(_node(r),), norm=8.0, largest=3.0, sketch=sketch)
        for name, r in of.records.items()
    }
    return manifest(made)


def _node(one: Record) -> Node:
    return msgspec.structs.replace(one.nodes[0], shape=(64, 64))


def test_renamed_on_one_side_and_changed_on_the_other() -> None:
    base, ours, theirs = manifest({"a": A, "x": C}), manifest({"b": A, "x": C}), manifest({"a": B, "x": C})
    for first, second, kind in ((ours, theirs, "theirs only"), (theirs, ours, "ours only")):
        merged = merge(base, first, second)
        assert (merged.conflicts, merged.manifest) == ((), Manifest(ours.header, {"b": B, "x": C}))
        assert merged.classes == {"b": kind, "x": "unchanged"}
    assert merge(base, ours, theirs).versions == {"b": Versions("a", "b", "a"), "x": Versions("x", "x", "x")}


def test_renamed_only() -> None:
    base, ours = manifest({"a": A}), manifest({"b": A})
    assert (merge(base, ours, base).classes, merge(base, ours, base).manifest) == ({"b": "ours only"}, ours)
    assert (merge(base, base, ours).classes, merge(base, base, ours).manifest) == ({"b": "theirs only"}, ours)
    assert merge(base, ours, ours).classes == {"b": "same on both"}
    # Nothing of that is lost in silence either, where only a whole file can be taken.
    other = manifest({"a": A, "z": C})
    assert merge(base, other, ours).lost == ("b",)
    assert merge(base, ours, other).lost == ("z",)
    other = manifest({"a": B, "z": C})
    assert merge(base, other, ours).classes["b"] == "ours only"
    assert merge(base, other, ours).lost == ("b",)


def test_renamed_alike_on_both() -> None:
    base, ours, theirs = manifest({"a": A}), manifest({"b": A}), manifest({"b": B})
    base, ours, theirs = sketched(base, 0.0), sketched(ours, 0.0), sketched(theirs, 0.01)
    merged = merge(base, ours, theirs)
    assert (merged.classes, merged.conflicts) == ({"b": "theirs only"}, ())
    assert merged.manifest == theirs


def test_renamed_differently_is_a_conflict() -> None:
    base, ours, theirs = manifest({"a": A}), manifest({"b": A}), manifest({"c": A})
    merged = merge(base, ours, theirs)
    assert (merged.classes, merged.versions) == ({"b": "both changed"}, {"b": Versions("a", "b", "c")})
    assert (merged.manifest, merged.conflicts, merged.whole) == (ours, (STRUCTURE, "b"), False)
    merged = merge(base, ours, theirs, "theirs")
    assert (merged.manifest, merged.versions) == (theirs, {"c": Versions("a", "b", "c")})
    assert merge(base, ours, theirs, "base").manifest == base


def test_renamed_and_changed_against_changed() -> None:
    base, ours = sketched(manifest({"a": A}), 0.0), sketched(manifest({"b": B}), 0.01)
    theirs = sketched(manifest({"a": C}), 0.0)
    merged = merge(base, ours, theirs)
    assert (merged.classes, merged.conflicts) == ({"b": "both changed"}, ("b",))
    assert merged.manifest == ours
    merged = merge(base, ours, theirs, "theirs")
    assert merged.manifest == Manifest(ours.header, {"b": theirs.records["a"]})


def test_renamed_against_deleted() -> None:
    base, ours, theirs = manifest({"a": A, "x": C}), manifest({"b": A, "x": C}), manifest({"x": C})
    merged = merge(base, ours, theirs)
    assert (merged.classes["b"], merged.undecided) == ("deleted and changed", ("b",))
    assert merge(base, theirs, ours).versions["b"] == Versions("a", None, "b")


def test_renamed_to_what_the_other_side_has() -> None:
    """Then it is two tensors, as names have it."""
    base = manifest({"a": A, "c": C, "x": C})
    ours = manifest({"b": A, "c": C, "x": C})
    for theirs in (manifest({"a": A, "b": B, "c": C, "x": C}), manifest({"a": A, "b": C, "x": C})):
        merged = merge(base, ours, theirs)
        assert merged.versions["b"] == Versions(None, "b", "b")
        assert merged.classes["b"] == "added by both"


def measured(one: Record, norm: float, largest: float) -> Record:
    return msgspec.structs.replace(one, norm=norm, largest=largest)


def test_values_that_tell_nothing_are_not_taken_for_renamed() -> None:
    zeros = measured(A, 0.0, 0.0)
    ones = measured(record(8), 6**0.5, 1.0)
    for constant in (zeros, ones):
        base, ours = manifest({"old.bias": constant}), manifest({"new.bias": constant})
        merged = merge(base, ours, manifest({"old.bias": B}))
        assert merged.classes == {"new.bias": "ours only", "old.bias": "deleted and changed"}
    # Nor are those of which there are two.
    base, ours = manifest({"a.w": A, "b.w": A}), manifest({"c.w": A})
    assert merge(base, ours, base).classes == dict.fromkeys(("a.w", "b.w", "c.w"), "ours only")
    # But they go with others.
    base = manifest({"old.bias": zeros, "old.weight": B, "old.again.bias": zeros})
    ours = manifest({"new.bias": zeros, "new.weight": B, "new.again.bias": zeros})
    theirs = manifest({"old.bias": C, "old.weight": B, "old.again.bias": zeros})
    merged = merge(base, ours, theirs)
    assert merged.conflicts == ()
    assert merged.manifest.records == {"new.again.bias": zeros, "new.bias": C, "new.weight": B}
    ours = manifest({"new.bias": zeros, "other.weight": B, "new.again.bias": zeros})
    assert merge(base, ours, base).versions["old.bias"] == Versions("old.bias", None, "old.bias")


def test_tied_weights_renamed() -> None:
    """What a view is of has a new name, too."""
    base = manifest({"head": Record("F32", (2, 3), of="w"), "w": A})
    ours = manifest({"head": Record("F32", (2, 3), of="v"), "v": A})
    theirs = manifest({"head": Record("F32", (2, 3), of="w"), "w": B})
    for first, second in ((ours, theirs), (theirs, ours)):
        merged = merge(base, first, second)
        assert (merged.conflicts, merged.classes["head"]) == ((), "unchanged")
        assert merged.manifest.records == {"head": ours.records["head"], "v": B}


def test_tied_weights() -> None:
    tied = Record("F32", (2, 3), of="w")
    base, ours, theirs = (manifest({"head": tied, "w": value}) for value in (A, B, C))
    merged = merge(base, ours, theirs)
    assert merged.conflicts == ("w",)
    assert merged.classes["head"] == "unchanged"
    untied = manifest({"head": B, "w": A})
    merged = merge(base, untied, manifest({"head": tied, "w": C}))
    assert parse(dump(merged.manifest)) == merged.manifest
    # The value it shared was changed on the other side, and that is not what untying it meant.
    assert merged.manifest.records["head"] == B


def test_a_made_up_ancestor_takes_the_base() -> None:
    base, ours, theirs = (manifest({"w": value, "x": C}) for value in (A, B, record(7)))
    assert merge(base, ours, theirs, "base").manifest == base


records = st.builds(
    record,
    st.integers(0, 3),
    st.sampled_from([(2, 3), (3, 2), (6,), (2, 2)]),
    st.sampled_from(["F32", "I32", "BF16"]),
    st.integers(0, 1),
)
manifests = st.builds(
    manifest, st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), records, max_size=4), st.sampled_from([None, "m"])
)


def values(of: Manifest) -> dict[str, tuple[object, ...]]:
    return {name: (r.blake3, r.dtype, r.shape) for name, r in of.records.items()}


@given(manifests, manifests)
def test_one_side_wins_where_the_other_did_nothing(base: Manifest, changed: Manifest) -> None:
    ours = merge(base, changed, base)
    assert (ours.conflicts, ours.manifest) == ((), changed)
    theirs = merge(base, base, changed)
    assert theirs.conflicts == ()
    assert (values(theirs.manifest), theirs.manifest.header) == (values(changed), changed.header)
    both = merge(base, changed, changed)
    assert (both.conflicts, both.manifest) == ((), changed)


@given(st.none() | manifests, manifests, manifests, st.sampled_from(["ours", "theirs", "base"]))
def test_always_valid_and_fair(base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: str) -> None:
    merged, swapped = merge(base, ours, theirs, prefer), merge(base, theirs, ours)  # type: ignore[arg-type]  # a side
    assert parse(dump(merged.manifest)) == merged.manifest
    # Every tensor of every side is there once.
    for side, manifest_ in (("base", base), ("ours", ours), ("theirs", theirs)):
        found = [one.on(side) for one in merged.versions.values()]  # type: ignore[arg-type]  # a side
        assert sorted(filter(None, found)) == sorted(manifest_.records if manifest_ else ())
    swap = {"ours only": "theirs only", "theirs only": "ours only"}
    mirrored = {
        (one.base, one.theirs, one.ours): swap.get(swapped.classes[name], swapped.classes[name])
        for name, one in swapped.versions.items()
    }
    classes = {(one.base, one.ours, one.theirs): merged.classes[name] for name, one in merged.versions.items()}
    assert mirrored == classes
    assert set(merged.undecided) == {name for name, kind in merged.classes.items() if kind in CONFLICTS}
    # Either the other side's changes are in it, or they are named.
    if merged.whole:
        assert merged.conflicts[0] == STRUCTURE
    else:
        assert not merged.lost
        for name, kind in merged.classes.items():
            for side, manifest_ in (("ours only", ours), ("theirs only", theirs)):
                own = merged.versions[name].on(side.split()[0])  # type: ignore[arg-type]  # a side
                if kind == side:
                    assert same(merged.manifest.records.get(name), manifest_.records.get(own or ""))
    if not merged.conflicts and not swapped.conflicts:
        assert values(merged.manifest) == values(swapped.manifest)
    # Records and skeleton are those of one file.
    sources = [m for m in (base, ours, theirs) if m and m.header == merged.manifest.header]
    assert any(
        {n: (r.dtype, r.shape, r.of) for n, r in m.records.items()}
        == {n: (r.dtype, r.shape, r.of) for n, r in merged.manifest.records.items()}
        for m in sources
    )
