"""What was seen before, so that it is not worked out again: content to manifest, and storage to record.

Clean and smudge both fill it. Without it a modified file would be encoded anew on every ``git status``, and the same
content could come out as two different, equally valid manifests. It is an SQLite file in ``theta/cache``, so that many
processes can use it at once; it can be deleted at any time, and a damaged one deletes itself. SQLite does not notice
every kind of damage, and what is recalled goes into a commit, so each row carries a checksum.

Only the standard library is imported here: a filter that finds its answer needs nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Cache", "Forgetful", "Remembered", "name_of"]

_SCHEMA = """
    create table if not exists content (
        hash text primary key, manifest blob not null, objects text not null, bases text not null,
        compared text not null, checksum integer not null, used integer not null
    ) without rowid;
    create table if not exists record (
        hash text primary key, body blob not null, checksum integer not null, used integer not null
    ) without rowid;
    create index if not exists content_used on content (used);
    create index if not exists record_used on record (used);
"""
_NAME = "seen-2.sqlite"
"""A number for the schema: versions that differ in it do not disturb each other."""
_NOW = "(select 1 + coalesce(max(used), 0) from content)"
_PATIENCE = 10
"""Seconds to wait for another process."""
_KEEP = {"content": 256, "record": 200_000}
"""Entries kept, those written last: of manifests (up to megabytes each) and of records."""


class Remembered(NamedTuple):
    """The manifest of some content.

    Parameters
    ----------
    manifest
        Its text.
    objects
        Size by id of what it needs.
    bases
        Ids of those objects that hold tensors of other versions, which this one rests on.
    compared
        Names (:func:`name_of`) of other manifests that are known to be of other content.
    """

    manifest: bytes
    objects: Mapping[str, int]
    bases: frozenset[str]
    compared: frozenset[str] = frozenset()


class Forgetful:
    """A database that never fails: whatever happens to it, it forgets.

    Parameters
    ----------
    path
        Its file, in ``theta/cache`` of the common git dir; created when first written to.
    schema
        Makes the tables that are not there.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path, self._schema = path, schema

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Look up rows; none, if they cannot be had."""
        rows: list[tuple[Any, ...]] = []
        with self._suppressed():
            if self._path.exists():
                with contextlib.closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as connection:
                    rows = connection.execute(sql, values).fetchall()
        return rows

    def write(self, statements: Iterable[tuple[str, Iterable[Sequence[Any]]]]) -> None:
        """Execute statements, each for many rows of values, all or none."""
        with self._suppressed(write=True):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as connection, connection:
                # What a power cut takes away is only a cache.
                connection.execute("pragma synchronous = off")
                connection.executescript(self._schema)
                for sql, rows in statements:
                    connection.executemany(sql, rows)

    @contextlib.contextmanager
    def _suppressed(self, *, write: bool = False) -> Iterator[None]:
        """Go on without, whatever happens inside."""
        try:
            yield
        except OSError:
            return
        except sqlite3.DatabaseError as error:
            # Locked for long, read-only, no room: no reason to remove it. A statement that makes no sense is none for a
            # reader, whose table may only not be there yet.
            code = error.sqlite_errorcode
            if not isinstance(error, sqlite3.OperationalError) or (write and code == sqlite3.SQLITE_ERROR):
                with contextlib.suppress(OSError):
                    self._path.unlink()


class Cache(Forgetful):
    """The cache of one repository.

    Parameters
    ----------
    folder
        ``theta/cache`` in the common git dir.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / _NAME, _SCHEMA)

    def content(self, digest: str) -> Remembered | None:
        """Recall the manifest of a file with this BLAKE3."""
        row = self._recall("select manifest, objects, bases, compared, checksum from content where hash = ?", digest)
        if row is None:
            return None
        manifest, objects, bases, compared = row
        sizes = {name: int(size) for name, size in (pair.split(":") for pair in objects.split())}
        return Remembered(manifest, sizes, frozenset(bases.split()), frozenset(compared.split()))

    def record(self, digest: str) -> bytes | None:
        """Recall the record of a storage with this BLAKE3, as it was given."""
        row = self._recall("select body, checksum from record where hash = ?", digest)
        return row[0] if row else None

    def remember(self, digest: str, seen: Remembered, records: Iterable[tuple[str, bytes]]) -> None:
        """Keep a manifest and its records."""
        objects = " ".join(f"{name}:{size}" for name, size in seen.objects.items())
        entry = (digest, seen.manifest, objects, " ".join(sorted(seen.bases)), " ".join(sorted(seen.compared)))
        statements: list[tuple[str, Any]] = [
            # S608 takes the constants for something a user wrote.
            (f"insert or replace into content values (?, ?, ?, ?, ?, ?, {_NOW})", [(*entry, _checksum(*entry))]),  # noqa: S608
            (
                f"insert or replace into record values (?, ?, ?, {_NOW})",  # noqa: S608
                [(name, body, _checksum(name, body)) for name, body in records],
            ),
        ]
        for table, keep in _KEEP.items():
            last_kept = f"(select used from {table} order by used desc limit 1 offset ?)"  # noqa: S608
            statements.append((f"delete from {table} where used < {last_kept}", [(keep - 1,)]))  # noqa: S608
        self.write(statements)

    def _recall(self, sql: str, digest: str) -> tuple[Any, ...] | None:
        """Look up one row, whose last column is the checksum of the others."""
        for *columns, checksum in self.read(sql, (digest,)):
            if checksum == _checksum(digest, *columns):
                return tuple(columns)
        return None


def name_of(manifest: bytes) -> str:
    """Name the text of a manifest."""
    return hashlib.sha256(manifest).hexdigest()


def _checksum(*columns: Any) -> int:
    total = 0
    for column in columns:
        if not isinstance(column, str | bytes):
            return -1  # Only damage can put anything else there.
        data = column.encode() if isinstance(column, str) else column
        total = zlib.crc32(b"%d " % len(data) + data, total)
    return total
