"""How we fare beside our peers: add, checkout, status, bytes and memory on real versions of a real model.

Run with ``make bench`` or ``python -m benchmarks``; see ``docs/benchmarks.md`` for what came out.
"""
