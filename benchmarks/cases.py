"""Single steps, of which only the bytes are asked: what one kind of change costs, as a share of the raw bytes.

Each is a history of its own, of which the last version counts: how many bytes it adds to a store that has the others.
A share is of all that the version is, or of some of its tensors. No clock runs, and the same bytes come out every time.

BitX (Su et al., NSDI 2026) stands beside a fine-tune, as the method of record: XOR with the base, byte planes, zstd.
Here it is worked out on the tensors alone; what a store would need for names and shapes is not counted.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import zstandard

from benchmarks.histories import FILE, History, bits, described, tensors_of
from benchmarks.peers import ThetaFilter
from benchmarks.recipes import ADAPTER, BASE, DENSE_A, DENSE_B, LORA, MERGE, TRIMMED, cast, save, seeds, trimmed
from benchmarks.records import Share
from benchmarks.weights import EMBEDDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.histories import Shelf, Version
    from benchmarks.weights import Tensors

__all__ = ["Case", "bitx", "cases", "measure_cases"]

TOUCHED = "touched"
"""In place of a pattern: the tensors that differ from those of the version before."""
LAMBDA = 0.7
EXTRA_ROWS = 100


@dataclass(frozen=True)
class Case:
    """One step.

    Parameters
    ----------
    name
        What is done.
    versions
        The last one counts.
    of
        Which tensors the share is of: a pattern, or :data:`TOUCHED`. If empty, of the file.
    beside
        Whether BitX is worked out too.
    adapter
        Said to be what was done to the version before.
    apply
        Have the last version made from it, instead of placing the file.
    """

    name: str
    versions: tuple[Version, ...]
    of: str = ""
    beside: bool = False
    adapter: Path | None = None
    apply: bool = False


def cases(shelf: Shelf) -> list[Case]:
    """All of them, with their files."""
    full = {version.name: version for version in seeds(shelf)}
    half = {version.name: version for version in seeds(shelf, half=True)}
    made = _made(shelf, full)
    found = []
    for kind, known in (("fp32", full), ("bf16", half)):
        found += [
            Case(f"first version, {kind}", (known[BASE],)),
            Case(f"dense fine-tune, {kind}", _line(known[LORA], known[DENSE_A]), beside=True),
            Case(f"dense fine-tune, {kind}", _line(known[LORA], known[DENSE_A]), of="encoder.*", beside=True),
            Case(f"LoRA folded in, {kind}, unaided", _line(known[BASE], known[LORA]), of=TOUCHED),
        ]
    adapter = full[BASE].path.parent / ADAPTER
    line = _line(full[BASE], full[LORA])
    found.append(Case("LoRA folded in, fp32, adapter given", line, adapter=adapter))
    found.append(Case("LoRA folded in, fp32, adapter applied", line, adapter=adapter, apply=True))
    for kind, known, mixed in (("fp32", full, "mixed"), ("bf16", half, "mixed-bf16")):
        branches = (*_line(known[LORA], known[DENSE_A]), replace(known[DENSE_B], parents=(LORA,)))
        found += [
            Case(f"average of two, {kind}", (*branches, known[MERGE])),
            Case(f"task arithmetic of two, {kind}", (*branches, replace(made[mixed], parents=(DENSE_A, DENSE_B)))),
        ]
    found += [
        Case("embeddings without unused rows", _line(full[MERGE], full[TRIMMED])),
        *(
            Case(name, _line(full[BASE], made[name]))
            for name in ("embeddings trimmed to a task", "embeddings extended", "all tensors renamed")
        ),
        *(
            Case(name, _line(full[BASE], made[name]))
            for name in ("bf16 copy beside fp32", "fp16 copy beside fp32", "second file with the same tensors")
        ),
    ]
    return found


def measure_cases(chosen: Sequence[Case], folder: Path, say: Callable[[str], None]) -> Iterator[Share]:
    """What each takes."""
    for case in chosen:
        say(f"{case.name}{', ' + case.of if case.of else ''}")
        with tempfile.TemporaryDirectory(prefix="case-", dir=folder) as name:
            yield _measured(case, Path(name))


def bitx(old: Tensors, new: Tensors) -> int:
    """Bytes by BitX; a tensor that is the same takes none, one without a base is compressed in planes."""
    size = 0
    for name, tensor in new.items():
        after = np.atleast_1d(bits(tensor))
        base = old.get(name)
        if base is not None and base.dtype == tensor.dtype and base.shape == tensor.shape:
            after = after ^ np.atleast_1d(bits(base))
            if not after.any():
                continue
        planes = after.reshape(-1).view(np.uint8).reshape(-1, after.itemsize)
        compressor = zstandard.ZstdCompressor(level=3)
        size += sum(len(compressor.compress(np.ascontiguousarray(plane).tobytes())) for plane in planes.T)
    return size


def _line(*versions: Version) -> tuple[Version, ...]:
    """Each made from the one before."""
    parents: list[tuple[str, ...]] = [(), *((version.name,) for version in versions)]
    return tuple(replace(version, parents=of) for version, of in zip(versions, parents, strict=False))


def _made(shelf: Shelf, full: dict[str, Version]) -> dict[str, Version]:
    """Versions that are in no history."""
    half = {version.name: version for version in seeds(shelf, half=True)}

    def make(folder: Path) -> None:
        base = tensors_of(full[BASE].path)
        for known, name in ((full, "mixed"), (half, "mixed-bf16")):
            save(
                _task_arithmetic(*(tensors_of(known[n].path) for n in (LORA, DENSE_A, DENSE_B))),
                folder / f"{name}.safetensors",
            )
        save(trimmed(base, shelf.trainer.used(tasks=True)), folder / "trimmed.safetensors")
        save(_extended(base), folder / "extended.safetensors")
        save(cast(base, torch.bfloat16), folder / "bf16.safetensors")
        save(cast(base, torch.float16), folder / "fp16.safetensors")
        save({f"model.{name}": tensor for name, tensor in base.items()}, folder / "renamed.safetensors")
        torch.save(base, folder / "second.pt")
        for name in (BASE, LORA, DENSE_A, DENSE_B):
            (folder / f"{name}.safetensors").hardlink_to(full[name].path)
            (folder / f"{name}-bf16.safetensors").hardlink_to(half[name].path)

    folder = shelf.group("cases", make)
    specs = [
        {"name": f"{name}{kind}", "path": folder / f"{name}{kind}.safetensors"}
        for kind in ("", "-bf16")
        for name in (BASE, LORA, DENSE_A, DENSE_B)
    ]
    for name, file, sources, target in (
        ("mixed", "mixed.safetensors", (DENSE_A, DENSE_B), FILE),
        ("mixed-bf16", "mixed-bf16.safetensors", (f"{DENSE_A}-bf16", f"{DENSE_B}-bf16"), FILE),
        ("embeddings trimmed to a task", "trimmed.safetensors", (BASE,), FILE),
        ("embeddings extended", "extended.safetensors", (BASE,), FILE),
        ("all tensors renamed", "renamed.safetensors", (BASE,), FILE),
        ("bf16 copy beside fp32", "bf16.safetensors", (BASE,), "model-bf16.safetensors"),
        ("fp16 copy beside fp32", "fp16.safetensors", (BASE,), "model-fp16.safetensors"),
        ("second file with the same tensors", "second.pt", (BASE,), "second.pt"),
    ):
        specs.append({"name": name, "path": folder / file, "sources": sources, "file": target})
    return {version.name: version for version in described(folder, specs)}


def _task_arithmetic(base: Tensors, a: Tensors, b: Tensors) -> Tensors:
    """As Ilharco et al. (ICLR 2023) have it, in float32."""
    return {
        name: (t.float() + LAMBDA * ((a[name].float() - t.float()) + (b[name].float() - t.float()))).to(t.dtype)
        if t.is_floating_point()
        else t
        for name, t in base.items()
    }


def _extended(tensors: Tensors) -> Tensors:
    """New rows about the mean of the others, as ``resize_token_embeddings`` makes them."""
    old = tensors[EMBEDDINGS]
    generator = torch.Generator().manual_seed(5)
    new = old.mean(0) + old.std(0) * torch.randn(EXTRA_ROWS, old.shape[1], generator=generator)
    return tensors | {EMBEDDINGS: torch.cat([old, new.to(old.dtype)])}


def _measured(case: Case, folder: Path) -> Share:
    history = History("case", case.name, case.versions)
    peer = ThetaFilter(folder / "repository")
    peer.prepare()
    last = case.versions[-1]
    raw = last.size
    for version in case.versions[:-1]:
        peer.go(version)
        peer.place(version)
        peer.record(version)
        peer.recorded(version)
    peer.go(last)
    before = peer.stored()
    if not case.apply:
        peer.place(last)
    if case.adapter is None:
        peer.record(last)
    else:
        last = peer.told(last, case.adapter, apply=case.apply)
    peer.recorded(last)
    peer.clean()
    stored, of, other = peer.stored() - before, "the file", None
    if len(case.versions) > 1:
        peer.checkout(case.versions[0])
        peer.checkout(last)
    peer.holds(history.tree(last) | {last.file: last})
    if case.of or case.beside:
        old, new = tensors_of(case.versions[-2].path), tensors_of(last.path)
        if case.of:
            names = _chosen(case.of, old, new)
            of = "tensors that were touched" if case.of == TOUCHED else case.of
            raw = sum(new[name].nbytes for name in names)
            stored = peer.added(last, case.versions[:-1], names)
            new = {name: new[name] for name in names}
        other = bitx(old, new) if case.beside else None
    allowance = case.adapter.stat().st_size if case.adapter else 0
    return Share(case.name, of, raw, stored, last.changed, other, allowance)


def _chosen(of: str, old: Tensors, new: Tensors) -> set[str]:
    if of == TOUCHED:
        return {name for name, tensor in new.items() if name not in old or not torch.equal(tensor, old[name])}
    return {name for name in new if fnmatchcase(name, of)}
