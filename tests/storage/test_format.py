"""What docs/format.md shows can be read: version 1 is a promise, and bytes written once are read for ever."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.storage.samples import restore, take
from theta_jupyter.checkpoints.base import MAX_REREADING, RULES
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.storage import codec, contest, manifest, snapshot
from theta_jupyter.storage.manifest import Header, Node, Place, Record, dump, parse

if TYPE_CHECKING:
    from theta_jupyter.storage.objects import ObjectStore

TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"^```{name}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture
def example(store: ObjectStore) -> manifest.Manifest:
    for part in block("objects").strip().split("\n\n"):
        object_id, _, data = part.partition("\n")
        assert store.write(bytes.fromhex(data)) == object_id
    return parse(block("manifest").encode())


def test_the_example_is_the_file(example: manifest.Manifest, store: ObjectStore) -> None:
    data = bytes.fromhex(block("file"))
    assert set(example.places()) == set(store)
    assert restore(example, store) == data
    assert dump(example) == block("manifest").encode()
    assert dump(take(data, store, example)) == block("manifest").encode()
    weight = example.records["weight"]
    assert weight.update == "delta"
    place = weight.nodes[-1].place
    payload = store.read(place.object, place.offset, place.stored)
    assert bytes(payload) == bytes.fromhex("020100000002" + 3 * "020100000000")


def test_the_example_is_made_today_as_it_was(example: manifest.Manifest, store: ObjectStore) -> None:
    """The skeleton aside: how zstd compresses may change."""
    data = bytes.fromhex(block("file"))
    again = take(data, store)
    assert again.header.blake3 == example.header.blake3
    assert again.records["bias"] == msgspec.structs.replace(example.records["bias"], nodes=again.records["bias"].nodes)


@pytest.mark.parametrize("kind", [Header, Record, Node, Place])
def test_every_field_is_described(kind: type[msgspec.Struct]) -> None:
    section = TEXT.split(f"### {kind.__name__}\n")[1].split("\n#")[0]
    described = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE))))
    assert described == {field.name for field in msgspec.structs.fields(kind)} - {"sketch"}


def test_every_key_of_the_skeleton_is_described() -> None:
    section = TEXT.split("## Skeleton\n")[1].split("### ")[0]
    keys = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert keys == [field.name for field in msgspec.structs.fields(snapshot.Skeleton)]


def test_every_rule_and_every_float_is_described() -> None:
    assert all(f"`{rule}`" in TEXT for rule in RULES)
    section = TEXT.split("### Residual\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z][^|]*?) *\| (\d+) *\| (\d+) *\|", section, re.MULTILINE)
    described = {name: (int(e), int(m)) for names, e, m in rows for name in names.split(", ")}
    assert described == {kind.name: (kind.exponent, kind.mantissa) for kind in DTYPES.values() if kind.is_float}


def test_the_numbers_are_those_of_the_code() -> None:
    """A change of one of these is a change of the contract, or of this page."""
    assert codec.CHUNK_WORDS == 1 << 18
    assert codec.MAX_SKELETON == 1 << 30
    assert (manifest.MAX_NODES, manifest.MAX_BASES, contest.BUDGET) == (64, 64, 1.6)
    assert (snapshot.OBJECT_BYTES, snapshot.BUNDLE_BYTES) == (64 << 10, 1 << 20)
    assert MAX_REREADING == 4
