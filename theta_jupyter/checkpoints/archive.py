"""Zip archives, as checkpoint formats use them: a container of members that are stored, not compressed.

The standard library can list a zip, but does not say where the checksums stand, and these are bytes that follow from
the tensors. So the directory is read here, and nothing else is: no member is ever decompressed. Where two parts of an
archive say different things (the directory and a member's own header, say), readers disagree about what is in it;
such an archive is refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from theta_jupyter.checkpoints.base import Derived, Span
from theta_jupyter.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Member", "checksums", "members"]

# Signatures first. Then, of an entry of the directory: two versions, flags, method, time, date, CRC, stored size, size,
# the lengths of name, extra and comment, disk, two sets of attributes, where the member's own header is.
_ENTRY = struct.Struct("<4s6HIII5HII")
# Of a member's own header: version, flags, method, time, date, CRC, stored size, size, lengths of name and extra.
_HEADER = struct.Struct("<4s5HIIIHH")
# Of the end of the directory: this disk, its disk, entries here, entries, size, start, length of the comment.
_END = struct.Struct("<4s4HIIH")
# The same for archives of more than 4 GiB, and the record that says where it is.
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")

_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_DESCRIPTOR = 1 << 3
_UTF8 = 1 << 11
_IN_EXTRA = 0xFFFF_FFFF
_ZIP64_EXTRA = 1


class Member(msgspec.Struct, frozen=True):
    """One file in an archive.

    Parameters
    ----------
    name
        As written: never used as a path.
    data
        Where its bytes lie.
    crcs
        The places at which its CRC-32 is written.
    stored
        Whether the bytes are neither compressed nor encrypted.
    """

    name: str
    data: Span
    crcs: tuple[Span, ...]
    stored: bool


class _Entry(msgspec.Struct, frozen=True):
    """What the directory says of a member."""

    name: bytes
    flags: int
    method: int
    crc_at: int
    stored_size: int
    size: int
    header: int


def members(data: memoryview) -> list[Member] | None:
    """List the members of a zip archive in file order.

    Returns
    -------
    list of Member or None
        None if the content is not a zip archive, or an empty one.

    Raises
    ------
    CheckpointError
        If the archive is damaged, contradicts itself, or is spread over several files.
    """
    if bytes(data[:4]) != b"PK\x03\x04":
        return None
    try:
        start, stop, count = _directory(data)
        entries = sorted(_entries(data[start:stop], start, count), key=lambda entry: entry.header)
        found, position = [], 0
        for entry in entries:
            member = _member(data, entry, position, start)
            found.append(member)
            position = member.data.stop
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise CheckpointError(f"the zip archive is damaged: {error}") from None
    if len({member.name for member in found}) != len(found):
        raise CheckpointError("two members of the zip archive have the same name")
    return found


def checksums(member: Member) -> Iterator[Derived]:
    """Give the places at which a member's CRC-32 is written, as derived bytes. An empty member's is always zero."""
    if member.data.size:
        for at in member.crcs:
            yield Derived(at, "crc32", (member.data,))


def _directory(data: memoryview) -> tuple[int, int, int]:
    """Find the directory: where it starts and stops, and how many entries it has."""
    # The end record is followed by a comment of at most 65,535 bytes.
    tail = bytes(data[-(_END.size + 0xFFFF) :])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise CheckpointError("the zip archive has no directory: it is cut short")
    at += len(data) - len(tail)
    _, disk, first_disk, _, count, size, start, comment = _END.unpack_from(data, at)
    if at + _END.size + comment != len(data):
        raise CheckpointError("the zip archive is followed by other bytes")
    stop = at
    locator = bytes(data[max(0, at - _LOCATOR64.size) : at])
    if locator.startswith(b"PK\x06\x07"):
        _, _, stop, _ = _LOCATOR64.unpack(locator)
        signature, _, _, _, disk, first_disk, _, count, size, start = _END64.unpack_from(data, stop)
        if signature != b"PK\x06\x06":
            raise CheckpointError("the zip archive has no directory where it should be")
    if disk or first_disk:
        raise CheckpointError("the zip archive is spread over several files")
    if start + size != stop:
        raise CheckpointError("the zip archive has other bytes around its directory")
    return start, stop, count


def _entries(directory: memoryview, start: int, count: int) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        fields = _ENTRY.unpack_from(directory, at)
        signature, _, _, flags, method, _, _, _, stored_size, size = fields[:10]
        name_length, extra_length, comment_length, _, _, _, header = fields[10:]
        if signature != b"PK\x01\x02":
            raise CheckpointError("the directory of the zip archive is damaged")
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        extra = bytes(directory[extra_at : extra_at + extra_length])
        size, stored_size, header = _widen(extra, size, stored_size, header)
        name = bytes(directory[name_at:extra_at])
        yield _Entry(name, flags, method, start + at + 16, stored_size, size, header)
        at = extra_at + extra_length + comment_length
    if at != len(directory):
        raise CheckpointError("the directory of the zip archive has another length than it says")


def _widen(extra: bytes, *values: int) -> tuple[int, ...]:
    """Look up the 64-bit values that did not fit in their fields: only those are in the extra field, in order."""
    if _IN_EXTRA not in values:
        return values
    at = 0
    while at < len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64_EXTRA:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            widened = tuple(next(wide, None) if value == _IN_EXTRA else value for value in values)
            if None not in widened:
                return tuple(value for value in widened if value is not None)
        at += 4 + length
    raise CheckpointError("the zip archive lacks a 64-bit size")


def _member(data: memoryview, entry: _Entry, begin: int, end: int) -> Member:
    """Check what the directory says against the member's own header; it must lie in the bytes from begin to end."""
    name = entry.name.decode("utf-8" if entry.flags & _UTF8 else "cp437")
    if not begin <= entry.header <= end - _HEADER.size:
        raise CheckpointError(f"member {name!r} overlaps others or lies outside the zip archive")
    signature, _, flags, method, *_, name_length, extra_length = _HEADER.unpack_from(data, entry.header)
    name_at = entry.header + _HEADER.size
    start = name_at + name_length + extra_length
    stop = start + entry.stored_size
    if (
        signature != b"PK\x03\x04"
        or (flags, method) != (entry.flags, entry.method)
        or bytes(data[name_at : name_at + name_length]) != entry.name
    ):
        raise CheckpointError(f"member {name!r} is not what the directory of the zip archive says")
    if stop > end:
        raise CheckpointError(f"member {name!r} overlaps others or lies outside the zip archive")
    stored = entry.method == 0 and not entry.flags & _ENCRYPTED
    if stored and entry.stored_size != entry.size:
        raise CheckpointError(f"member {name!r} is not compressed, yet has two sizes")
    crcs = [entry.crc_at]
    if not entry.flags & _DESCRIPTOR:
        crcs.append(entry.header + 14)
    elif bytes(data[stop : stop + 4]) == b"PK\x07\x08" and stop + 8 <= end:
        crcs.append(stop + 4)
    return Member(name, Span(start, stop), tuple(Span(at, at + 4) for at in crcs), stored)
