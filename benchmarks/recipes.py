"""The histories, by name: how the files of each are made, and how it is to be measured.

- The workflow of the seeds of this field: a base, a LoRA folded in, a dense fine-tune on each of two branches, their
  average, and fewer embeddings. In float32 and bfloat16, as safetensors and as ``.pt``.
- A training run with the state of its optimizer; a family, one file for each of its members; a model of 2 GB; many
  tensors; many commits.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from benchmarks.histories import FILE, History, described, tensors_of
from benchmarks.weights import EMBEDDINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.histories import Shelf, Version
    from benchmarks.weights import Tensors

__all__ = [
    "ADAPTER",
    "BASE",
    "DENSE_A",
    "DENSE_B",
    "LORA",
    "MERGE",
    "RECIPES",
    "SEEDS",
    "TRIMMED",
    "Recipe",
    "average",
    "cast",
    "save",
    "seeds",
    "trimmed",
]

ADAPTER = "adapter.safetensors"
BASE, LORA, DENSE_A, DENSE_B = "base", "LoRA folded in", "dense fine-tune A", "dense fine-tune B"
MERGE, TRIMMED = "average of A and B", "embeddings trimmed"
SEEDS: dict[str, tuple[str, ...]] = {
    BASE: (),
    LORA: (BASE,),
    DENSE_A: (LORA,),
    DENSE_B: (LORA,),
    MERGE: (DENSE_A, DENSE_B),
    TRIMMED: (MERGE,),
}
"""The versions of the workflow, and what each was made from."""

CHECKPOINTS, MEMBERS, COMMITS = 20, 10, 200
HIDDEN, LAYERS, VOCABULARY = 2048, 16, 32_000
"""Of the large model: 2.1 GB in bfloat16."""


@dataclass(frozen=True)
class Recipe:
    """How a history comes about.

    Parameters
    ----------
    title
        For the page.
    make
        The versions.
    traits
        Further arguments of :class:`~benchmarks.histories.History`.
    """

    title: str
    make: Callable[[Shelf], tuple[Version, ...]]
    traits: dict[str, bool] = field(default_factory=dict)

    def history(self, name: str, shelf: Shelf) -> History:
        """The history, with its files."""
        return History(name, self.title, self.make(shelf), **self.traits)


# ---------------------------------------------------------------- the workflow of the seeds


def seeds(shelf: Shelf, *, half: bool = False, torch_file: bool = False) -> tuple[Version, ...]:
    """Six versions of one model: a LoRA, two fine-tunes on two branches, their average, fewer embeddings.

    Parameters
    ----------
    half
        In bfloat16: the same changes, made to weights that were rounded before.
    torch_file
        As ``.pt``.
    """
    folder = shelf.group("seeds", partial(_workflow, shelf))
    suffix = "safetensors"
    if half:
        folder = shelf.group("seeds-bf16", partial(_halved, folder))
    if torch_file:
        folder, suffix = shelf.group(f"{folder.name}-pt", partial(_as_torch, folder)), "pt"
    return described(
        folder,
        [
            {"name": name, "path": folder / f"{number}.{suffix}", "parents": parents, "file": f"model.{suffix}"}
            for number, (name, parents) in enumerate(SEEDS.items(), 1)
        ],
    )


def _workflow(shelf: Shelf, folder: Path) -> None:
    base = shelf.trainer.base()
    lora, adapter = shelf.trainer.lora(base)
    a, b = shelf.trainer.dense(lora, 0), shelf.trainer.dense(lora, 1)
    merge = average(a, b)
    fewer = trimmed(merge, shelf.trainer.used(tasks=False))
    for number, tensors in enumerate((base, lora, a, b, merge, fewer), 1):
        save(tensors, folder / f"{number}.safetensors")
    save_file(adapter, folder / ADAPTER)


def _halved(source: Path, folder: Path) -> None:
    base, lora, a, b, merge, fewer = (tensors_of(source / f"{number}.safetensors") for number in range(1, 7))

    def stepped(start: Tensors, old: Tensors, new: Tensors) -> Tensors:
        """What training did to a tensor, done to a rounded one."""
        return {
            name: half if torch.equal(old[name], new[name]) else (half.float() + (new[name] - old[name])).bfloat16()
            for name, half in start.items()
        }

    halves = [cast(base, torch.bfloat16)]
    halves.append(stepped(halves[0], base, lora))
    halves.append(stepped(halves[1], lora, a))
    halves.append(stepped(halves[1], lora, b))
    halves.append(average(halves[2], halves[3]))
    halves.append(trimmed(halves[4], _rows(merge[EMBEDDINGS], fewer[EMBEDDINGS])))
    for number, tensors in enumerate(halves, 1):
        save(tensors, folder / f"{number}.safetensors")
    shutil.copyfile(source / ADAPTER, folder / ADAPTER)


def _as_torch(source: Path, folder: Path) -> None:
    for path in source.glob("[0-9]*.safetensors"):
        torch.save(tensors_of(path), folder / f"{path.stem}.pt")


def save(tensors: Tensors, path: Path) -> None:
    """Write a file as the libraries do that people train with."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def cast(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """All that are floats, in another type."""
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def average(a: Tensors, b: Tensors) -> Tensors:
    """The mean of two models."""
    return {
        name: ((one.float() + b[name].float()) / 2).to(one.dtype) if one.is_floating_point() else one
        for name, one in a.items()
    }


def trimmed(tensors: Tensors, rows: torch.Tensor) -> Tensors:
    """Keep only some rows of the embeddings."""
    return tensors | {EMBEDDINGS: tensors[EMBEDDINGS][rows]}


def _rows(whole: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Which rows of a tensor were kept; equal ones in their order."""
    places: dict[bytes, list[int]] = {}
    for number, row in enumerate(whole):
        places.setdefault(row.numpy().tobytes(), []).append(number)
    return torch.tensor([places[row.numpy().tobytes()].pop(0) for row in kept])


# ---------------------------------------------------------------- other histories


def _row(folder: Path, names: dict[str, Path], file: str = FILE) -> tuple[Version, ...]:
    """Versions of which each is made from the one before."""
    versions: list[dict[str, Any]] = []
    for name, path in names.items():
        parents = (versions[-1]["name"],) if versions else ()
        versions.append({"name": name, "path": path, "parents": parents, "file": file})
    return described(folder, versions)


def _training(shelf: Shelf) -> tuple[Version, ...]:
    count = 3 if shelf.quick else CHECKPOINTS

    def make(folder: Path) -> None:
        for number, checkpoint in enumerate(shelf.trainer.run(count), 1):
            torch.save(checkpoint, folder / f"{number}.pt")

    folder = shelf.group("training", make)
    names = {f"checkpoint {number}": folder / f"{number}.pt" for number in range(1, count + 1)}
    return _row(folder, names, "run.pt")


def _family(shelf: Shelf) -> tuple[Version, ...]:
    count = 2 if shelf.quick else MEMBERS
    base = seeds(shelf)[0]

    def make(folder: Path) -> None:
        start = tensors_of(base.path)
        save(start, folder / "base.safetensors")
        for number in range(1, count + 1):
            save(shelf.trainer.dense(start, number), folder / f"{number}.safetensors")

    folder = shelf.group("family", make)
    versions: list[dict[str, Any]] = [
        {"name": BASE, "path": folder / "base.safetensors", "file": "base.safetensors"},
    ]
    versions += [
        {
            "name": f"member {number}",
            "path": folder / f"{number}.safetensors",
            "file": f"member-{number}.safetensors",
            # Committed after the one before it, which is not what it was trained from.
            "parents": (f"member {number - 1}" if number > 1 else BASE,),
            "sources": (BASE,),
        }
        for number in range(1, count + 1)
    ]
    return described(folder, versions)


def _large(shelf: Shelf) -> tuple[Version, ...]:
    """Values of the encoder's layers, drawn with what two fine-tunes made of each, in the shapes of a larger model."""
    hidden, layers, rows = (64, 16, 1000) if shelf.quick else (HIDDEN, LAYERS, VOCABULARY)
    known = {version.name: version.path for version in seeds(shelf)}
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden // 4, hidden),
        "self_attn.v_proj": (hidden // 4, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (4 * hidden, hidden),
        "mlp.up_proj": (4 * hidden, hidden),
        "mlp.down_proj": (hidden, 4 * hidden),
        "input_layernorm": (hidden,),
    }
    steps: tuple[tuple[int, ...], ...] = ((), (6, 7), (7, 8))
    """Which layers were changed in each version; one of them twice."""

    def make(folder: Path) -> None:
        source = [
            torch.cat([t.flatten() for n, t in tensors_of(known[name]).items() if n.startswith("encoder.layer")])
            for name in (LORA, DENSE_A, DENSE_B)
        ]
        for version in range(len(steps)):
            tensors = {}
            places: list[tuple[str, int, tuple[int, ...]]] = [("model.embed_tokens.weight", -1, (rows, hidden))]
            places += [
                (f"model.layers.{layer}.{kind}.weight", layer, shape)
                for layer in range(layers)
                for kind, shape in shapes.items()
            ]
            for number, (name, layer, shape) in enumerate(places):
                generator = torch.Generator().manual_seed(number)
                index = torch.randint(len(source[0]), shape, generator=generator)
                moves = sum(layer in step for step in steps[: version + 1])
                values = source[min(moves, 1)][index]
                if moves == 2:
                    values += source[2][index] - source[0][index]
                tensors[name] = values.bfloat16()
            save(tensors, folder / f"{version + 1}.safetensors")

    folder = shelf.group("large", make)
    names = ("base", "2 of 16 layers changed", "2 of 16 layers changed again")
    return _row(folder, {name: folder / f"{number}.safetensors" for number, name in enumerate(names, 1)})


def _many(count: int, shelf: Shelf) -> tuple[Version, ...]:
    """Of 4,096 values each, the fewest that have all that a tensor can have."""
    count = count // 100 if shelf.quick else count

    def make(folder: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        tensors = {
            f"layers.{number // 10}.kind{number % 10}.weight": 0.02 * torch.randn(64, 64, generator=generator)
            for number in range(count)
        }
        save(tensors, folder / "1.safetensors")
        for name, tensor in tensors.items():
            tensors[name] = tensor + 2e-5 * torch.randn(64, 64, generator=generator)
        save(tensors, folder / "2.safetensors")

    folder = shelf.group(f"many-{count}", make)
    return _row(folder, {"base": folder / "1.safetensors", "all changed": folder / "2.safetensors"})


def _commits(shelf: Shelf) -> tuple[Version, ...]:
    count = 11 if shelf.quick else COMMITS

    def make(folder: Path) -> None:
        for number, tensors in enumerate(shelf.trainer.steps(count), 1):
            save(tensors, folder / f"{number}.safetensors")

    folder = shelf.group("commits", make)
    return _row(folder, {f"commit {number}": folder / f"{number}.safetensors" for number in range(1, count + 1)})


def _seeds_of(*, half: bool, torch_file: bool) -> Callable[[Shelf], tuple[Version, ...]]:
    return partial(seeds, half=half, torch_file=torch_file)


RECIPES: dict[str, Recipe] = {
    "seeds": Recipe("The workflow, float32, safetensors", seeds, {"thorough": True}),
    "seeds-pt": Recipe("The workflow, float32, .pt", _seeds_of(half=False, torch_file=True)),
    "seeds-bf16": Recipe("The workflow, bfloat16, safetensors", _seeds_of(half=True, torch_file=False)),
    "seeds-bf16-pt": Recipe("The workflow, bfloat16, .pt", _seeds_of(half=True, torch_file=True)),
    "training": Recipe("A training run, 20 checkpoints with the optimizer's state", _training, {"once": True}),
    "family": Recipe("A family, ten fine-tunes beside their base", _family, {"once": True}),
    "large": Recipe("2 GB, bfloat16", _large, {"thorough": True, "together": False}),
    "commits": Recipe("200 commits", _commits, {"sampled": True, "once": True}),
    "tensors-1k": Recipe("1,000 tensors", partial(_many, 1_000), {"thorough": True}),
    "tensors-10k": Recipe("10,000 tensors", partial(_many, 10_000), {"thorough": True}),
    "tensors-100k": Recipe(
        "100,000 tensors", partial(_many, 100_000), {"thorough": True, "together": False, "once": True}
    ),
}
"""All histories, by name."""
