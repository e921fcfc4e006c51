"""log, diff, show."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.api.place import write
from tests.e2e.repo import LAYERS, MODEL, weights
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.history import _seen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.repo import Repo
    from theta_jupyter.diffs.report import Diff


@pytest.fixture
def line(repo: Repo) -> Repo:
    """Three commits, each changing one tensor; the second changes another model too."""
    repository = Repository()
    repository.track("*.pt")
    write(b=1)
    write("other.pt", seed=5)
    repository.commit("second")
    write(b=1, wide=2)
    repository.commit("third")
    return repo


def changed(diff: Diff) -> dict[str, list[str]]:
    return {file.path: [tensor.name for tensor in file.changed] for file in diff.files}


def test_log(line: Repo) -> None:
    repository = Repository()
    line.git("tag", "v1", "HEAD~1")
    line.git("tag", "-a", "-m", "tag", "v2", "HEAD~1")
    line.git("tag", "blob", f"HEAD:{MODEL}")  # A tag may point at anything.
    log = repository.log()
    assert [commit.subject for commit in log.commits] == ["third", "second", "first"]
    assert [commit.refs for commit in log.commits] == [("main",), ("v1", "v2"), ()]
    assert log.commits[1].models == (MODEL, "other.pt")
    assert all(commit.stored > 0 for commit in log.commits)
    assert [commit.subject for commit in repository.log(paths=["other.pt"]).commits] == ["second"]
    assert [commit.subject for commit in repository.log("HEAD~1").commits] == ["second", "first"]
    assert [commit.subject for commit in repository.log("HEAD~2..v2").commits] == ["second"]
    short = repository.log(limit=2)
    assert ([commit.subject for commit in short.commits], short.more) == (["third", "second"], True)
    assert "-n 100" in short.text()
    assert not repository.log(limit=3).more
    assert json.loads(json.dumps(log.to_dict()))["commits"][0]["id"] == line.head()
    assert list(log.to_pandas()["subject"]) == ["third", "second", "first"]
    with pytest.raises(GitError, match="'nope' is not a commit"):
        repository.log("nope")


def test_log_without_commits(empty: Repo) -> None:
    assert empty.top.exists()
    repository, _ = Repository.init()
    assert repository.log().text() == "no commit yet"


def test_log_of_hostile_subjects(repo: Repo) -> None:
    repo.git("commit", "--quiet", "--allow-empty", "-m", "\x1b[31mred\u202e\n\nTheta-From: x@y")
    log = Repository().log()
    assert "\\x1b[31mred\\u202e" in log.text()
    assert log.commits[0].derived_from == ("x@y",)


def test_miniatures(line: Repo) -> None:
    repository = Repository()
    third, second, first = repository.log().commits
    assert [small.path for small in second.miniatures] == [MODEL, "other.pt"]
    (small,) = third.miniatures
    assert small.blocks == (*LAYERS, "wide")
    l2, norm, _, _ = oracle("wide", "2")
    assert small.values[:4] == (0.0, 0.0, 0.0, 0.0)
    assert small.values[4] == pytest.approx(l2 / norm, rel=0.35)
    # Small tensors have no sketch: they are read.
    assert [small.text() for small in second.miniatures] == ["·█···", "+++++"]
    assert first.miniatures[0].text() == "+++++"
    (one,) = json.loads(json.dumps(repository.log(limit=1).to_dict()))["commits"]
    assert one["miniatures"][0]["blocks"] == [*LAYERS, "wide"]
    assert one["miniatures"][0]["values"][:4] == [0, 0, 0, 0]
    assert "····█" in repository.log(limit=1).text()
    assert "wide ~" in repository.log(limit=1).html()
    assert repository.show().commit == third
    # The others stand in the manifests; and so does that the small ones changed, though not how much.
    shutil.rmtree(line.theta / "objects")
    _seen.cache_clear()
    found = repository.log().commits
    assert (found[0], found[2]) == (third, first)
    assert found[1].miniatures[0].text() == "·?···"


def test_log_of_all_that_can_happen_to_a_file(line: Repo) -> None:
    repository = Repository()
    line.git("mv", "other.pt", "moved.pt")
    line.git("commit", "--quiet", "-m", "moved")
    (line.top / "moved.pt").write_bytes(b"no checkpoint" * 100)
    repository.commit("opaque")
    line.git("rm", "--quiet", "moved.pt")
    line.git("commit", "--quiet", "-m", "gone")
    (line.top / "link.pt").symlink_to(MODEL)
    (line.top / ":odd\nname.pt").write_bytes(line.read())
    line.git("add", "--all")
    line.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},submodule.pt")
    line.git("commit", "--quiet", "-m", "odd")
    log = repository.log(limit=4)
    odd, gone, opaque, moved = log.commits
    assert [(small.path, small.text()) for small in moved.miniatures] == [("moved.pt", "+++++"), ("other.pt", "-----")]
    assert moved.stored == 0  # All of it was there.
    assert (opaque.models, opaque.miniatures) == (("moved.pt",), ())
    assert (gone.models, gone.miniatures, gone.stored) == (("moved.pt",), (), 0)
    assert odd.models == (":odd\nname.pt", "link.pt", "submodule.pt")
    assert [small.path for small in odd.miniatures] == [":odd\nname.pt"]
    assert log.text().count("\n") == 7


def test_log_of_a_merge_is_against_its_first_parent(conflict: Repo) -> None:
    repository = Repository()
    repository.checkout(paths=[MODEL], side="theirs")
    repository.commit("merged")
    log = repository.log()
    assert {commit.subject: commit.miniatures[0].text() for commit in log.commits} == {
        "merged": "·█··█",
        "ours": "██···",
        "theirs": "·█··█",
        "first": "+++++",
    }
    assert conflict.status() == ""


def test_log_where_history_was_cut_off(line: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    done = line.run(
        "clone", "--quiet", "--depth=2", f"file://{line.top}", str(line.top.parent / "shallow"), cwd=line.top.parent
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(line.top.parent / "shallow")
    repository = Repository()
    assert [commit.subject for commit in repository.log().commits] == ["third", "second"]
    assert repository.log().commits[1].miniatures[0].text() == "+++++"
    assert repository.show("HEAD~1").commit.subject == "second"


def test_log_runs_git_as_often_for_many_commits_as_for_one(line: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line.status() == ""
    repository = Repository()
    runs: list[str] = []
    real = subprocess.Popen.__init__

    def counted(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        runs.append(args[1])
        real(self, args, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", counted)
    counts: list[list[str]] = []
    for limit in (1, 3, 3):
        if limit == 1 or not counts[1:]:
            _seen.cache_clear()
        runs.clear()
        repository.log(limit=limit)
        counts.append(sorted(runs))
    assert counts[0] == counts[1]
    # What was seen once is not read again.
    assert len(counts[2]) == len(counts[1]) - 1


def test_diff_of_every_pair(line: Repo) -> None:
    repository = Repository()
    assert changed(repository.diff()) == {}
    assert repository.diff().text() == "no tracked model differs between HEAD and work tree"
    write(b=1, wide=2, c=3)
    assert changed(repository.diff()) == {MODEL: ["c"]}
    assert changed(repository.diff("HEAD", ":")) == {}
    repository.add()
    write(b=1, wide=2, c=3, d=4)
    assert changed(repository.diff("HEAD", ":")) == {MODEL: ["c"]}
    assert changed(repository.diff(":")) == {MODEL: ["d"]}
    assert sorted(changed(repository.diff("HEAD"))[MODEL]) == ["c", "d"]
    assert changed(repository.diff("HEAD~1", "HEAD")) == {MODEL: ["wide"]}
    assert changed(repository.diff("HEAD", "HEAD~1")) == {MODEL: ["wide"]}
    assert changed(repository.diff("HEAD~2..HEAD~1", paths=[MODEL])) == {MODEL: ["b"]}
    assert changed(repository.diff("HEAD~1..")) == {MODEL: ["wide"]}
    both = repository.diff("HEAD~2", "HEAD")
    assert {path: sorted(names) for path, names in changed(both).items()} == {
        MODEL: ["b", "wide"],
        "other.pt": sorted([*LAYERS, "wide"]),
    }
    assert [(file.path, file.status) for file in both.files] == [(MODEL, "M"), ("other.pt", "A")]
    assert [file.status for file in repository.diff("HEAD", "HEAD~2").files] == ["M", "D"]
    line.git("rm", "--quiet", "--cached", "other.pt")
    (line.top / "other.pt").unlink()
    assert [(file.path, file.status) for file in repository.diff(paths=["other.pt"]).files] == [("other.pt", "D")]


def test_diff_since_they_parted(conflict: Repo) -> None:
    conflict.git("merge", "--abort")
    repository = Repository()
    assert sorted(changed(repository.diff("main...theirs"))[MODEL]) == ["b", "wide"]
    assert sorted(changed(repository.diff("main..theirs"))[MODEL]) == ["a", "b", "wide"]


def test_diff_of_what_is_not_there(repo: Repo) -> None:
    repository = Repository()
    with pytest.raises(RequestError, match=r"no\.pt is not a tracked model"):
        repository.diff(paths=["no.pt"])
    with pytest.raises(GitError, match="'nope' is not a commit"):
        repository.diff("nope")
    with pytest.raises(RequestError, match="no tracked model differs between HEAD and work tree"):
        repository.diff().figure()
    assert repo.status() == ""


def test_diff_of_a_folder(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository()
    repository.track("*.safetensors")
    write("sub/one.safetensors", seed=3)
    repository.commit("two")
    write("sub/one.safetensors", seed=3, a=1)
    write(b=1)
    assert changed(repository.diff(paths=["sub"])) == {"sub/one.safetensors": ["a"]}
    monkeypatch.chdir(repo.top / "sub")
    assert changed(repository.diff(paths=["."])) == {"sub/one.safetensors": ["a"]}


def test_diff_of_some_tensors(line: Repo) -> None:
    repository = Repository()
    diff = repository.diff("HEAD~2", "HEAD", tensors=["w*", "c"])
    assert {file.path: [tensor.name for tensor in file.tensors] for file in diff.files}[MODEL] == ["c", "wide"]
    assert changed(repository.diff("HEAD~2", "HEAD", tensors=["?"], paths=[MODEL])) == {MODEL: ["b"]}
    with pytest.raises(RequestError, match="no tensor is called 'nothing'"):
        repository.diff("HEAD~2", tensors=["w*", "nothing"])
    assert line.status() == ""


def oracle(old: str, new: str) -> tuple[float, float, float, float]:
    a, b = weights()[old].astype(np.float64), weights(**{old: int(new)})[old].astype(np.float64)
    cosine = float(np.sum(a * b) / np.sqrt(np.sum(a * a)) / np.sqrt(np.sum(b * b)))
    return float(np.sqrt(np.sum((b - a) ** 2))), float(np.sqrt(np.sum(a * a))), float(np.abs(b - a).max()), cosine


@pytest.mark.usefixtures("repo")
def test_diff_estimated_and_exact() -> None:
    write(b=1, wide=2)
    repository = Repository()
    repository.commit("two")
    quick = {t.name: t for t in repository.diff("HEAD~1", "HEAD").files[0].changed}
    l2, norm, largest, cosine = oracle("wide", "2")
    # Small tensors are measured at once.
    assert not quick["b"].estimated
    assert quick["wide"].estimated
    assert quick["wide"].largest is None
    assert quick["wide"].l2 == pytest.approx(l2, rel=0.35)
    assert quick["wide"].norm == pytest.approx(norm, rel=1e-6)
    exact = {t.name: t for t in repository.diff("HEAD~1", "HEAD", exact=True).files[0].changed}
    wide = exact["wide"]
    assert not wide.estimated
    assert (wide.l2, wide.norm, wide.largest, wide.cosine) == pytest.approx((l2, norm, largest, cosine), rel=1e-9)
    assert wide.relative == pytest.approx(l2 / norm, rel=1e-9)
    text = repository.diff("HEAD~1").text()
    assert "~" in text
    assert "--exact" in text


def test_quick_diff_reads_no_large_weight(repo: Repo) -> None:
    write(b=1, wide=2)
    repository = Repository()
    repository.commit("two")
    for record in (repo.manifest(f"HEAD~1:{MODEL}").records["wide"], repo.manifest().records["wide"]):
        for place in record.objects:
            repository.worktree.store.path(place.object).unlink()
    assert sorted(changed(repository.diff("HEAD~1", "HEAD"))[MODEL]) == ["b", "wide"]
    with pytest.raises(Exception, match="not here, and there is no remote"):
        repository.diff("HEAD~1", "HEAD", exact=True)
    # What is not shown is not needed.
    assert repository.diff("HEAD~1", "HEAD", tensors=["b"], exact=True).files[0].tensors[0].cosine is not None


def test_show(line: Repo) -> None:
    repository = Repository()
    shown = repository.show()
    assert shown.commit.id == line.head()
    assert changed(shown.diff) == {MODEL: ["wide"]}
    assert "third" in shown.text()
    assert "third" in shown.html()
    assert shown.to_dict()["diff"]["files"][0]["path"] == MODEL
    first = repository.show("HEAD~2", exact=True)
    assert [file.status for file in first.diff.files] == ["A"]
    assert "(nothing) → " in first.text()
    with pytest.raises(GitError):
        repository.show("nope")


def test_show_of_a_merge_is_against_its_first_parent(conflict: Repo) -> None:
    repository = Repository()
    repository.checkout(paths=[MODEL], side="theirs")
    repository.commit("merged")
    assert sorted(changed(repository.show().diff)[MODEL]) == ["b", "wide"]
    assert conflict.status() == ""


def test_figure(line: Repo, tmp_path: Path) -> None:
    assert line.status() == ""
    diff = Repository().diff("HEAD~1")
    for kind in ("heatmap", "norms"):
        assert diff.figure(kind).data
        diff.plot(kind, MODEL).savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
