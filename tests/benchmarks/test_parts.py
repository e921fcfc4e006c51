"""The parts of the benchmark by themselves: files, peers that fail, what is kept of a run, and the page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks import records, report
from benchmarks.cases import bitx, cases, measure_cases
from benchmarks.histories import History, Shelf, changed, tensors_of
from benchmarks.measure import Memory
from benchmarks.peers import PEERS, Copy, GitTheta, PeerError, PlainGit
from benchmarks.plots import draw
from benchmarks.recipes import DENSE_A, MERGE, RECIPES, average
from benchmarks.records import Fact, Note, Part, Round, Share
from benchmarks.rounds import ADD, AGAIN, CHECKOUT, TOUCHED, measure
from benchmarks.targets import goals

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.histories import Version


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, quick=True)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", RECIPES)
def test_files_of_a_history_are_made_once(name: str, shelf: Shelf) -> None:
    history = RECIPES[name].history(name, shelf)
    made = {path: path.stat().st_mtime_ns for path in shelf.folder.rglob("*") if path.suffix != ".json"}

    again = RECIPES[name].history(name, Shelf(shelf.folder.parent, quick=True))

    assert again == history
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert [version.changed is None for version in history.versions] == [not v.parents for v in history.versions]
    for version in history.versions:
        assert set(version.parents) <= history.named.keys()
        assert history.tree(version)[version.file] is version


def test_a_family_lies_side_by_side(shelf: Shelf) -> None:
    family = RECIPES["family"].history("family", shelf)

    tree = family.tree(family.versions[-1])

    assert set(tree) == {"base.safetensors", "member-1.safetensors", "member-2.safetensors"}
    assert family.raw(family.versions[-1]) == sum(version.size for version in family.versions)


def test_the_merge_in_bfloat16_is_of_what_is_stored(shelf: Shelf) -> None:
    known = {v.name: tensors_of(v.path) for v in RECIPES["seeds-bf16"].history("", shelf).versions}

    mean = average(known[DENSE_A], known["dense fine-tune B"])

    assert all(torch.equal(known[MERGE][name], tensor) for name, tensor in mean.items())
    assert {tensor.dtype for tensor in mean.values()} == {torch.bfloat16}


def test_changed_counts_values_that_are_nowhere_in_the_parents() -> None:
    old = {"a": torch.arange(8.0).reshape(4, 2), "b": torch.ones(2)}
    half = torch.tensor([[0.0, 1.0], [2.0, 9.0], [4.0, 5.0], [6.0, 7.0]])

    assert changed([old], old) == 0
    assert changed([old], {"a": half, "b": old["b"]}) == 1 / 10
    assert changed([old], {"a": old["a"][1:], "b": old["b"]}) == 0  # a row has gone
    assert changed([old], {"x": old["a"], "y": old["b"]}) == 0  # renamed
    assert changed([old], {"a": old["a"].bfloat16(), "b": old["b"]}) == 8 / 10  # another type
    assert changed([old, {"a": half, "b": old["b"]}], {"a": half, "b": old["b"]}) == 0


def test_bitx_takes_nothing_for_what_is_the_same() -> None:
    old = {"a": torch.randn(64, 64), "b": torch.randn(64)}

    assert bitx(old, old) == 0
    assert 0 < bitx(old, old | {"a": old["a"] * (1 + 1e-6)}) < bitx({}, old)


# ---------------------------------------------------------------- peers


class Broken(PlainGit):
    """Fails at the second version."""

    name = "broken"

    def record(self, version: Version) -> None:
        if version.parents:
            raise PeerError("git add failed: first line\nlast line")
        super().record(version)


class Absent(PlainGit):
    name = "absent"
    command = "surely-not-installed"


def _two(shelf: Shelf) -> History:
    return History("two", "Two versions", RECIPES["tensors-1k"].make(shelf))


def test_who_fails_or_is_missing_is_left_out(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rounds.PEERS", (Broken, Absent, Copy))

    found = measure(_two(shelf), shelf.folder.parent, say=print)

    assert found.left_out == {
        "broken": f"no further than {ADD}: all changed: git add failed: first line ... last line",
        "absent": "surely-not-installed is not installed",
    }
    assert found.times[f"{ADD}: base"].keys() == {"broken", "cp"}
    assert found.times[f"{ADD}: all changed"].keys() == {"cp"}


def test_ours_may_not_fail(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "needed", True)
    monkeypatch.setattr("benchmarks.rounds.PEERS", (Broken,))

    with pytest.raises(PeerError, match=r"broken, .*first line"):
        measure(_two(shelf), shelf.folder.parent, say=print)


def test_who_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="takes more than 0 s"):
        Copy(tmp_path / "copy", patience=0.1).run("sleep", "60")


def test_git_theta_is_not_given_what_it_cannot_take(shelf: Shelf) -> None:
    refused = {name for name in RECIPES if GitTheta.refuses(RECIPES[name].history(name, shelf))}

    assert refused == {"seeds-bf16", "seeds-bf16-pt", "training", "large", "tensors-100k"}


def test_single_steps_are_shares_of_some_tensors(shelf: Shelf, tmp_path: Path) -> None:
    wanted = {("dense fine-tune, fp32", "encoder.*"), ("LoRA folded in, fp32, adapter applied", "")}
    chosen = [case for case in cases(shelf) if (case.name, case.of) in wanted]

    dense, lora = measure_cases(chosen, tmp_path, print)

    assert dense.bitx is not None
    assert 0 < dense.stored < dense.raw
    assert 0 < dense.bitx < dense.raw
    assert dense.raw == 4 * (128 * 128 + 256 * 128 + 128)
    assert lora.of == "the file"
    assert 0 < lora.allowance < lora.raw
    assert 0 < lora.stored < lora.raw / 2


# ---------------------------------------------------------------- what is kept, and the page


def _round(name: str, title: str, labels: list[str], *, versions: list[Note], factor: float = 1.0) -> Round:
    peers = {peer.name: number for number, peer in enumerate(PEERS, 1)}
    found = Round(name, title, "2030-01-01 00:00", {"cores": "2"}, noise=0.25, versions=versions)
    found.times = {label: {peer: factor * number for peer, number in peers.items()} for label in labels}
    found.memory = {label: {peer: Memory(2 * number, number) for peer, number in peers.items()} for label in labels}
    for version in versions:
        found.stored[version.name] = {peer: 1000 * number for peer, number in peers.items()}
        found.fetched[version.name] = dict.fromkeys(peers, version.raw)
    found.kept = dict.fromkeys(peers, 2) | {GitTheta.name: 1}
    found.left_out = {"DVC": "dvc | is not installed."}
    return found


def _all() -> dict[str, Part]:
    parts = {}
    for name, recipe in RECIPES.items():
        count = 50 if name == "commits" else 3
        versions = [Note(f"v{number}", 10_000, 0.5 if number else None, 10_000) for number in range(count)]
        labels = [f"{step}: {version.name}" for step in (ADD, CHECKOUT) for version in versions] + [TOUCHED, AGAIN]
        factor = {"tensors-10k": 10.0, "tensors-100k": 100.0}.get(name, 1.0)
        one = _round(name, recipe.title, labels, versions=versions, factor=factor)
        parts[name] = Part((one, replace(one, times={k: dict(v) for k, v in one.times.items()})))
    shares = Round("cases", "Single steps", "2030-01-01 00:00", {"cores": "2"})
    shares.shares = [
        Share("first version, bf16", "the file", 1000, 600),
        Share("dense fine-tune, fp32", "the file", 1000, 500, 0.99, 500),
        Share("LoRA folded in, fp32, adapter given", "the file", 1000, 120, 0.08, allowance=110),
    ]
    shares.facts = [Fact("a fact", 0.5, "a remark")]
    return parts | {"cases": Part((shares,))}


def test_rounds_are_read_as_they_were_written(tmp_path: Path) -> None:
    part = _all()["seeds"]
    for each in part.rounds:
        records.append(tmp_path, each)

    assert records.read(tmp_path) == {"seeds": part}
    assert part.clocked == 2
    records.forget(tmp_path, "seeds")
    assert records.read(tmp_path) == {}


def test_a_part_is_summed_up_by_medians() -> None:
    rounds = [
        Round("p", "P", "now", {}, times={"step": {"a": seconds}}, memory={"step": {"a": Memory(int(seconds), 1)}})
        for seconds in (1.0, 5.0, 2.0)
    ]
    part = Part(tuple(rounds))

    assert part.seconds("step") == {"a": 2.0}
    assert part.spread("step") == 2.0
    assert part.memory("st") == {"a": Memory(5, 1)}


def test_goals_are_judged_by_the_worst() -> None:
    parts = _all()

    found = {goal.what: goal for goal in goals(parts)}

    assert (found["first version, bf16"].measured, found["first version, bf16"].met) == ("0.600", True)
    assert found["dense fine-tune, fp32"].met is False
    assert found["dense fine-tune, fp32"].measured == "0.500 (99.0% of the values changed)"
    assert found["dense fine-tune, fp32: the file, beside BitX"].met is False
    assert found["LoRA folded in, fp32, adapter given"].measured == "the adapter +0.010 of raw"
    assert found["the workflow, six versions, beside Git LFS"].met is False
    assert found["the workflow, six versions, beside Git LFS"].measured.startswith("0.33")
    assert found["the workflow, six versions, beside git-theta"].met is True
    # `theta, by git` takes a third of the time of Git LFS here, and `git theta` two.
    assert found["status after touch, 91 MB"].met is False
    assert found["checkout, 91 MB"].met is True
    assert found["time per tensor, up to 100,000 tensors"].met is True
    assert found["time of a commit, the last 20 of 200 beside the first"].met is True
    assert all(goal.met is None for goal in goals({}))
    assert {goal.verdict for goal in goals({})} == {"-"}


def test_the_page_has_everything(tmp_path: Path) -> None:
    parts = _all()

    pictures = draw(parts, tmp_path / "images")
    page = report.markdown(parts, pictures)

    assert len(pictures) == 4
    assert all((tmp_path / "images" / name).stat().st_size > 1000 for name in pictures)
    assert all(f"](images/{name})" in page for name in pictures)
    for recipe in RECIPES.values():
        assert f"### {recipe.title}" in page
    assert "git-theta gives back the values, but not the file byte for byte." in page
    assert "DVC: dvc / is not installed." in page
    assert "other work took up to 25% of the processors' time" in page
    assert "a fact" in page
    assert "add and commit: median of the last 25" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| add and commit: v0 ")}
    assert len(widths) == 1
    assert draw({}, tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()
    assert report.text({}).count("not measured") == len(goals({}))
