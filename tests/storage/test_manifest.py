"""A manifest can be written and read back, to the letter; anything else is refused, always with ManifestError."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.samples import flushed
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import ManifestError
from theta_jupyter.storage import manifest as module
from theta_jupyter.storage.manifest import (
    MAGIC,
    Header,
    Manifest,
    Node,
    Place,
    Record,
    content_hash,
    dump,
    looks_like_manifest,
    parse,
)
from theta_jupyter.storage.sketch import Summary

# Valid manifests.

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
floats = st.floats(allow_nan=False, allow_infinity=False)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
identifiers = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,9}\Z")
awkward = st.text(st.sampled_from("ab/0.\"'\\-<>& {}é\N{SNOWMAN}\N{GRINNING FACE}=|"), min_size=1, max_size=12)
names = (awkward | st.text(min_size=1, max_size=8)).filter(
    lambda name: name.isprintable() and not name.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||"))
)


@st.composite
def places(draw: st.DrawFn) -> Place:
    """Draw a place; the size of an object decides its name, so that no two disagree about it."""
    stored, offset, rest = (draw(st.integers(0, 1 << 40)) for _ in range(3))
    whole = draw(st.booleans())
    size = offset + stored + (0 if whole else rest)
    return Place(sha256(b"%d" % size).hexdigest(), size, offset, None if whole else stored)


@st.composite
def node_lists(draw: st.DrawFn, dtype: str, count: int) -> tuple[Node, ...]:
    """Draw the nodes of a tensor of so many elements."""
    bases = tuple(Node(dtype, (count,), draw(places())) for _ in range(draw(st.integers(0, 3))))
    if not bases:
        return (Node(dtype, (count, 1), draw(places())),)
    place = draw(places())
    used = tuple(draw(st.permutations(range(len(bases)))))[: draw(st.integers(1, len(bases)))]
    return (*bases, Node(dtype, (count,), place, draw(identifiers), used, draw(st.integers(0, place.stored))))


@st.composite
def summaries(draw: st.DrawFn, *, large: bool) -> Summary | None:
    if draw(st.booleans()):
        return None
    sums = draw(st.lists(float32s, min_size=4, max_size=4)) * 16
    sketch = tuple(sums) if large and draw(st.booleans()) else None
    return Summary(abs(draw(floats)), draw(floats), abs(draw(floats)), draw(st.integers(0, 100)), sketch)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    records: dict[str, Record] = {}
    for name in draw(st.lists(names, unique=True, max_size=5)):
        dtype = draw(st.sampled_from(sorted(DTYPES)))
        count = 8 * draw(st.sampled_from([0, 1, 3, 1000, 1 << 40]))
        shape = draw(st.sampled_from([(count,), (2, count // 2), (count, 1, 1)]))
        size = count * DTYPES[dtype].bits // 8
        record = Record(dtype, shape, draw(digests), draw(node_lists(dtype, count)) if count else ())
        record = record.with_summary(draw(summaries(large=size > 4096)))
        if count and DTYPES[dtype].bits >= 8 and draw(st.booleans()):
            record = msgspec.structs.replace(record, shape=(count // 2, 2), stride=(1, count // 2), storage=size)
        records[name] = record
        if draw(st.booleans()):
            records[name + "~"] = Record(dtype, (count // 8, 8), of=name)
    size = sum(record.nbytes for record in records.values() if not record.of)
    header = Header(draw(identifiers), size + draw(st.integers(0, 1 << 20)), draw(digests), draw(places()))
    return Manifest(header, dict(sorted(records.items(), key=lambda item: item[0].encode())))


@given(manifests())
@settings(max_examples=200, deadline=None)
def test_what_is_written_can_be_read(manifest: Manifest) -> None:
    text = dump(manifest)
    assert looks_like_manifest(text)
    found = parse(text)
    assert found == manifest
    assert list(found.records) == list(manifest.records)
    assert dump(found) == text
    # Every fourth line is a name, then two that are indented, then a blank one.
    lines = text.decode().split("\n")
    assert lines[0] == MAGIC
    assert lines[3::4] == list(manifest.records)
    assert all(line[0] == " " for line in lines[4::4] + lines[5::4])
    assert not any(lines[2::4])


@given(manifests())
@settings(max_examples=30, deadline=None)
def test_flushing_subnormal_numbers_changes_no_letter(manifest: Manifest) -> None:
    text = dump(manifest)
    with flushed():
        assert dump(manifest) == text
        assert dump(parse(text)) == text


def test_sums_so_small_that_they_would_be_flushed() -> None:
    summary = Summary(5e-324, -5e-324, 5e-324, 0, (2.0**-149, -(2.0**-127)) * 32)
    record = Record("F32", (4096,), "0" * 64, (Node("F32", (4096,), Place("0" * 64, 9)),)).with_summary(summary)
    manifest = Manifest(Header("x", 1 << 14, "0" * 64, Place("0" * 64, 9)), {"a": record})
    text = dump(manifest)
    assert parse(text) == manifest
    with flushed():
        assert dump(manifest) == text
        again = dump(parse(text))
    assert again == text


# One that can be spoiled.

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
WHOLE = {"dtype": "F32", "shape": [2], "place": {"object": A, "size": 8}}
DELTA = {"dtype": "F32", "shape": [2], "place": {"object": B, "size": 4}, "update": "delta", "bases": [0]}
TENSOR = {"dtype": "F32", "shape": [2], "blake3": C, "nodes": [WHOLE, DELTA]}
HEADER = {"format": "torch", "size": 100, "blake3": C, "skeleton": {"object": C, "size": 50}}
VIEW = {"dtype": "F32", "shape": [1], "offset": 4, "of": "a"}


def text(records: Any, header: Any = HEADER) -> bytes:
    """Write a manifest that may be wrong; what is a string already is taken as it is."""

    def body(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    pairs = records.items() if isinstance(records, dict) else records
    parts = [f"{MAGIC}\n {body(header)}\n", *(f"{name}\n {body(record)}\n -\n" for name, record in pairs)]
    return "\n".join(parts).encode("utf-8", "surrogatepass")


GOOD = {"a": TENSOR, "b": VIEW}


def test_the_one_to_be_spoiled_is_good() -> None:
    manifest = parse(text(GOOD))
    assert manifest.places() == {A: 8, B: 4, C: 50}
    assert manifest.owner("b") is manifest.records["a"]
    assert [record.update for record in manifest.records.values()] == ["delta", "shared"]
    assert not manifest.opaque
    assert dump(manifest) == text(GOOD)


def refuse(data: bytes, message: str | None = None) -> None:
    with pytest.raises(ManifestError, match=message):
        parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"theta",
        b"\xef\xbb\xbf" + text(GOOD),
        b" " + text(GOOD),
        text(GOOD).replace(b"theta manifest 1\n", b"theta manifest 2\n"),
        text(GOOD).replace(b"theta manifest 1\n", b"theta manifest 1 \n"),
        text(GOOD).replace(b"theta manifest 1\n", b"theta manifest 10\n"),
        text(GOOD).replace(b"\n", b"\r\n"),
        text(GOOD).replace(b"\n", b"\r"),
        text(GOOD) + b"\n",
        text(GOOD) + b"\n\n",
        text(GOOD) + b"x",
        text(GOOD)[:-1],
        text(GOOD).replace(b"\n\n", b"\n"),
        text(GOOD).replace(b"\n\n", b"\n \n"),
        text(GOOD).replace(b"\n\n", b"\n\n\n"),
        text(GOOD).replace(b"\n {", b"\n{"),
        text(GOOD).replace(b"\n {", b"\n\t{"),
        text(GOOD).replace(b"\n -", b"\n-"),
        text(GOOD).replace(b" -\n", b" \n"),
        text(GOOD).replace(b" -\n", b" AAAA\n"),
        text(GOOD).replace(b" -\n", b" " + 344 * b"A" + b"\n"),
        text(GOOD) + b"\xff\xfe",
        text(GOOD).replace(b"a\n", b"\xed\xa0\x80\n"),
        text(GOOD).replace(b"a\n", b"\xc0\x80\n"),
        text(GOOD) * 2,
        text(GOOD) + b"\0",
    ],
)
def test_a_text_that_is_no_manifest_is_refused(data: bytes) -> None:
    refuse(data)


def test_windows_line_endings_are_called_so() -> None:
    refuse(text(GOOD).replace(b"\n", b"\r\n"), "Windows line endings")


def test_a_text_cut_anywhere_is_refused() -> None:
    whole = text(GOOD)
    for length in range(len(whole)):
        data = whole[:length]
        # Cut after a record, it is a smaller manifest; the skeleton will know.
        if data not in (text({}), text({"a": TENSOR})):
            refuse(data)


@pytest.mark.parametrize(
    "name",
    [
        "",
        *(f"a{control}b" for control in "\t\r\0\x1b\x7f\x85\xa0\u2028\u2029\u202e\ufeff\ud800"),
        "a" * 4097,
        "<<<<<<< ours",
        "=======",
        ">>>>>>> theirs",
        "||||||| base",
    ],
)
def test_a_name_that_does_not_fit_on_a_line_is_refused(name: str) -> None:
    refuse(text({name: TENSOR}))


@pytest.mark.parametrize("name", ["../../etc/passwd", "--upload-pack=x", "<script>alert(1)</script>", "a b", " a", "é"])
def test_a_name_that_is_only_strange_is_kept(name: str) -> None:
    assert list(parse(text({name: TENSOR})).records) == [name]


@pytest.mark.parametrize("order", ["ba", "aa", "aba", "éa"])
def test_names_are_sorted_and_come_once(order: str) -> None:
    refuse(text([(name, TENSOR) for name in order]), "out of order")


def test_names_are_sorted_by_their_bytes() -> None:
    """UTF-16, which other languages sort by, has these the other way round."""
    parse(text([("\uffee", TENSOR), ("\U0001f600", TENSOR)]))
    refuse(text([("\U0001f600", TENSOR), ("\uffee", TENSOR)]))


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", "=======", ">>>>>>> theirs", "||||||| 1234567"])
def test_conflict_markers_are_called_so(marker: str) -> None:
    lines = text(GOOD).decode().split("\n")
    for at in range(1, len(lines)):
        refuse("\n".join([*lines[:at], marker, *lines[at:]]).encode(), "conflict markers")


def changed(record: Any, **fields: Any) -> Any:
    return {**record, **fields}


def of(*nodes: Any, **fields: Any) -> Any:
    return changed(TENSOR, nodes=list(nodes), **fields)


DEEP = changed(DELTA, bases=[1])
DEEPER = changed(DELTA, bases=[2])
HUGE = 1 << 61
PLACE: Any = WHOLE["place"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        # Nodes.
        (of(changed(WHOLE, update="delta", bases=[0])), "does not come before"),
        (of(changed(WHOLE, update="delta", bases=[1]), WHOLE), "does not come before"),
        (of(WHOLE, changed(DELTA, bases=[-1])), "cannot be read"),
        (of(WHOLE, changed(DELTA, bases=[0, 0])), "twice"),
        (of(WHOLE, DELTA, DEEP, DEEPER), "more than 2 deep"),
        (of(WHOLE, changed(DELTA, bases=[])), "both an update and bases"),
        (of(WHOLE, changed(DELTA, update="")), "cannot be read"),
        (of(WHOLE, {key: value for key, value in DELTA.items() if key != "update"}), "both an update and bases"),
        (of(WHOLE, changed(DELTA, update="a/b")), "cannot be read"),
        (of(WHOLE, changed(DELTA, update="delta\n")), "cannot be read"),
        (of(WHOLE, changed(DELTA, parameters=5)), "more parameters"),
        (of(changed(WHOLE, parameters=1)), "more parameters"),
        (of(), "has 0 nodes"),
        (of(*[WHOLE] * 65), "has 65 nodes"),
        (of(changed(WHOLE, shape=[3])), "ends in a node of 12 bytes"),
        (of(changed(WHOLE, shape=[0]), DELTA), "has no values"),
        (of(changed(WHOLE, shape=[HUGE]), DELTA), "needs"),
        (of(changed(WHOLE, shape=[1000]), DELTA), "much larger than itself"),
        (of(changed(WHOLE, shape=[HUGE] * 64), DELTA), "needs"),
        (of(changed(WHOLE, shape=[1] * 65), DELTA), "absurd shape"),
        (of(changed(WHOLE, shape=[-1]), DELTA), "cannot be read"),
        (of(changed(WHOLE, dtype="F33"), DELTA), "unknown dtype"),
        (of(changed(WHOLE, dtype="F4", shape=[1]), DELTA), "whole bytes"),
        # Places.
        (of(changed(WHOLE, place=changed(PLACE, offset=9))), "outside object"),
        (of(changed(WHOLE, place=changed(PLACE, offset=4, length=5))), "outside object"),
        (of(changed(WHOLE, place=changed(PLACE, length=9))), "outside object"),
        (of(changed(WHOLE, place=changed(PLACE, offset=HUGE, length=HUGE))), "outside object"),
        (of(changed(WHOLE, place=changed(PLACE, size=-1))), "cannot be read"),
        (of(changed(WHOLE, place=changed(PLACE, size=1 << 62))), "cannot be read"),
        (of(changed(WHOLE, place=changed(PLACE, object=A[1:]))), "cannot be read"),
        (of(changed(WHOLE, place=changed(PLACE, object=A + "\n"))), "cannot be read"),
        (of(changed(WHOLE, place=changed(PLACE, object="../" + A[3:]))), "cannot be read"),
        (of(changed(WHOLE, place=changed(PLACE, object=A.upper()))), "cannot be read"),
        (of(changed(WHOLE, place=changed(PLACE, path="x"))), "cannot be read"),
        (of(WHOLE, changed(DELTA, place={"object": A, "size": 4})), "another size"),
        (of(changed(WHOLE, place={"object": C, "size": 8})), "another size"),
        # The record itself.
        (changed(TENSOR, dtype="F33"), "unknown dtype"),
        (changed(TENSOR, dtype="f32"), "unknown dtype"),
        (changed(TENSOR, shape=[HUGE]), "ends in a node|needs"),
        (changed(TENSOR, shape=[1 << 62]), "cannot be read"),
        (changed(TENSOR, shape=[HUGE] * 64), "ends in a node|needs"),
        (changed(TENSOR, shape=[1] * 65), "absurd shape"),
        (changed(TENSOR, shape=[-2]), "cannot be read"),
        (changed(TENSOR, shape=[2.5]), "cannot be read"),
        (changed(TENSOR, shape=2), "cannot be read"),
        (changed(TENSOR, shape=None), "cannot be read"),
        (changed(TENSOR, shape=[0]), "has 2 nodes"),
        (changed(TENSOR, blake3=""), "no hash"),
        (changed(TENSOR, blake3=C[1:]), "no hash"),
        (changed(TENSOR, blake3=C + "\n"), "no hash"),
        (changed(TENSOR, offset=4), "needs 12 bytes"),
        (changed(TENSOR, offset=-4), "cannot be read"),
        (changed(TENSOR, stride=[2]), "needs 12 bytes"),
        (changed(TENSOR, stride=[HUGE]), "needs"),
        (changed(TENSOR, stride=[-1]), "cannot be read"),
        (changed(TENSOR, stride=[1, 1]), "stride"),
        (changed(TENSOR, storage=4), "needs 8 bytes"),
        (changed(TENSOR, storage=12), "ends in a node of 8 bytes"),
        (changed(TENSOR, dtype="F4", shape=[3]), "whole bytes"),
        (changed(TENSOR, dtype="F4", shape=[2], stride=[1], storage=8), "stride"),
        (changed(TENSOR, sketch=[0.0] * 64), "wrong place"),
        (changed(TENSOR, norm=-1), "cannot be read"),
        (changed(TENSOR, norm=10**400), "cannot be read"),
        (changed(TENSOR, largest=-1), "cannot be read"),
        (changed(TENSOR, mean="NaN"), "cannot be read"),
        (changed(TENSOR, mean=math.nan), "cannot be read"),
        (changed(TENSOR, norm=math.inf), "cannot be read"),
        (changed(TENSOR, not_finite=-1), "cannot be read"),
        (changed(TENSOR, unknown=1), "cannot be read"),
        # No record at all.
        ({}, "cannot be read"),
        ([], "cannot be read"),
        ("", "cannot be read"),
        ("null", "cannot be read"),
        ("{", "cannot be read"),
        ('{"dtype":"F32"}', "cannot be read"),
        ('{"dtype":"F32","shape":[]} x', "cannot be read"),
        ('{"dtype":"F32","shape":[1e999]}', "cannot be read"),
        ('{"dtype":"F32","shape":[' + "9" * 5000 + "]}", "cannot be read"),
        ('{"dtype":"\\ud800","shape":[]}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"dtype":"F32","shape":' + "[" * 100_000, "cannot be read"),
        ('{"x":' * 100_000, "cannot be read"),
        ('{"nodes":[' * 10_000, "cannot be read"),
    ],
)
def test_a_record_that_cannot_be_is_refused(record: Any, message: str) -> None:
    refuse(text({"a": record}), message)


@pytest.mark.parametrize(
    "view",
    [
        changed(VIEW, of="absent"),
        changed(VIEW, of="b"),
        changed(VIEW, of="c"),
        changed(VIEW, nodes=[WHOLE]),
        changed(VIEW, blake3=C),
        changed(VIEW, storage=8),
        changed(VIEW, offset=8),
        changed(VIEW, shape=[HUGE]),
        changed(VIEW, dtype="F64", offset=1),
        changed(VIEW, shape=[2, 2], stride=[1, 2]),
    ],
)
def test_a_view_of_nothing_is_refused(view: Any) -> None:
    refuse(text({"a": TENSOR, "b": view, "c": VIEW}), "tensor 'b'")


@pytest.mark.parametrize(
    "header",
    [
        changed(HEADER, format=""),
        changed(HEADER, format="<b>"),
        changed(HEADER, format="torch\n"),
        changed(HEADER, format="x" * 65),
        changed(HEADER, size=-1),
        changed(HEADER, size=1 << 62),
        changed(HEADER, size=7),
        changed(HEADER, size=None),
        changed(HEADER, blake3=C + "\n"),
        changed(HEADER, skeleton={"object": C, "size": 4, "offset": 5}),
        changed(HEADER, skeleton={"object": A, "size": 4}),
        changed(HEADER, author="me"),
        {},
        "",
        "x" * 1000,
        "[" * 100_000,
    ],
)
def test_a_header_that_cannot_be_is_refused(header: Any) -> None:
    refuse(text(GOOD, header))


def test_the_message_tells_tensor_and_line() -> None:
    refuse(text({"a": TENSOR, "b": "x"}), r"tensor 'b' \(line 9\)")
    refuse(text({"a": TENSOR, "b": changed(TENSOR, blake3="")}), "tensor 'b' has no hash")


def test_the_chunks_of_an_opaque_file_belong_together() -> None:
    header = changed(HEADER, format="opaque")
    records = {name: msgspec.convert(TENSOR, Record) for name in ("a", "b")}
    content = content_hash(records)
    good = {"a": TENSOR, "b": TENSOR}
    assert parse(text(good, changed(header, content=content))).opaque
    parse(text(good, changed(HEADER, content=content)))
    refuse(text(good, header), "chunks are not those of one file")
    for one in (header, HEADER):
        refuse(text(changed(good, b=changed(TENSOR, blake3=A)), changed(one, content=content)), "not those of one")
        refuse(text({"a": TENSOR}, changed(one, content=content)), "not those of one")


def test_a_small_tensor_has_no_sketch() -> None:
    refuse(text({"a": TENSOR}).replace(b" -\n", b" " + 341 * b"A" + b"A==\n"), "sketch")


# Whatever a text merge, a stranger or a broken disk makes of it.


@given(manifests(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_mutated_text_is_refused_or_stable(manifest: Manifest, data: st.DataObject) -> None:
    mutated = bytearray(dump(manifest))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated)))
        match data.draw(st.sampled_from(["set", "delete", "insert", "copy", "line"])):
            case "set":
                mutated[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "delete":
                del mutated[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                piece = st.sampled_from(
                    [b"0", b"-", b"9" * 30, b"\n", b"\n\n", b'"', b"null", b"[]", b"{", b" ", b"e9"]
                )
                mutated[at:at] = data.draw(piece)
            case "copy":
                source = data.draw(st.integers(0, len(mutated)))
                mutated[at:at] = mutated[source : source + data.draw(st.integers(1, 200))]
            case _:
                lines = bytes(mutated).split(b"\n")
                line = data.draw(st.integers(0, len(lines) - 1))
                lines[line : line + 1] = data.draw(st.sampled_from([[], [lines[line]] * 2, [b""], [lines[line][:20]]]))
                mutated = bytearray(b"\n".join(lines))
    try:
        found = parse(bytes(mutated))
    except ManifestError:
        return
    written = dump(found)
    assert parse(written) == found
    assert dump(parse(written)) == written


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(deadline=None)
def test_noise_is_refused(noise: bytes) -> None:
    refuse(noise)
    refuse(MAGIC.encode() + b"\n" + noise)


def test_a_manifest_may_be_empty() -> None:
    empty = Manifest(Header("opaque", 0, C, Place(C, 9), content_hash({})), {})
    assert parse(dump(empty)) == empty
    assert empty.opaque


def test_two_changes_merge_as_text() -> None:
    """What Git does: between two records there are always lines that nobody changed."""
    records = {name: msgspec.convert(TENSOR, Record) for name in ("a", "b", "c")}
    base = Manifest(msgspec.convert(HEADER, Header), records)
    ours = Manifest(base.header, {**records, "a": msgspec.structs.replace(records["a"], blake3=A)})
    theirs = Manifest(base.header, {**records, "b": msgspec.structs.replace(records["b"], blake3=B)})
    lines = [dump(one).split(b"\n") for one in (base, ours, theirs)]
    changed_lines = [[at for at, line in enumerate(side) if line != lines[0][at]] for side in lines[1:]]
    assert changed_lines == [[4], [8]]


def test_what_cannot_be_summarized_has_no_numbers() -> None:
    record = msgspec.convert(TENSOR, Record).with_summary(Summary(1.0, 2.0, 3.0, 4))
    assert (record.norm, record.mean, record.largest, record.not_finite) == (1.0, 2.0, 3.0, 4)
    assert record.with_summary(None) == msgspec.convert(TENSOR, Record)
    assert module.MAX_BASES >= 16  # An F64 base of an F4 tensor.
