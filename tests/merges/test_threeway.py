"""The three-way merge of manifests: every class, and that the result is always a valid manifest."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theta_jupyter.merges.threeway import CONFLICTS, STRUCTURE, classify, merge
from theta_jupyter.storage.manifest import Header, Manifest, Node, Place, Record, dump, parse


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
    return Manifest(Header("safetensors", 10_000, skeleton, Place(skeleton, 50)), ordered)


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


def test_both_add_a_tensor() -> None:
    base = manifest({"w": A})
    merged = merge(base, manifest({"w": A, "o": B}), manifest({"w": A, "t": C}))
    assert merged.conflicts == (STRUCTURE,)
    assert set(merged.manifest.records) == {"w", "o"}


def test_reshaped_with_as_many_bytes_is_no_mixture() -> None:
    """Its header would say one shape and its record another."""
    base, ours, theirs = manifest({"w": A, "x": C}), manifest({"w": B, "x": C}), manifest({"w": WIDE, "x": B})
    merged = merge(base, ours, theirs)
    assert (merged.conflicts, merged.manifest) == (("w",), ours)
    assert merge(base, ours, theirs, "theirs").manifest.records["w"] == WIDE


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
    assert set(merged.conflicts) == set(swapped.conflicts)
    swap = {"ours only": "theirs only", "theirs only": "ours only"}
    assert {name: swap.get(kind, kind) for name, kind in swapped.classes.items()} == merged.classes
    if not merged.conflicts:
        assert values(merged.manifest) == values(swapped.manifest)
    # Records and skeleton are those of one file.
    sources = [m for m in (base, ours, theirs) if m and m.header == merged.manifest.header]
    assert any(
        {n: (r.dtype, r.shape, r.of) for n, r in m.records.items()}
        == {n: (r.dtype, r.shape, r.of) for n, r in merged.manifest.records.items()}
        for m in sources
    )
