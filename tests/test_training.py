"""Commits as a model trains: from a loop, from the Trainer of transformers, from Lightning."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.api.place import empty, repo, templates
from tests.e2e.repo import MODEL
from theta_jupyter import Checkpointer, Repository, load
from theta_jupyter.errors import RequestError, ThetaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.repo import Repo

__all__ = ["empty", "repo", "templates"]


def subjects() -> list[str]:
    """First lines of all messages since the first commit, the oldest first."""
    return [commit.subject for commit in reversed(Repository().log().commits)][1:]


def net(value: float = 0.0) -> torch.nn.Linear:
    found = torch.nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.fill_(value)
    return found


def grow(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)


def test_a_loop(repo: Repo) -> None:
    model = net()
    checkpointer = Checkpointer(repo.top, "net.safetensors", every=3, message="step {step}: loss {loss:.2f}")
    made = []
    for step in range(1, 8):
        grow(model)
        made.append(checkpointer(model, step, final=step == 7, loss=1 / step))
    assert [commit is not None for commit in made] == [False, False, True, False, False, True, True]
    assert subjects() == ["step 3: loss 0.33", "step 6: loss 0.17", "step 7: loss 0.14"]
    assert made[-1] is not None
    assert made[-1].models == ("net.safetensors",)
    for ref, value in (("HEAD", 7), ("HEAD~1", 6), ("HEAD~2", 3)):
        assert load("net.safetensors", ref)["bias"] == value
    assert repo.status() == ""


def test_what_has_not_changed_is_no_commit(repo: Repo) -> None:
    model = net()
    checkpointer = Checkpointer(Repository(), "net.pt")
    assert checkpointer(model, 1) is not None
    head = repo.head()
    assert checkpointer(model, 2) is None
    assert checkpointer.commit(model, 3) is None
    assert repo.head() == head
    assert repo.status() == ""
    (repo.top / "notes").touch()
    repo.git("add", "notes")  # Of the user's own, and no reason to commit.
    assert checkpointer(model, 3) is None
    grow(model)
    assert checkpointer(model, 4) is not None
    assert subjects() == ["step 1", "step 4"]
    assert repo.status() == "A  notes\n"


def test_other_models_are_left_alone(repo: Repo) -> None:
    data = repo.read()
    (repo.top / MODEL).write_bytes(data + b" ")
    checkpointer = Checkpointer(".", "net.pt")
    commit = checkpointer(net(), 1)
    assert commit is not None
    assert commit.models == ("net.pt",)
    assert repo.status().startswith(f" M {MODEL}")


def test_the_path_is_where_it_was_made(repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkpointer = Checkpointer(".", "net.pt", derived_from=MODEL)
    monkeypatch.chdir(tmp_path)
    commit = checkpointer({"model": net(), "step": 1}, 10)
    assert commit is not None
    assert commit.models == ("net.pt",)
    assert commit.derived_from == (f"{MODEL}@{repo.head('HEAD~1')}",)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("{step}: {loss:.3f}", "5: 0.500"),
        ("{loss:.1f} {nothing:.3f} {nothing.x} {nothing[0]}", "0.5 ? ? ?"),
        ("{text:.3f} {none:.2f}", "abc None"),
        ("{val/loss:.2f} {tensor:.1f} {0}", "0.25 2.0 ?"),
        ("100 {{}} {step:04d}", "100 {} 0005"),
    ],
)
def test_messages(repo: Repo, message: str, expected: str) -> None:
    metrics: dict[str, Any] = {
        "loss": 0.5,
        "text": "abc",
        "none": None,
        "val/loss": 0.25,
        "tensor": torch.tensor(2.0, requires_grad=True),
    }
    commit = Checkpointer(".", "net.pt", message=message)(net(), 5, **metrics)
    assert commit is not None
    assert commit.subject == expected
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every 0 steps is never"),
        ({"message": ""}, "a commit needs a message"),
        ({"message": " "}, "a commit needs a message"),
        ({"message": "{step"}, "the message '{step' cannot be read"),
    ],
)
def test_what_makes_no_sense_is_said_before_the_training(repo: Repo, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Checkpointer(".", "net.pt", **options)
    assert caught.value.message.startswith(message)
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ck.foo", "cannot write a .foo file"),
        ("noname", "cannot write a file without a suffix"),
        ("../x.pt", "is outside the repository"),
        (".git/x.pt", "is Git's own place"),
    ],
)
def test_where_nothing_can_be_saved_is_said_before_the_training(repo: Repo, path: str, message: str) -> None:
    with pytest.raises(ThetaError) as caught:
        Checkpointer(".", path)
    assert message in caught.value.message
    assert repo.status() == ""


class Counted:
    """A model that counts how often its state is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        self.asked += 1
        return {"w": torch.ones(1)}


def test_of_several_processes_the_first_commits(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are asked for their part of the state all the same, or the first would wait for them for ever."""
    head, model = repo.head(), Counted()
    monkeypatch.setenv("RANK", "1")
    assert Checkpointer(".", "net.pt")(model, 1) is None
    assert (repo.head(), repo.status(), model.asked) == (head, "", 1)
    monkeypatch.setenv("RANK", "0")
    assert Checkpointer(".", "net.pt")(model, 1) is not None


def test_of_a_process_group_the_first_commits(repo: Repo) -> None:
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    head = repo.head()
    distributed.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    try:
        assert Checkpointer(".", "net.pt")(net(), 1) is None
    finally:
        distributed.destroy_process_group()
    assert (repo.head(), repo.status()) == (head, "")
    assert Checkpointer(".", "net.pt")(net(), 1) is not None


@pytest.mark.parametrize("adapter", ["transformers", "lightning"])
def test_a_library_that_is_not_installed(repo: Repo, monkeypatch: pytest.MonkeyPatch, adapter: str) -> None:
    for name in ("transformers", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ThetaError, match=f"{adapter} is not installed") as caught:
        getattr(Checkpointer(".", "net.pt"), adapter)()
    assert caught.value.hint == f"pip install {adapter}"
    assert repo.status() == ""


# The Trainer of transformers: 8 samples, 2 a batch: 4 steps an epoch.


class Regression(torch.nn.Module):
    """As small as a Trainer takes it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(found, labels), "logits": found}


def samples() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"x": x, "labels": x.sum(0, keepdim=True)} for x in torch.randn(8, 2, generator=generator)]


def train(folder: Path, callback: Any, **options: Any) -> Regression:
    from transformers import Trainer, TrainingArguments

    model = Regression()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        learning_rate=0.1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_strategy="steps",
        logging_steps=1,
        **{"save_strategy": "no", "num_train_epochs": 3, **options},
    )
    data: Any = samples()
    Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=[callback]).train()
    return model


def test_transformers_by_epochs(repo: Repo, tmp_path: Path) -> None:
    checkpointer = Checkpointer(".", "net.safetensors", message="{step} epoch {epoch:.0f} {loss:.1g}")
    model = train(tmp_path / "out", checkpointer.transformers())
    found = subjects()
    assert [line.split()[:3] for line in found] == [[str(4 * n), "epoch", str(n)] for n in (1, 2, 3)]
    assert all(float(line.split()[3]) > 0 for line in found)
    state = load("net.safetensors", "HEAD").to_torch()
    assert all(torch.equal(state[name], leaf) for name, leaf in model.state_dict().items())
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("on", "every", "options", "steps"),
    [
        ("epoch", 2, {}, [8, 12]),
        ("step", 5, {}, [5, 10, 12]),
        ("step", 5, {"max_steps": 3}, [3]),
        ("save", 1, {"save_strategy": "steps", "save_steps": 6, "eval_strategy": "steps", "eval_steps": 6}, [6, 12]),
        ("save", 2, {"save_strategy": "steps", "save_steps": 4}, [8, 12]),
    ],
)
def test_transformers_by_whatever_is_counted(
    repo: Repo, tmp_path: Path, on: Any, every: int, options: dict[str, Any], steps: list[int]
) -> None:
    checkpointer = Checkpointer(".", "net.safetensors", every=every, message="{step} {eval_loss:.3f}")
    train(tmp_path / "out", checkpointer.transformers(on=on), **options)
    assert [int(line.split()[0]) for line in subjects()] == steps
    assert all((line.split()[1] == "?") == ("eval_strategy" not in options) for line in subjects())
    assert repo.status() == ""


# Lightning, with the same batches.


# What Lightning does at every fit; nothing we could change.
LEAF_SPEC = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")


@pytest.fixture
def lightning() -> Iterator[Any]:
    """The library; it looks for a tuning cluster in the environment, and sets variables there."""
    before = os.environ.copy()
    import pytorch_lightning

    yield pytorch_lightning
    os.environ.clear()
    os.environ.update(before)


def fit(pl: Any, folder: Path, callbacks: list[Any], **options: Any) -> Any:
    class Module(pl.LightningModule):  # type: ignore[misc]  # known only when it runs
        def __init__(self) -> None:
            super().__init__()
            self.net = Regression()

        def training_step(self, batch: Any, _: int) -> Any:
            loss = self.net(**batch)["loss"]
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Module()
    data: Any = samples()
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, "max_epochs": 3, **options},
    )
    trainer.fit(module, loader)
    return module


@LEAF_SPEC
def test_lightning_by_epochs(repo: Repo, tmp_path: Path, lightning: Any) -> None:
    checkpointer = Checkpointer(".", "net.ckpt", message="{step} epoch {epoch} {train_loss:.1g}")
    module = fit(lightning, tmp_path / "out", [checkpointer.lightning()])
    found = subjects()
    assert [line.split()[:3] for line in found] == [[str(4 * n), "epoch", str(n)] for n in (1, 2, 3)]
    assert all(float(line.split()[3]) > 0 for line in found)
    state = load("net.ckpt", "HEAD").to_torch()
    assert all(torch.equal(state[name], leaf) for name, leaf in module.state_dict().items())
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("on", "every", "options", "steps"),
    [
        ("epoch", 2, {}, [8, 12]),
        ("step", 5, {}, [5, 10, 12]),
        ("step", 2, {"accumulate_grad_batches": 2}, [2, 4, 6]),
        ("step", 5, {"max_steps": 3, "max_epochs": -1}, [3]),
    ],
)
@LEAF_SPEC
def test_lightning_by_whatever_is_counted(
    repo: Repo, tmp_path: Path, lightning: Any, on: Any, every: int, options: dict[str, Any], steps: list[int]
) -> None:
    checkpointer = Checkpointer(".", "net.safetensors", every=every, message="{step}")
    fit(lightning, tmp_path / "out", [checkpointer.lightning(on=on)], **options)
    assert [int(line) for line in subjects()] == steps
    assert repo.status() == ""


@LEAF_SPEC
def test_lightning_when_it_saves(repo: Repo, tmp_path: Path, lightning: Any) -> None:
    checkpointer = Checkpointer(".", "net.safetensors", message="{step}")
    saver = lightning.callbacks.ModelCheckpoint(tmp_path / "saved", every_n_train_steps=5, save_top_k=-1)
    options = {"enable_checkpointing": True}
    fit(lightning, tmp_path / "out", [checkpointer.lightning(on="save"), saver], **options)
    assert subjects() == ["5", "10", "12"]
    assert repo.status() == ""
