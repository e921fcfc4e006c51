"""The packets of Git's long-running process protocol (gitprotocol-common(5), gitattributes(5))."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["flush", "read_list", "read_packets", "write_data", "write_list"]

LARGEST = 65516
"""Bytes of data a packet can hold."""
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")


def read_packets(stream: BinaryIO) -> Iterator[bytes]:
    """Read packets up to a flush packet.

    Raises
    ------
    EOFError
        If the stream ends first.
    ValueError
        If a length cannot be.
    """
    while True:
        head = stream.read(4)
        if len(head) < 4:
            raise EOFError
        size = int(head, 16) if _LENGTH.fullmatch(head) else -1
        if size == 0:
            return
        if not 4 <= size <= LARGEST + 4:
            message = f"a packet cannot have length {head!r}"
            raise ValueError(message)
        data = stream.read(size - 4)
        if len(data) < size - 4:
            raise EOFError
        yield data


def read_list(stream: BinaryIO) -> list[str]:
    """Read text packets up to a flush packet. Paths come back as Python decodes file names."""
    return [os.fsdecode(packet.removesuffix(b"\n")) for packet in read_packets(stream)]


def write_list(stream: BinaryIO, lines: list[str]) -> None:
    """Write text packets and a flush packet."""
    for line in lines:
        _write(stream, f"{line}\n".encode())
    flush(stream)


def write_data(stream: BinaryIO, data: memoryview) -> None:
    """Write bytes as packets and a flush packet."""
    for start in range(0, len(data), LARGEST):
        _write(stream, data[start : start + LARGEST])
    flush(stream)


def flush(stream: BinaryIO) -> None:
    """Write a flush packet, and let it all go."""
    stream.write(b"0000")
    stream.flush()


def _write(stream: BinaryIO, data: bytes | memoryview) -> None:
    stream.write(b"%04x" % (len(data) + 4))
    stream.write(data)
