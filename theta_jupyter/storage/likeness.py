"""Which of the tensors that are known is like this one: what a renamed tensor, or a new file, may rest on.

Sketches of the tensors of some manifests lie in a database of their own in ``theta/cache``, by shape, so that the
nearest of a hundred thousand is found in milliseconds, and no manifest need be read for it. Like every cache it may be
deleted at any time, and is believed in nothing: what it names is looked up in its manifest.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from theta_jupyter.storage.cache import Forgetful
from theta_jupyter.storage.sketch import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from theta_jupyter.storage.manifest import Record

__all__ = ["Found", "Likeness"]

_NAME = "likeness-1.sqlite"
_SCHEMA = """
    create table if not exists source (blob text primary key, used integer not null) without rowid;
    create table if not exists tensor (
        shape text not null, blob text not null, name text not null, sketch blob not null,
        primary key (shape, blob, name)
    ) without rowid;
    create index if not exists tensor_blob on tensor (blob);
"""
_KEEP = 128
"""Manifests that are kept, those used last."""
_NOW = "(select 1 + coalesce(max(used), 0) from source)"


class Found(NamedTuple):
    """A tensor that is like another.

    Parameters
    ----------
    blob, name
        Of its manifest, and in it.
    distance
        L2 norm of the difference of the two, as their sketches have it.
    """

    blob: str
    name: str
    distance: float


class Likeness:
    """Tensors of some manifests.

    Parameters
    ----------
    folder
        ``theta/cache`` in the common git dir.
    """

    def __init__(self, folder: Path) -> None:
        self._database = Forgetful(folder / _NAME, _SCHEMA)
        self._lock = threading.Lock()
        self._groups: dict[tuple[str, frozenset[str]], tuple[list[tuple[str, str]], npt.NDArray[np.float32]]] = {}

    def missing(self, blobs: Iterable[str]) -> list[str]:
        """Manifests whose tensors are not known here."""
        wanted = list(blobs)
        marks = ",".join("?" * len(wanted))
        rows = self._database.read(f"select blob from source where blob in ({marks})", wanted)  # noqa: S608 - marks only
        known = {blob for (blob,) in rows}
        return [blob for blob in wanted if blob not in known]

    def add(self, blob: str, records: Mapping[str, Record]) -> None:
        """Take the tensors of a manifest in: those that have a sketch."""
        rows = [
            (_shape(record), blob, name, np.array(record.sketch, "<f4").tobytes())
            for name, record in records.items()
            if record.sketch is not None and record.nodes
        ]
        old = f"select blob from source where used <= (select max(used) from source) - {_KEEP}"  # noqa: S608 - a number
        self._database.write(
            [
                (f"insert or replace into source values (?, {_NOW})", [(blob,)]),  # noqa: S608 - a constant
                ("insert or replace into tensor values (?, ?, ?, ?)", rows),
                (f"delete from tensor where blob in ({old})", [()]),  # noqa: S608 - constants
                (f"delete from source where blob in ({old})", [()]),  # noqa: S608 - constants
            ]
        )

    def nearest(self, blobs: Iterable[str], record: Record, count: int) -> list[Found]:
        """Tensors of these manifests that have the shape of a record, the nearest first."""
        if record.sketch is None:
            return []
        names, sketches = self._group(_shape(record), frozenset(blobs))
        if not names:
            return []
        own = np.array(record.sketch, np.float32)
        with np.errstate(over="ignore"):
            distances = np.sqrt(np.sum(np.square(sketches - own), axis=1, dtype=np.float64))
        best = np.argsort(distances, kind="stable")[:count]
        return [
            Found(blob, name, float(distances[index]))
            for index in best
            if math.isfinite(distances[index])
            for blob, name in [names[index]]
        ]

    def _group(self, shape: str, blobs: frozenset[str]) -> tuple[Sequence[tuple[str, str]], npt.NDArray[np.float32]]:
        with self._lock:
            key = shape, blobs
            if key not in self._groups:
                marks = ",".join("?" * len(blobs))
                sql = f"select blob, name, sketch from tensor where shape = ? and blob in ({marks}) order by name"  # noqa: S608 - marks only
                rows = [row for row in self._database.read(sql, (shape, *sorted(blobs))) if len(row[2]) == 4 * BUCKETS]
                data = b"".join(row[2] for row in rows)
                self._groups[key] = (
                    [(blob, name) for blob, name, _ in rows],
                    np.frombuffer(data, "<f4").reshape(len(rows), BUCKETS),
                )
            return self._groups[key]


def _shape(record: Record) -> str:
    return "x".join(map(str, record.shape))
