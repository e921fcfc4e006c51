"""The BLAKE3 of a whole file, by as many threads as there are processors.

The threads are kept by the library, and do not survive a fork: a child would wait for them for ever. So whoever was
forked hashes alone.
"""

from __future__ import annotations

import os

from blake3 import blake3

__all__ = ["hashed"]

_threads = [blake3.AUTO]


def hashed(data: bytes | memoryview) -> str:
    """Hash all of it, in hexadecimal."""
    return blake3(data, max_threads=_threads[0]).hexdigest()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _threads.__setitem__(0, 1))
