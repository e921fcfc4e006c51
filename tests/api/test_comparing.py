"""Comparisons with what is in memory, and between any two things."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.api.place import write
from tests.e2e.repo import MODEL, weights
from theta_jupyter import Repository, load
from theta_jupyter.cli import main
from theta_jupyter.comparing import compare, is_side
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.storage import tensors
from theta_jupyter.storage.survey import survey_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tests.e2e.repo import Repo
    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.diffs.report import Diff
    from theta_jupyter.storage.manifest import Record
    from theta_jupyter.storage.objects import ObjectStore

    Arrays = Mapping[str, npt.NDArray[Any]]

MISSING = "not here, and there is no remote"


class Net(torch.nn.Module):
    """An encoder and a head, some of it too small for a sketch; the head's weights may be the embedding's."""

    def __init__(self, seed: int = 0, *, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(80, 64)
        self.encoder = torch.nn.ModuleList([torch.nn.Linear(64, 64) for _ in range(2)])
        self.head = torch.nn.Linear(64, 80, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        found = self.embed(words)
        for layer in self.encoder:
            found = torch.relu(layer(found))
        return self.head(found)  # type: ignore[no-any-return]  # torch's modules are untyped

    def names(self) -> list[str]:
        return list(self.state_dict())


def step(net: Net, optimizer: torch.optim.Optimizer | None = None) -> torch.optim.Optimizer:
    """Train a little."""
    optimizer = optimizer or torch.optim.AdamW(net.parameters(), lr=1e-2)
    optimizer.zero_grad()
    net(torch.arange(80)).square().mean().backward()
    optimizer.step()
    return optimizer


def kept(net: Net) -> dict[str, npt.NDArray[np.float64]]:
    return {name: tensor.detach().double().numpy().copy() for name, tensor in net.state_dict().items()}


def check(diff: Diff, old: Arrays, new: Arrays, *, prefix: str = "") -> None:
    """Hold a diff against NumPy: what changed, and by how much."""
    (file,) = diff.files
    found = {tensor.name.removeprefix(prefix): tensor for tensor in file.tensors}
    assert found.keys() == old.keys() == new.keys()
    for name, tensor in found.items():
        change = float(np.linalg.norm(new[name] - old[name]))
        assert bool(tensor.status) == bool(change), name
        assert tensor.l2 is not None
        assert tensor.norm == pytest.approx(float(np.linalg.norm(old[name])), rel=1e-6)
        assert tensor.l2 == pytest.approx(change, rel=0.35 if tensor.estimated else 1e-9)
        if tensor.largest is not None:
            assert tensor.largest == pytest.approx(float(np.abs(new[name] - old[name]).max()), rel=1e-9)


@pytest.fixture
def trained(repo: Repo) -> Repo:
    """A repository whose model is a net, as safetensors, and, with its optimizer, as a torch file."""
    net = Net()
    save_file(net.state_dict(), MODEL)
    Repository().commit("net")
    repo.git("tag", "net")
    return repo


def commit_training(net: Net, optimizer: torch.optim.Optimizer, path: str = "run.pt") -> None:
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, path)
    repository = Repository()
    repository.track(path)
    repository.commit("run")


# With a model in memory.


@pytest.mark.usefixtures("trained")
def test_a_model_just_saved_has_not_changed() -> None:
    repository = Repository()
    for model in (Net(), Net().state_dict(), load(MODEL), dict(load(MODEL).items())):
        for ref in ("HEAD", "", ":", "net"):
            diff = repository.diff(ref, model=model)
            assert diff.files == ()
    assert repository.diff(model=Net(), exact=True).text() == "no tensor differs between HEAD and model"
    with pytest.raises(RequestError, match="no tensor differs between HEAD and model"):
        repository.diff(model=Net()).figure()


@pytest.mark.usefixtures("trained")
def test_what_an_optimizer_step_changed() -> None:
    net = Net()
    old = kept(net)
    step(net)
    quick = Repository().diff(model=net, name="net")
    assert (quick.old, quick.new, quick.files[0].path, quick.files[0].status) == ("HEAD", "net", MODEL, "M")
    check(quick, old, kept(net))
    estimated = {tensor.name for tensor in quick.files[0].tensors if tensor.estimated}
    assert estimated == {"embed.weight", "encoder.0.weight", "encoder.1.weight", "head.weight"}
    exact = Repository().diff(model=net, exact=True)
    assert not any(tensor.estimated for tensor in exact.files[0].tensors)
    check(exact, old, kept(net))
    # Nothing of it is stored.
    assert (exact.files[0].stored, exact.files[0].size) == (0, 0)
    assert {(tensor.update, tensor.stored) for tensor in exact.files[0].tensors} == {("", 0)}
    assert "stores" not in exact.text()
    some = Repository().diff(model=net, tensors=["encoder.*.bias"], exact=True)
    assert [tensor.name for tensor in some.files[0].tensors] == ["encoder.0.bias", "encoder.1.bias"]
    with pytest.raises(RequestError, match="no tensor is called 'nothing'"):
        Repository().diff(model=net, tensors=["encoder.*", "nothing"])
    with pytest.raises(RequestError, match="no tensor is called 'nothing'"):
        Repository().diff(model=Net(), tensors=["nothing"])


def test_only_a_bias_changed(trained: Repo) -> None:
    objects = trained.objects
    net = Net()
    with torch.no_grad():
        net.get_parameter("encoder.1.bias").add_(1)
    (file,) = Repository().diff(model=net).files
    assert [(tensor.name, tensor.estimated, tensor.changed) for tensor in file.changed] == [
        ("encoder.1.bias", False, 1.0)
    ]
    assert trained.objects == objects
    assert trained.status() == ""


@pytest.mark.usefixtures("repo")
def test_a_module_is_found_in_a_training_checkpoint() -> None:
    """Under ``model/``; the optimizer's state, which has been left out, is not removed tensors."""
    net = Net()
    optimizer = step(net)
    commit_training(net, optimizer)
    repository = Repository()
    old = kept(net)
    assert repository.diff(model=net, paths=["run.pt"]).files == ()
    step(net, optimizer)
    diff = repository.diff(model=net)  # It is not the other model's.
    assert diff.files[0].path == "run.pt"
    check(diff, old, kept(net), prefix="model/")
    assert diff.files[0].remarks == ("compared with model/... of the file; the rest of it was left out",)
    assert "the rest of it was left out" in diff.text()
    detail = diff.detail("model/head.weight")
    assert detail.tensor.l2 == pytest.approx(np.linalg.norm(kept(net)["head.weight"] - old["head.weight"]), rel=1e-9)


@pytest.mark.usefixtures("repo")
def test_all_that_was_saved_is_compared_with_all_of_the_file() -> None:
    net = Net()
    optimizer = step(net)
    commit_training(net, optimizer)
    live = {"model": net, "optimizer": optimizer}
    assert Repository().diff(model=live, paths=["run.pt"]).files == ()
    step(net, optimizer)
    (file,) = Repository().diff(model=live).files
    assert (file.path, file.remarks) == ("run.pt", ())
    assert {tensor.name.partition("/")[0] for tensor in file.changed} == {"model", "optimizer"}
    assert {tensor.status for tensor in file.tensors} == {"M"}
    # An optimizer alone, too, is a part of the file.
    (file,) = Repository().diff(model=optimizer).files
    assert {tensor.name.partition("/")[0] for tensor in file.tensors} == {"optimizer"}


@pytest.mark.usefixtures("repo")
def test_tied_weights() -> None:
    """In memory under two names; in a safetensors file under one, in a torch file under both."""
    net = Net(tied=True)
    state = net.state_dict()
    del state["head.weight"]
    save_file(state, MODEL)
    torch.save(net.state_dict(), "tied.pt")
    repository = Repository()
    repository.track("tied.pt")
    repository.commit("tied")
    old = kept(net)
    for path in (MODEL, "tied.pt"):
        assert repository.diff(model=net, paths=[path]).files == ()
    step(net)
    check(repository.diff(model=net, paths=["tied.pt"], exact=True), old, kept(net))
    del old["head.weight"]
    new = kept(net)
    del new["head.weight"]
    check(repository.diff(model=net, paths=[MODEL], exact=True), old, new)


@pytest.mark.usefixtures("repo")
def test_a_part_of_a_file_that_shares_weights_with_the_rest() -> None:
    """The storage belongs to the first name in the file, which is outside what is compared."""
    net = Net()
    torch.save({"averaged": net.state_dict(), "model": net.state_dict()}, "run.pt")
    repository = Repository()
    repository.track("run.pt")
    repository.commit("run")
    assert repository.diff(model={"model": net}, paths=["run.pt"]).files == ()
    old = kept(net)
    step(net)
    for exact in (False, True):
        diff = repository.diff(model={"model": net}, paths=["run.pt"], exact=exact)
        check(diff, old, kept(net), prefix="model/")


@pytest.mark.usefixtures("repo")
def test_channels_last() -> None:
    net = torch.nn.Conv2d(64, 80, 9).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs
    torch.save(net.state_dict(), "conv.pt")
    repository = Repository()
    repository.track("conv.pt")
    repository.commit("conv")
    assert repository.diff(model=net, paths=["conv.pt"]).files == ()


@pytest.mark.usefixtures("repo")
def test_a_part_of_something_larger() -> None:
    """A file holds all that a tensor is a part of; how much of that is the tensor's, only reading tells."""
    wide = torch.randn(800, 1000)
    torch.save({"x": wide[:, :700], "y": torch.ones(3)}, "part.pt")
    repository = Repository()
    repository.track("part.pt")
    repository.commit("part")
    quick = repository.diff(model={"x": wide[:, :700], "y": torch.ones(3)}, paths=["part.pt"])
    assert [(tensor.name, tensor.status, tensor.l2) for tensor in quick.files[0].changed] == [("x", "M", None)]
    measured = quick.exact()
    assert measured.files[0].changed == ()
    assert measured.files[0].facts() == ("no tensor changed",)


@pytest.mark.usefixtures("trained")
def test_which_of_several_models_it_is() -> None:
    repository = Repository()
    write("other.safetensors")
    torch.save(Net(1).state_dict(), "twin.pt")
    repository.track("*.safetensors")
    repository.commit("another")
    # The other one has none of its tensors.
    assert [file.path for file in repository.diff(model=Net(1)).files] == [MODEL]
    repository.track("twin.pt")
    repository.commit("a twin")
    with pytest.raises(RequestError, match=rf"net could be any of {MODEL}, twin\.pt") as caught:
        repository.diff(model=Net(1), name="net")
    assert caught.value.hint == f"say which: --with net -- {MODEL}"
    assert repository.diff(model=Net(1), paths=["twin.pt"]).files == ()
    assert [file.path for file in repository.diff(model=Net(1), paths=[MODEL]).files] == [MODEL]
    with pytest.raises(RequestError, match=r"no tensor of model is in .*twin\.pt: it has weight, bias"):
        repository.diff(model=torch.nn.Linear(2, 2))


@pytest.mark.usefixtures("trained")
def test_what_cannot_be_compared() -> None:
    repository = Repository()
    with pytest.raises(RequestError, match=rf"no tensor of model is in {MODEL}: it has weight, bias, the file embed"):
        repository.diff(model=torch.nn.Linear(2, 2))
    nothings: list[Any] = [{}, 3, "HEAD", [], {"a": "b"}, torch.nn.ReLU()]
    for nothing in nothings:
        with pytest.raises(RequestError, match=r"x, of type .*, holds no tensors"):
            repository.diff(model=nothing, name="x")
    with pytest.raises(RequestError, match=r"no\.pt is not a tracked model in HEAD to compare model with"):
        repository.diff(model=Net(), paths=["no.pt"])
    with pytest.raises(RequestError, match="a model takes the place of the new version"):
        repository.diff("HEAD", "HEAD", model=Net())
    with pytest.raises(GitError, match="'nope' is not a commit"):
        repository.diff("nope", model=Net())


def test_in_a_repository_without_models(empty: Repo) -> None:
    repository, _ = Repository.init()
    empty.git("commit", "--quiet", "--allow-empty", "-m", "empty")
    with pytest.raises(RequestError, match="there is no tracked model in HEAD to compare model with"):
        repository.diff(model=Net())


@pytest.mark.usefixtures("trained")
def test_training_goes_on_after_the_diff() -> None:
    """What was compared is no longer there to be looked at, and that is said; what was not touched still is."""
    net = Net()
    optimizer = step(net)
    diff = Repository().diff(model=net)
    looked = diff.detail("head.weight")
    assert looked.tensor.cosine is not None
    with torch.no_grad():
        net.head.weight += 1
    for ask in (lambda: diff.detail("head.weight"), lambda: diff.exact(["head.weight"]), diff.exact):
        with pytest.raises(RequestError, match=r"tensor 'head\.weight' of model has changed since it was compared"):
            ask()
    assert diff.detail("encoder.0.weight").difference
    step(net, optimizer)
    with pytest.raises(RequestError, match="has changed since"):
        diff.detail("encoder.0.weight")
    # The diff itself is as it was.
    assert {tensor.name for tensor in diff.files[0].changed} == set(net.names())


@pytest.mark.usefixtures("trained")
def test_renamed_reshaped_and_recast_in_memory() -> None:
    state: dict[str, Any] = dict(Net().state_dict())
    state["decoder.0.weight"] = state.pop("encoder.0.weight") * 1.001
    state["head.weight"] = state["head.weight"].bfloat16()
    state["encoder.1.bias"] = torch.zeros(3)
    state["new"] = torch.ones(2)
    (file,) = Repository().diff(model=state, exact=True).files
    assert {tensor.name: tensor.status for tensor in file.changed} == {
        "decoder.0.weight": "R",
        "head.weight": "T",
        "encoder.1.bias": "S",
        "new": "A",
    }
    found = {tensor.name: tensor for tensor in file.changed}
    assert found["decoder.0.weight"].relative == pytest.approx(1e-3, rel=1e-3)
    assert 0 < (found["head.weight"].relative or 0) < 2**-8


def test_without_the_objects_estimates_still_work(trained: Repo) -> None:
    net = Net()
    old = kept(net)
    step(net)
    shutil.rmtree(trained.theta / "objects")
    repository = Repository()
    diff = repository.diff(model=net)
    found = {tensor.name: tensor for tensor in diff.files[0].changed}
    assert found["head.weight"].l2 == pytest.approx(
        np.linalg.norm(kept(net)["head.weight"] - old["head.weight"]), rel=0.35
    )
    # Too small for a sketch, and not here to be measured: that it changed is all that is known.
    assert (found["encoder.0.bias"].status, found["encoder.0.bias"].l2) == ("M", None)
    assert diff.text()
    assert diff.html()
    for ask in (lambda: diff.detail("head.weight"), diff.exact, lambda: repository.diff(model=net, exact=True)):
        with pytest.raises(ThetaError, match=MISSING):
            ask()
    assert repository.diff(model=Net()).files == ()


# Between any two things.


def names_and_sizes(diff: Diff) -> dict[str, Any]:
    return {tensor.name: (tensor.status, tensor.l2) for file in diff.files for tensor in file.changed}


def oracle(old: str, **changed: int) -> float:
    """The norm of the change of a layer of the small model."""
    return float(np.linalg.norm(weights(**changed)[old].astype(np.float64) - weights()[old].astype(np.float64)))


@pytest.mark.usefixtures("repo")
def test_a_commit_and_a_file() -> None:
    write("runs/best.safetensors", b=1, wide=2)
    ref = f"HEAD:{MODEL}"
    diff = compare(ref, "runs/best.safetensors", exact=True)
    assert (diff.old, diff.new) == (ref, "runs/best.safetensors")
    assert names_and_sizes(diff) == {
        "b": ("M", pytest.approx(oracle("b", b=1), rel=1e-9)),
        "wide": ("M", pytest.approx(oracle("wide", wide=2), rel=1e-9)),
    }
    back = compare(Path("runs/best.safetensors"), ref)
    assert names_and_sizes(back)["wide"] == ("M", pytest.approx(oracle("wide", wide=2), rel=0.35))
    assert back.files[0].changed[0].estimated
    assert back.detail("wide").tensor.l2 == pytest.approx(oracle("wide", wide=2), rel=1e-9)
    assert compare(ref, MODEL).files == ()
    assert compare(ref, MODEL, exact=True).text() == f"no tensor differs between {ref} and {MODEL}"
    assert [tensor.name for tensor in compare(ref, "runs/best.safetensors", tensors=["w*"]).files[0].tensors] == [
        "wide"
    ]
    with pytest.raises(RequestError, match="no tensor is called 'x'"):
        compare(ref, "runs/best.safetensors", tensors=["x"])


@pytest.mark.usefixtures("repo")
def test_files_of_two_formats() -> None:
    """The same tensors in another format do not differ, whatever the bytes around them."""
    torch.save({name: torch.from_numpy(array) for name, array in weights().items()}, "copy.pt")
    np.savez("copy.npz", **cast("Any", weights()))
    assert compare(MODEL, "copy.pt").files == ()
    assert compare("copy.npz", "copy.pt").files == ()
    np.savez("copy.npz", **cast("Any", weights(b=1)))
    assert names_and_sizes(compare("copy.pt", "copy.npz")) == {"b": ("M", pytest.approx(oracle("b", b=1), rel=1e-9))}


def test_outside_a_repository(empty: Repo) -> None:
    write("one.safetensors")
    write("two.safetensors", b=1, wide=3)
    for old, new in [("one.safetensors", "two.safetensors"), (empty.top / "one.safetensors", Path("two.safetensors"))]:
        diff = compare(old, new)
        assert set(names_and_sizes(diff)) == {"b", "wide"}
        assert {(tensor.update, tensor.stored) for tensor in diff.files[0].tensors} == {("", 0)}
    with pytest.raises(RequestError, match=r"there is no file no\.pt"):
        compare("one.safetensors", "no.pt")
    with pytest.raises(RequestError, match=f"there is no file HEAD:{MODEL}"):
        compare(f"HEAD:{MODEL}", "one.safetensors")
    with pytest.raises(RequestError, match="there is no file"):
        compare(empty.top, "one.safetensors")


def test_models_and_states() -> None:
    teacher, student = Net(), Net()
    old = kept(student)
    step(student)
    diff = compare(teacher, student, names=("teacher", "student"), exact=True)
    assert (diff.old, diff.new, diff.files[0].path) == ("teacher", "student", "teacher")
    check(diff, old, kept(student))
    assert compare(teacher, teacher.state_dict()).files == ()
    assert diff.detail("head.weight").singular
    assert names_and_sizes(compare({"x": np.ones(3)}, {"x": np.zeros(3)})) == {"x": ("M", pytest.approx(3**0.5))}
    with pytest.raises(RequestError, match="old, of type int, holds no tensors"):
        compare(3, student)


@pytest.mark.usefixtures("repo")
def test_a_loaded_version() -> None:
    write(b=1)
    assert set(names_and_sizes(compare(load(MODEL, "HEAD"), load(MODEL)))) == {"b"}
    assert set(names_and_sizes(compare(f"HEAD:{MODEL}", load(MODEL)))) == {"b"}
    assert set(names_and_sizes(compare(load(MODEL, "HEAD", ["a", "b"]), MODEL))) == {"b", "c", "d", "wide"}


def test_a_manifest_in_place_of_its_file(repo: Repo, tmp_path: Path) -> None:
    """As after a clone without the objects: it says what the file would say."""
    write("new.safetensors", b=1, wide=2)
    (repo.top / MODEL).write_bytes(repo.text())
    diff = compare(MODEL, "new.safetensors")
    assert set(names_and_sizes(diff)) == {"b", "wide"}
    assert diff.exact().files[0].tensors[-1].cosine is not None
    shutil.copy(repo.top / MODEL, tmp_path / "alone")
    with (
        contextlib.chdir(tmp_path.parent),
        pytest.raises(RequestError, match="alone is a manifest; its weights are in"),
    ):
        compare(tmp_path / "alone", repo.top / "new.safetensors")
    shutil.rmtree(repo.theta / "objects")
    diff = compare(MODEL, "new.safetensors")
    assert diff.files[0].changed[0].estimated
    with pytest.raises(ThetaError, match=MISSING):
        diff.exact()


@pytest.mark.usefixtures("repo")
def test_a_file_that_is_written_to_after_the_diff() -> None:
    write("new.safetensors", b=1, wide=2)
    diff = compare(f"HEAD:{MODEL}", "new.safetensors")
    write("new.safetensors", b=1, wide=3)
    os.utime("new.safetensors", (1, 1))
    for ask in (diff.exact, lambda: diff.detail("wide")):
        with pytest.raises(RequestError, match=r"new\.safetensors was written to since"):
            ask()


@pytest.mark.usefixtures("repo")
def test_a_file_that_is_written_to_during_the_diff(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is surveyed and what is read later are the same, or it is said."""
    write("new.safetensors", b=1, wide=2)

    def slow(*arguments: Any) -> Any:
        found = survey_file(*arguments)
        write("new.safetensors", b=1, wide=3)
        os.utime("new.safetensors", (1, 1))
        return found

    monkeypatch.setattr("theta_jupyter.sides.survey_file", slow)
    with pytest.raises(RequestError, match=r"new\.safetensors was written to since"):
        compare(f"HEAD:{MODEL}", "new.safetensors", exact=True)


def test_what_is_a_file_of_a_commit(repo: Repo) -> None:
    repo.git("branch", "feature/x")
    assert is_side(f"HEAD:{MODEL}")
    assert is_side(f"feature/x:{MODEL}")
    assert is_side("HEAD~0:nothing")
    for text in (MODEL, f":{MODEL}", "HEAD:", "HEAD", "", ":", f"nope:{MODEL}", f"--help:{MODEL}", f"$(x):{MODEL}"):
        assert not is_side(text)
    Path("HEAD:odd").write_bytes(b"")
    assert not is_side("HEAD:odd")
    with pytest.raises(RequestError, match="nothing is not a tracked checkpoint in HEAD"):
        compare("HEAD:nothing", MODEL)
    with pytest.raises(GitError, match="is outside the repository"):
        compare("HEAD:../x", MODEL)


def test_opaque_files(empty: Repo) -> None:
    assert empty.top.exists()
    for number, name in enumerate(("one.txt", "two.txt")):
        Path(name).write_text(f"words {number}" * 1000)
    diff = compare("one.txt", "two.txt")
    assert "kept whole: not a format any plug-in knows" in diff.text()
    assert compare("one.txt", "one.txt").files == ()


# Memory.


def test_a_small_part_of_a_large_storage_is_not_read_for_a_quick_diff(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them would read the storage a thousand times."""
    wide = torch.randn(1100, 1000)
    repository = Repository()
    for add in (0, 1):
        torch.save({f"part{i}": (wide + add)[i] for i in range(3)}, "flat.pt")
        repository.track("flat.pt")
        repository.commit("flat")
    read: list[str] = []

    def decode(record: Record, store: ObjectStore, name: str) -> memoryview:
        read.append(name)
        return tensors.decode(record, store, name)

    monkeypatch.setattr("theta_jupyter.storage.arrays.decode", decode)
    diff = repository.diff("HEAD~1", "HEAD")
    assert not read
    assert {tensor.l2 for tensor in diff.files[0].changed} == {None}
    (part,) = (tensor for tensor in diff.exact(["part1"]).files[0].tensors if tensor.name == "part1")
    assert part.l2 == pytest.approx(1000**0.5, rel=1e-5)
    assert read
    assert repo.status() == ""


# On the command line.


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    out, error = capsys.readouterr()
    return status, out, error


def test_reports_of_the_command(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    write(b=1, wide=2)
    for ending in ("html", "md", "json", "txt"):
        status, out, error = say(capsys, "diff", "--report", f"report.{ending}")
        assert (status, error) == (0, "")
        assert out == f"1 tracked model differs: written to report.{ending}\n"
        assert MODEL in Path(f"report.{ending}").read_text(encoding="utf-8")
    assert Path("report.png").exists()
    assert json.loads(Path("report.json").read_text())["files"][0]["path"] == MODEL
    status, out, error = say(capsys, "diff", "--report", "report.pdf")
    assert (status, out) == (1, "")
    assert "a report is .html, .md, .json or .txt" in error
    assert not (repo.top / "report.pdf").exists()
    status, _, error = say(capsys, "diff", "--report", "no/such/folder/report.html")
    assert status == 1
    assert "No such file or directory" in error


@pytest.mark.usefixtures("repo")
def test_two_files_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("one.safetensors", b=1)
    write("two.safetensors", b=2)
    for arguments in (
        ["one.safetensors", "two.safetensors"],
        ["--no-index", "one.safetensors", "two.safetensors"],
        [f"HEAD:{MODEL}", "two.safetensors"],
        [MODEL, "two.safetensors"],
        ["--no-index", MODEL, "one.safetensors"],
    ):
        status, out, error = say(capsys, "diff", "--json", *arguments)
        assert (status, error) == (0, "")
        (file,) = json.loads(out)["files"]
        assert [tensor["name"] for tensor in file["tensors"] if tensor["status"]] == ["b"]
    for arguments in (["--no-index", "one.safetensors"], ["--no-index"], [f"HEAD:{MODEL}"]):
        status, out, error = say(capsys, "diff", *arguments)
        assert (status, out) == (1, "")
        assert "two files are compared with each other" in error


@pytest.mark.usefixtures("repo")
def test_a_terminal_has_no_models(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["diff", "--with", "model"], ["diff", "--with", "model", "--no-index", MODEL]):
        status, out, error = say(capsys, *arguments)
        assert (status, out) == (1, "")
        assert "--with works in a notebook: a terminal has no models in memory" in error
        assert "Repository().diff(model=model)" in error


def test_details_are_data(trained: Repo) -> None:
    assert trained.status() == ""
    net = Net()
    step(net)
    detail = Repository().diff(model=net).detail("encoder.0.weight")
    assert (detail.path, detail.old, detail.new) == (MODEL, "HEAD", "model")
    built = json.loads(json.dumps(detail.to_dict(), allow_nan=False))
    assert built["tensor"]["name"] == "encoder.0.weight"
    assert sum(built["before"]["counts"]) + built["before"]["outside"] == 64 * 64
    changed: TensorDiff = dataclasses.replace(detail.tensor)
    assert changed == detail.tensor


# Models that something else is wrapped around, and versions that were loaded.


@pytest.mark.parametrize("wrapped", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}"])
def test_what_wraps_a_model_does_not_hide_it(trained: Repo, wrapped: str) -> None:
    del trained
    net = Net()
    names = {wrapped.format(name): tensor for name, tensor in net.state_dict().items()}
    assert Repository().diff(model=names).files == ()
    step(net)
    (file,) = Repository().diff(model=names).files
    assert {tensor.name for tensor in file.tensors} == set(net.names())


@pytest.mark.usefixtures("trained")
def test_a_version_that_was_loaded_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    step(net)
    save_file(net.state_dict(), MODEL)
    repository = Repository()
    repository.commit("step")
    names = ["embed.weight", "head.weight"]
    old, new, some = load(MODEL, "HEAD~1"), load(MODEL), load(MODEL, "HEAD", names)
    reads: list[str] = []
    kind = type(old)
    read = kind._read

    def counted(self: Any, name: str) -> Any:
        reads.append(name)
        return read(self, name)

    monkeypatch.setattr(kind, "_read", counted)
    check(compare(old, new), kept(Net()), kept(net))
    assert {tensor.name for tensor in repository.diff("HEAD~1", model=some).files[0].tensors} >= set(names)
    assert not {"embed.weight", "head.weight"} & set(reads)
    check(compare(old, new, exact=True), kept(Net()), kept(net))
    # Of some tensors, the others are not there.
    (file,) = compare(old, some).files
    assert {tensor.name for tensor in file.tensors if tensor.status == "M"} == set(names)
    assert {tensor.name for tensor in file.tensors if tensor.status == "D"} == set(net.names()) - set(names)


@pytest.mark.usefixtures("trained")
def test_which_of_two_models_in_a_file_is_said_not_guessed() -> None:
    net, average = Net(), Net(1)
    repository = Repository()
    repository.save({"ema": average, "model": net}, "two.pt", "two")
    with pytest.raises(RequestError, match=r"could be ema and model of two\.pt") as error:
        repository.diff(model=net, paths=["two.pt"])
    assert error.value.hint == 'say which, as {"ema": model}'
    assert repository.diff(model={"model": net}, paths=["two.pt"]).files == ()
    before = kept(net)
    step(net)
    found = repository.diff(model={"model": net}, paths=["two.pt"])
    check(found, before, kept(net), prefix="model/")
    assert found.files[0].remarks == ("compared with model/... of the file; the rest of it was left out",)


@pytest.mark.usefixtures("trained")
def test_a_model_may_stand_on_either_side() -> None:
    net = Net(tied=True)
    optimizer = step(net)
    commit_training(net, optimizer)
    save_file({name: t for name, t in net.state_dict().items() if name != "head.weight"}, "tied.safetensors")
    before = kept(net)
    step(net, optimizer)
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in net.state_dict().items()}
    for live in (net, net.state_dict(), wrapped):
        check(compare(live, "HEAD:run.pt"), kept(net), before, prefix="model/")
        check(compare("HEAD:run.pt", live), before, kept(net), prefix="model/")
        assert {t.status for t in compare(live, "tied.safetensors").files[0].tensors} == {"M"}
    assert compare(wrapped, net).files == ()
    assert compare(net, wrapped).files == ()
    torch.save(wrapped, "wrapped.pt")
    assert compare(net, "wrapped.pt").files == ()
    assert Repository().diff(model=load("run.pt").to_torch(), paths=["run.pt"]).files == ()


@pytest.mark.usefixtures("trained")
def test_what_became_nan_comes_first() -> None:
    net = Net()
    with torch.no_grad():
        net.embed.weight += 1
        net.encoder[0].weight[3, 5] = torch.nan  # type: ignore[operator]  # a Linear
        net.head.weight[0, :2] = torch.inf
    for exact in (False, True):
        (file,) = Repository().diff(model=net, exact=exact).files
        assert {t.name: t.not_finite for t in file.tensors if t.not_finite} == {"encoder.0.weight": 1, "head.weight": 2}
        assert "2 tensors with NaN or infinite values" in file.facts()
        assert {row[1] for row in file.table().rows[:2]} == {"encoder.0.weight", "head.weight"}
        assert {row[4] for row in file.table().rows[:2]} == {"1 not finite", "2 not finite"}
