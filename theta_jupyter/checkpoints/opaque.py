"""Any file at all: bytes, in chunks.

The fallback for a file in which no tensors can be located. Chunks keep memory bounded, and an append or a change in one
place leaves the other chunks as they were. They are no tensors, though: nobody knows what belongs together in the file,
so two versions of it are never merged chunk by chunk (the header of its manifest has ``content``).
"""

from __future__ import annotations

from theta_jupyter.checkpoints.base import Layout, Span, View

__all__ = ["locate"]

CHUNK = 64 << 20


def locate(data: memoryview) -> Layout:
    """Cut a file into chunks, each a one-dimensional tensor of bytes. An empty file has none."""
    size = len(data)
    chunks = tuple(Span(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))
    views = tuple(View(f"bytes/{index:04d}", "U8", (chunk.size,), index) for index, chunk in enumerate(chunks))
    return Layout("opaque", size, chunks, views)
