"""The versions that everybody has to store: one model, changed twice, kept as files so that a repeat is quick.

The real ones are like those of the demo notebook: all-MiniLM-L6-v2 as it comes from PyPI, then with a LoRA trained and
folded in, then fine-tuned densely from there. Seeds are fixed; a fine-tune made on another machine may still differ in
its last bits, which changes no figure by much. The quick ones are small and made of random numbers, for the test.
"""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3
from safetensors import safe_open
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Version", "digest", "quick", "real"]

BASE, LORA, DENSE = "base", "LoRA folded in", "dense fine-tune"
LORA_STEPS, LORA_RATE = 12, 1e-3
DENSE_STEPS, DENSE_RATE = 24, 2e-5


@dataclass(frozen=True)
class Version:
    """One version of the model.

    Parameters
    ----------
    name
        As the report calls it.
    path
        A file with its bytes.
    size
        Of the file.
    digest
        BLAKE3 of the file.
    changed
        Share of the values whose bits differ from the version before; None for the first.
    """

    name: str
    path: Path
    size: int
    digest: str
    changed: float | None


def real(folder: Path) -> list[Version]:
    """Versions of all-MiniLM-L6-v2 (91 MB each), trained on the first call and found in the folder afterwards."""
    recipe = f"minilm-lora{LORA_STEPS}x{LORA_RATE:g}-dense{DENSE_STEPS}x{DENSE_RATE:g}"
    return _described(_made(folder / recipe, _finetuned))


def quick(folder: Path) -> list[Version]:
    """Small versions (less than 1 MB) that change in the same way."""
    return _described(_made(folder / "quick", _random))


def digest(path: Path) -> str:
    """BLAKE3 of a file."""
    return blake3(path.read_bytes()).hexdigest()


def _made(folder: Path, make: Callable[[dict[str, Path]], None]) -> dict[str, Path]:
    """Files by name; the folder appears when all of them are there."""
    files = {name: f"{number}.safetensors" for number, name in enumerate((BASE, LORA, DENSE), 1)}
    if not folder.exists():
        begun = folder.with_name(folder.name + ".begun")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        make({name: begun / file for name, file in files.items()})
        begun.rename(folder)
    return {name: folder / file for name, file in files.items()}


def _described(files: dict[str, Path]) -> list[Version]:
    versions: list[Version] = []
    for name, path in files.items():
        changed = _changed(versions[-1].path, path) if versions else None
        versions.append(Version(name, path, path.stat().st_size, digest(path), changed))
    return versions


def _changed(old: Path, new: Path) -> float:
    total = differ = 0
    with safe_open(old, "numpy") as before, safe_open(new, "numpy") as after:
        assert set(before.keys()) == set(after.keys())
        for name in after.keys():  # noqa: SIM118 - it is no mapping
            a, b = (np.atleast_1d(file.get_tensor(name)) for file in (before, after))
            bits = np.dtype(f"u{b.itemsize}")
            differ += int(np.count_nonzero(a.view(bits) != b.view(bits)))
            total += b.size
    return differ / total


def _finetuned(files: dict[str, Path]) -> None:
    import torch
    from safetensors.torch import load_file
    from safetensors.torch import save_file as save_tensors

    demo = importlib.import_module("demo_notebooks.finetune")
    packaged = demo.pretrained() / "model.safetensors"
    shutil.copyfile(packaged, files[BASE])
    # The file has a buffer more than the model has, so the model's tensors are laid over the file's.
    tensors = load_file(packaged)
    model = demo.encoder()

    def save(path: Path) -> None:
        tensors.update({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
        save_tensors(tensors, path, metadata={"format": "pt"})

    torch.manual_seed(1)
    demo.finetune_lora(model, steps=LORA_STEPS, rate=LORA_RATE, seed=1)
    save(files[LORA])
    for _ in demo.finetune(model, steps=DENSE_STEPS, rate=DENSE_RATE, seed=2):
        pass
    save(files[DENSE])


def _random(files: dict[str, Path]) -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    tensors = {
        "embeddings.weight": normal(1024, 64, scale=0.05),
        "layer.0.query.weight": normal(128, 128, scale=0.05),
        "layer.0.output.weight": normal(256, 128, scale=0.05),
        "layer.0.output.bias": normal(128, scale=0.01),
    }
    save_file(tensors, files[BASE])
    tensors["layer.0.query.weight"] += normal(128, 4, scale=0.01) @ normal(4, 128, scale=0.1)
    save_file(tensors, files[LORA])
    for name, tensor in tensors.items():
        tensors[name] = tensor + normal(*tensor.shape, scale=1e-5)
    save_file(tensors, files[DENSE])
