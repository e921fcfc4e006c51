"""Every input that fuzzing has kept, and changes of each: refused in so many words, or accepted and consistent.

``python -m tests.fuzz TARGET`` finds new ones.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.__main__ import CORPUS
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGES = 8
"""Of each input."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_has_found(name: str) -> None:
    inputs = [*TARGETS[name].seeds(), *(path.read_bytes() for path in sorted((CORPUS / name).iterdir()))]
    for data in inputs:
        TARGETS[name].run(data)
        for changed in _changed(data, random.Random(len(data))):
            TARGETS[name].run(changed)


def _changed(data: bytes, source: random.Random) -> Iterator[bytes]:
    for _ in range(CHANGES if data else 0):
        here, there = sorted(source.randrange(len(data) + 1) for _ in range(2))
        yield data[:here] + bytes([source.randrange(256)]) + data[here + 1 :]
        yield data[:here] + data[there:]
        yield data[:there] + data[here:]


def test_every_corpus_is_of_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
