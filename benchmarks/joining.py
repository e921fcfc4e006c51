"""How long a merge of large models takes, and how much memory: two fine-tunes of one base, every tensor in conflict.

Beside it stands copying the three files it is made of, by ``cp``, which is what a merge cannot do without: to read
three, and write one. Both start with everything in the page cache, and are alternated.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from benchmarks.measure import Memory, peak, timed
from benchmarks.records import Fact
from theta_jupyter import Repository

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COPY", "STRATEGIES", "join"]

STRATEGIES = ("linear", "ties")
COPY = "copying base, ours and theirs"
MEMORY, TIMES = 1.5e9, 3
"""What is promised: bytes, and times the copy."""
SIDE, LAYERS = 8192, 32
"""Matrices of SIDE by SIDE / 2 in bfloat16: 2.1 GB a file."""
MODEL = "m.safetensors"


def join(folder: Path, *, rounds: int, quick: bool, say: Callable[[str], None]) -> tuple[Fact, ...]:
    """Measure.

    Parameters
    ----------
    folder
        Where to work; nothing is left there.
    quick
        On a small model: says that it works, not how fast.
    """
    with tempfile.TemporaryDirectory(prefix="joining-", dir=folder) as name:
        say("two versions of a large model")
        place = Path(name) / "repository"
        files = _made(place, SIDE // 32 if quick else SIDE)
        size = files[0].stat().st_size
        copies: list[float] = []
        merges: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
        memory: dict[str, Memory] = {}
        for turn in range(rounds):
            say(f"merging them, {turn + 1} of {rounds}")
            copies.append(timed(partial(_copy, files, Path(name) / "copies")))
            for strategy in STRATEGIES:
                merges[strategy].append(timed(partial(_merge, place, strategy)))
                _check(files, place / MODEL, strategy)
                _back(place)
        for strategy in STRATEGIES:
            # In a run of its own, because looking costs time.
            memory[strategy] = peak(partial(_merge, place, strategy))
            _back(place)
    copy = median(copies)
    facts = [Fact(f"{COPY}, {size / 1e9:.2g} GB each", copy, f"{3 * size / copy / 1e9:.2f} GB/s")]
    for strategy in STRATEGIES:
        seconds, held = median(merges[strategy]), memory[strategy].anonymous
        where = "within" if held <= MEMORY else "BEYOND"
        remarks = [
            f"{seconds / copy:.1f} times the copy, {TIMES} promised",
            f"peak memory {held / 1e6:.0f} MB, {where} the {MEMORY / 1e9:.1f} GB promised",
        ]
        facts.append(Fact(f"merge of two by {strategy}, all tensors in conflict", seconds, "; ".join(remarks)))
    return tuple(facts)


def _made(place: Path, side: int) -> list[Path]:
    """A repository with a base and two branches, and their files beside it."""
    place.mkdir()
    # A repository of its own, first: the folder lies in one, which must not be set up.
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", place], check=True)
    repository, _ = Repository.init(place)
    assert repository.worktree.top == place.resolve()
    git = repository.worktree.git
    git("config", "user.name", "Benchmark")
    git("config", "user.email", "benchmark@example.invalid")
    (place / ".gitattributes").write_text(f"{MODEL} filter=theta diff=theta merge=theta -text\n")
    generator = torch.Generator().manual_seed(0)
    shape = side // 2, side
    base = {f"layers.{i}.weight": (0.02 * torch.randn(shape, generator=generator)).bfloat16() for i in range(LAYERS)}
    files = []
    for branch in ("base", "main", "theirs"):
        path = place.parent / f"{branch}.safetensors"
        tensors = base
        if branch != "base":
            tensors = {
                name: (tensor.float() + 1e-4 * torch.randn(shape, generator=generator)).bfloat16()
                for name, tensor in base.items()
            }
        save_file(tensors, path)
        files.append(path)
        if branch == "theirs":
            git("switch", "--quiet", "--create", "theirs", "HEAD~1")
        subprocess.run(["cp", path, place / MODEL], check=True)
        _theta(place, "add", MODEL)
        git("add", ".gitattributes")
        git("commit", "--quiet", "--message", branch)
    git("switch", "--quiet", "main")
    return files


def _copy(files: list[Path], target: Path) -> None:
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", *files, target], check=True)
    for path in target.iterdir():
        path.unlink()


def _merge(place: Path, strategy: str) -> None:
    _theta(place, "merge", "theirs", "--strategy", strategy)


def _back(place: Path) -> None:
    """Undo a merge, and forget what it has stored, or the next would find it there."""
    subprocess.run(["git", "reset", "--quiet", "--hard", "HEAD~1"], cwd=place, check=True)
    kept: set[Path] = set()
    found = Repository(place)
    for ref in ("main~1", "main", "theirs"):
        objects = found.manifest(MODEL, ref).places()
        kept |= {found.worktree.store.path(name) for name in objects}
    for path in found.worktree.store.root.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()


def _check(files: list[Path], merged: Path, strategy: str) -> None:
    """The first tensor is what it should be."""
    result = load_file(merged)["layers.0.weight"]
    base, ours, theirs = (load_file(path)["layers.0.weight"].float() for path in files)
    if strategy == "linear":
        assert torch.equal(result, ((ours + theirs) / 2).bfloat16())
    else:
        changed = (result.float() != base).float().mean().item()
        assert 0 < changed < 0.5


def _theta(place: Path, *arguments: str) -> None:
    command = [sys.executable, "-P", "-m", "theta_jupyter", *arguments]
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
