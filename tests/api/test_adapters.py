"""An adapter says what was done to a model: nothing need be found, and the model may be made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file, save, save_file

from tests.e2e.repo import Repo
from theta_jupyter import Repository
from theta_jupyter.adapters import read
from theta_jupyter.commands.base import Session, theta
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Array = npt.NDArray[Any]

MODEL = "m.safetensors"
ADAPTER = "../adapter.safetensors"
QUERY, OUT, VOCABULARY = "layers.0.query.weight", "layers.0.out.weight", "embeddings.weight"


def weights() -> dict[str, Array]:
    random = np.random.default_rng(0)
    shapes = {QUERY: (192, 160), OUT: (160, 192), VOCABULARY: (300, 64), "layers.0.query.bias": (192,)}
    return {name: random.normal(0, 0.04, shape).astype("f4") for name, shape in shapes.items()}


def factors(rank: int = 8) -> tuple[Array, Array]:
    random = np.random.default_rng(1)
    return tuple(random.normal(0, 0.02, shape).astype("f4") for shape in ((192, rank), (rank, 160)))  # type: ignore[return-value]


@pytest.fixture
def repo(bare_repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    bare_repo.track(MODEL)
    bare_repo.commit(save(weights()), "base", MODEL)
    monkeypatch.chdir(bare_repo.top)
    with bare_repo.environment():
        yield bare_repo


@pytest.fixture
def bare_repo(tmp_path: Path) -> Repo:
    home = tmp_path / "home"
    home.mkdir()
    return Repo(tmp_path / "work", home).init()


def updates(repo: Repo) -> dict[str, str]:
    return {name: record.update for name, record in repo.manifest(f":{MODEL}").records.items()}


def share(repo: Repo, name: str) -> float:
    record = repo.manifest(f":{MODEL}").records[name]
    return record.nodes[-1].place.stored / record.nbytes


def peft(folder: Path, tensors: dict[str, Array], **config: Any) -> Path:
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": value for name, value in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8} | config))
    return folder


def test_factors_of_git_theta_are_taken_as_said(repo: Repo) -> None:
    left, right = factors()
    save_file({f"{QUERY}/R": left, f"{QUERY}/C": right}, ADAPTER)
    tuned = weights() | {QUERY: weights()[QUERY] + left @ right}
    repo.write(save(tuned), MODEL)
    found = Repository().add([MODEL], update="low-rank", adapter=ADAPTER)
    assert "1 of 1 tensors are stored as adapter.safetensors says" in found.text()
    assert updates(repo) == {QUERY: "low_rank", OUT: "whole", VOCABULARY: "whole", "layers.0.query.bias": "whole"}
    size = Path(ADAPTER).stat().st_size
    assert share(repo, QUERY) * tuned[QUERY].nbytes < size + 0.12 * tuned[QUERY].nbytes
    repo.git("commit", "--quiet", "--message=tuned")
    repo.check(save(tuned), MODEL)


def test_a_model_is_made_from_base_and_adapter(repo: Repo) -> None:
    left, right = factors(8)
    save_file({f"{QUERY}/R": left, f"{QUERY}/C": right}, ADAPTER)
    found = Repository().add([MODEL], update="low-rank", adapter=ADAPTER, apply=True)
    assert "made with adapter.safetensors" in found.text()
    made = load_file(MODEL)
    wanted = weights()[QUERY].astype("f8") + left.astype("f8") @ right
    np.testing.assert_allclose(made[QUERY], wanted, rtol=1e-6, atol=1e-8)
    for name in (OUT, VOCABULARY):
        np.testing.assert_array_equal(made[name], weights()[name])
    # Nothing is wrong in the guess, so the factors are all that is stored.
    assert share(repo, QUERY) < 1.1 * (left.nbytes + right.nbytes) / wanted.astype("f4").nbytes
    data = Path(MODEL).read_bytes()
    repo.git("commit", "--quiet", "--message=made")
    repo.check(data, MODEL)


@pytest.mark.parametrize(
    ("config", "scaling"), [({}, 2.0), ({"use_rslora": True}, 4.0), ({"alpha_pattern": {"query": 4}}, 1.0)]
)
def test_an_adapter_of_peft_says_its_scaling(
    repo: Repo, tmp_path: Path, config: dict[str, Any], scaling: float
) -> None:
    left, right = factors(4)
    folder = peft(
        tmp_path / "lora", {"layers.0.query.lora_A.weight": right, "layers.0.query.lora_B.weight": left}, **config
    )
    Repository().add([MODEL], adapter=folder, apply=True)
    wanted = weights()[QUERY].astype("f8") + scaling * (left.astype("f8") @ right)
    np.testing.assert_allclose(load_file(MODEL)[QUERY], wanted, rtol=1e-6, atol=1e-8)
    assert updates(repo)[QUERY] == "low_rank"


def test_an_embedding_of_peft_lies_the_other_way(repo: Repo, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(size=(4, 300)).astype("f4"), random.normal(size=(64, 4)).astype("f4")
    folder = peft(tmp_path / "lora", {"embeddings.lora_embedding_A": first, "embeddings.lora_embedding_B": second})
    Repository().add([MODEL], adapter=folder, apply=True)
    wanted = weights()[VOCABULARY] + 2 * (second @ first).T
    np.testing.assert_allclose(load_file(MODEL)[VOCABULARY], wanted, rtol=1e-5, atol=1e-5)
    assert updates(repo)[VOCABULARY] == "low_rank"


def test_vectors_of_ia3_multiply(repo: Repo, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rows, columns = random.normal(1, 0.1, (192, 1)).astype("f4"), random.normal(1, 0.1, (1, 192)).astype("f4")
    folder = peft(tmp_path / "ia3", {"layers.0.query.ia3_l": rows, "layers.0.out.ia3_l": columns}, peft_type="IA3")
    Repository().add([MODEL], update="ia3", adapter=folder, apply=True)
    made = load_file(MODEL)
    np.testing.assert_array_equal(made[QUERY], weights()[QUERY] * rows)
    np.testing.assert_array_equal(made[OUT], weights()[OUT] * columns)
    assert updates(repo)[QUERY] == updates(repo)[OUT] == "scale"
    assert share(repo, OUT) < 0.02


def test_the_name_of_git_theta_for_it(repo: Repo) -> None:
    factor = np.random.default_rng(4).normal(1, 0.1, 160).astype("f4")
    torch.save({QUERY: {"ia3": torch.from_numpy(factor)}}, "../adapter.pt")
    Repository().add([MODEL], update="ia3", adapter="../adapter.pt", apply=True)
    np.testing.assert_array_equal(load_file(MODEL)[QUERY], weights()[QUERY] * factor)
    assert updates(repo)[QUERY] == "scale"


def test_a_torch_file_stays_one(repo: Repo) -> None:
    """Its checksums follow."""
    repo.track("m.pt")
    torch.save({name: torch.from_numpy(value) for name, value in weights().items()}, "m.pt")
    repo.git("add", "--all")
    repo.git("commit", "--quiet", "--message=torch")
    left, right = factors(4)
    save_file({f"{QUERY}/R": left, f"{QUERY}/C": right}, ADAPTER)
    Repository().add(["m.pt"], update="low-rank", adapter=ADAPTER, apply=True)
    made = torch.load("m.pt", weights_only=True)
    np.testing.assert_allclose(made[QUERY].numpy(), weights()[QUERY] + left @ right, rtol=1e-5, atol=1e-6)
    assert not any(record.of for record in repo.manifest(":m.pt").records.values())


def test_the_command(repo: Repo) -> None:
    left, right = factors(4)
    save_file({f"{QUERY}/R": left, f"{QUERY}/C": right}, ADAPTER)
    words = ["add", MODEL, "--update", "low-rank", "--from", ADAPTER, "--apply"]
    with theta.make_context("theta", words, obj=Session()) as context:
        found = theta.invoke(context)
    assert f"staged {MODEL}, made with adapter.safetensors" in found.text()
    assert updates(repo)[QUERY] == "low_rank"


WRONG: list[tuple[dict[str, Array], str, str]] = [
    ({"nothing.at.all": np.ones(3, "f4")}, "low-rank", "says no low-rank update"),
    ({f"{QUERY}/ia3": np.ones(160, "f4")}, "low-rank", "says no low-rank update"),
    ({f"{QUERY}/R": np.ones((192, 2), "f4")}, "low-rank", "both factors are needed"),
    ({f"{QUERY}/R": np.ones((192, 2)), f"{QUERY}/C": np.ones((3, 160))}, "low-rank", "do not fit each other"),
    ({f"{QUERY}/R": np.ones((191, 2)), f"{QUERY}/C": np.ones((2, 160))}, "low-rank", r"tensor .* of \(192, 160\)"),
    ({"other/R": np.ones((192, 2)), "other/C": np.ones((2, 160))}, "low-rank", "no tensor for 'other'"),
    ({f"{QUERY}/R": np.full((192, 2), np.nan), f"{QUERY}/C": np.ones((2, 160))}, "low-rank", "not finite"),
    ({f"{QUERY}/ia3": np.ones(7, "f4")}, "ia3", "7 factors"),
]


@pytest.mark.parametrize(("tensors", "kind", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_an_adapter_that_does_not_fit_changes_nothing(
    repo: Repo, tensors: dict[str, Array], kind: str, message: str
) -> None:
    save_file(tensors, ADAPTER)
    with pytest.raises(RequestError, match=message):
        Repository().add([MODEL], update=kind, adapter=ADAPTER, apply=True)
    assert load(Path(MODEL).read_bytes()).keys() == weights().keys()
    assert Path(MODEL).read_bytes() == save(weights())
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("config", "message"),
    [({"peft_type": "PREFIX"}, "type PREFIX"), ({"use_dora": True}, "type DORA"), ({"lora_alpha": 1e999}, "scaled by")],
)
def test_an_adapter_of_another_type_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    (tmp_path / MODEL).write_bytes(save(weights()))
    left, right = factors(4)
    tensors = {"layers.0.query.lora_A.weight": right, "layers.0.query.lora_B.weight": left}
    folder = peft(tmp_path / "lora", tensors, **config)
    with pytest.raises(RequestError, match=message):
        read(folder, "", tmp_path / MODEL)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes(save(weights()))
    for text in (None, "[1]", "{", '{"peft_type": "LORA"}'):
        if text:
            (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(RequestError, match=r"adapter_config|settings|adapter_model"):
            read(tmp_path, "", tmp_path / MODEL)
    with pytest.raises(RequestError, match="there is no"):
        read(tmp_path / "nowhere", "low-rank", tmp_path / MODEL)
