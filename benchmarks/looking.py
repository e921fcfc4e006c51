"""How quickly one can look: a diff of many tensors from their manifests, and an exact one of large files.

The many tensors are small, because only their number counts: a diff reads no weight. The large files are compared in a
process of their own, whose memory is weighed. How fast a file can be read depends on where it is: on the disk, or in
the page cache already; both are said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from benchmarks.measure import Memory, peak, timed
from benchmarks.records import Fact
from theta_jupyter import Repository, compare

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXACT", "MANY", "look"]

MANY = {1_000: 0.2, 10_000: 2.0}
"""Tensors, and seconds within which the diff of their manifests promises to be there."""
EXACT = ("reading both", "exact diff of both")
SIDE, LAYERS = 8192, 32
"""Of the large files: matrices of SIDE by SIDE / 2 in bfloat16, 2.1 GB together."""


def look(folder: Path, *, rounds: int, quick: bool, say: Callable[[str], None]) -> tuple[Fact, ...]:
    """Measure.

    Parameters
    ----------
    folder
        Where to work; nothing is left there.
    quick
        On few and small tensors: says that it works, not how fast.
    """
    facts: list[Fact] = []
    with tempfile.TemporaryDirectory(prefix="looking-", dir=folder) as name:
        for count, limit in MANY.items():
            say(f"a diff of {count:,} tensors")
            seconds = median(_many(Path(name) / str(count), count // 100 if quick else count, rounds))
            remark = f"{'within' if seconds <= limit else 'BEYOND'} the {limit * 1e3:.0f} ms promised"
            facts.append(Fact(f"diff of {count:,} tensors from manifests", seconds, remark))
        say("an exact diff of large files")
        facts += _large(Path(name), SIDE // 32 if quick else SIDE, rounds)
    return tuple(facts)


def _many(folder: Path, count: int, rounds: int) -> list[float]:
    folder.mkdir()
    # A repository of its own, first: the folder lies in one, which must not be set up.
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    repository, _ = Repository.init(folder)
    assert repository.worktree.top == folder.resolve()
    repository.worktree.git("config", "user.name", "Benchmark")
    repository.worktree.git("config", "user.email", "benchmark@example.invalid")
    (folder / ".gitattributes").write_text("m.safetensors filter=theta diff=theta merge=theta -text\n")
    generator = torch.Generator().manual_seed(0)
    tensors = {f"layers.{i // 10}.k{i % 10}.weight": torch.randn(64, 64, generator=generator) for i in range(count)}
    for version in range(2):
        save_file({name: tensor * (1 + 1e-3 * version) for name, tensor in tensors.items()}, folder / "m.safetensors")
        repository.worktree.git("add", ".gitattributes", "m.safetensors")
        repository.worktree.git("commit", "--quiet", "--message", f"version {version}")
    found = repository.diff("HEAD~1", "HEAD")
    assert sum(tensor.estimated for tensor in found.files[0].tensors) == count
    return [timed(partial(repository.diff, "HEAD~1", "HEAD")) for _ in range(rounds)]


def _large(folder: Path, side: int, rounds: int) -> list[Fact]:
    generator = torch.Generator().manual_seed(0)
    files = [folder / "old.safetensors", folder / "new.safetensors"]
    shape = side // 2, side
    old = {f"layers.{i}.weight": (0.02 * torch.randn(shape, generator=generator)).bfloat16() for i in range(LAYERS)}
    save_file(old, files[0])
    for name, tensor in old.items():
        old[name] = (tensor.float() + 1e-4 * torch.randn(shape, generator=generator)).bfloat16()
    save_file(old, files[1])
    del old
    size = sum(file.stat().st_size for file in files)
    samples: list[dict[str, float]] = []
    memory = Memory()
    for _ in range(rounds):
        answer = folder / "answer.json"
        command = [sys.executable, "-m", "benchmarks.looking", *map(str, files), str(answer)]
        memory = peak(partial(subprocess.run, command, check=True))
        samples.append(json.loads(answer.read_text()))
    facts = []
    for where in ("from disk", "from the page cache"):
        read, exact = (median(sample[f"{what}, {where}"] for sample in samples) for what in EXACT)
        speed = f"{size / read / 1e9:.2f} GB/s"
        facts.append(Fact(f"{EXACT[0]} of {size / 2e9:.2g} GB each, {where}", read, speed))
        share = f"{size / exact / 1e9:.2f} GB/s, {read / exact:.2f} of that; half is the aim"
        facts.append(Fact(f"{EXACT[1]}, {where}", exact, f"{share}; peak memory {memory.anonymous / 1e6:.0f} MB"))
    return facts


def _exactly(old: Path, new: Path) -> dict[str, float]:
    """Seconds of reading two files, and of measuring every difference between them."""

    def read() -> None:
        buffer = bytearray(1 << 24)
        for path in (old, new):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    diff = compare(old, new)
    found: dict[str, float] = {}
    for where in ("from disk", "from the page cache"):
        actions: tuple[Callable[[], object], ...] = (read, diff.exact)
        for what, action in zip(EXACT, actions, strict=True):
            if where == "from disk":
                _forget(old, new)
            start = time.perf_counter()
            action()
            found[f"{what}, {where}"] = time.perf_counter() - start
    return found


def _forget(*files: Path) -> None:
    """Drop files from the page cache."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(_exactly(Path(sys.argv[1]), Path(sys.argv[2]))), encoding="utf-8")
