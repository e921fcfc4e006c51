"""history: tensors over all versions of a file, against NumPy on the arrays themselves."""

from __future__ import annotations

import io
import json
import math
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.e2e.repo import MODEL
from theta_jupyter import Repository
from theta_jupyter.diffs.plots import png
from theta_jupyter.errors import GitError, RequestError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tests.e2e.repo import Repo
    from theta_jupyter.evolution import History, Step

Arrays = dict[str, "npt.NDArray[np.float32]"]
RNG = np.random.default_rng(7)
WIDE = RNG.standard_normal((100, 60)).astype(np.float32)
SMALL = RNG.standard_normal(16).astype(np.float32)


def moved(array: npt.NDArray[np.float32], much: float) -> npt.NDArray[np.float32]:
    return array + np.float32(much) * RNG.standard_normal(array.shape).astype(np.float32)


VERSIONS: list[Arrays] = [{"l.0.w": WIDE, "l.1.w": 2 * WIDE, "bias": SMALL}]
for _much in (0.1, 0.002):
    VERSIONS.append(VERSIONS[-1] | {"l.0.w": moved(VERSIONS[-1]["l.0.w"], _much)})
VERSIONS.append(VERSIONS[-1] | {"l.1.w": moved(2 * WIDE, 0.008), "bias": SMALL + 1})
VERSIONS.append({name: array for name, array in VERSIONS[-1].items() if name != "l.1.w"})
VERSIONS.append(VERSIONS[-1] | {"l.1.w": WIDE[:80]})


def put(arrays: Arrays, message: str) -> None:
    save_file(arrays, MODEL)
    Repository().commit(message)


@pytest.fixture
def long(empty: Repo) -> Repo:
    """Six versions, and a commit that has nothing to do with them."""
    repository, _ = Repository.init()
    save_file(VERSIONS[0], MODEL)
    repository.track(MODEL)
    repository.commit("version 0")
    for index, arrays in enumerate(VERSIONS[1:], 1):
        put(arrays, f"version {index}")
        if index == 2:
            empty.git("commit", "--quiet", "--allow-empty", "-m", "notes")
    return empty


def line(history: History, name: str = "") -> list[Step | None]:
    return [next((step for step in version.steps if step.tensor == name), None) for version in history.versions]


def norm(*arrays: npt.NDArray[Any]) -> float:
    return math.sqrt(sum(float(np.sum(array.astype(np.float64) ** 2)) for array in arrays))


def test_of_a_file_as_a_whole(long: Repo) -> None:
    found = Repository().history(MODEL)
    assert (found.path, found.tensors, found.more) == (MODEL, ("",), False)
    assert [version.subject for version in found.versions] == [f"version {index}" for index in range(6)]
    assert found.versions[-1].commit == long.head()
    assert found.versions[0].date == "2025-01-01T00:00:00+00:00"
    steps = [step for step in line(found) if step]
    assert [step.status for step in steps] == ["A", "M", "M", "M", "M", "M"]
    assert [step.norm for step in steps] == pytest.approx([norm(*arrays.values()) for arrays in VERSIONS], rel=1e-6)
    for index in (1, 2):
        old, new = VERSIONS[index - 1 : index + 1]
        change = norm(new["l.0.w"].astype(np.float64) - old["l.0.w"])
        assert steps[index].estimated
        assert steps[index].l2 == pytest.approx(change, rel=0.35)
        assert steps[index].relative == pytest.approx(change / norm(*old.values()), rel=0.35)
    assert (steps[0].l2, steps[0].relative) == (None, None)


def test_of_one_tensor(long: Repo) -> None:
    found = Repository().history(MODEL, "l.0.w")
    assert found.tensors == ("l.0.w",)
    steps = [step for step in line(found, "l.0.w") if step]
    assert [step.status for step in steps] == ["A", "M", "M", "", "", ""]
    assert [step.norm for step in steps] == pytest.approx([norm(arrays["l.0.w"]) for arrays in VERSIONS], rel=1e-6)
    for index in (1, 2):
        old, new = (arrays["l.0.w"].astype(np.float64) for arrays in VERSIONS[index - 1 : index + 1])
        assert steps[index].l2 == pytest.approx(norm(new - old), rel=0.35)
        assert steps[index].relative == pytest.approx(norm(new - old) / norm(old), rel=0.35)
    # Unchanged is exactly that.
    assert [(step.l2, step.relative, step.estimated) for step in steps[3:]] == [(0.0, 0.0, False)] * 3
    text = found.text()
    assert "l.0.w in m.safetensors   6 versions" in text
    assert "  change  +▇▅···" in text
    assert len(text.splitlines()) == 3 + 1 + 6 + 2
    assert long.status() == ""


@pytest.mark.usefixtures("long")
def test_a_tensor_that_went_and_came_back() -> None:
    found = Repository().history(MODEL, "l.1.w")
    steps = line(found, "l.1.w")
    assert [step.status if step else None for step in steps] == ["A", "", "", "M", "D", "A"]
    assert steps[4] is not None
    assert steps[4].norm is None
    assert "+··▅-+" in found.text()
    put({"bias": SMALL}, "gone for good")
    put({"bias": SMALL, "x": SMALL}, "later")
    assert line(Repository().history(MODEL, "l.1.w"), "l.1.w")[-2:] != [None, None]
    assert line(Repository().history(MODEL, "l.1.w"), "l.1.w")[-1] is None


@pytest.mark.usefixtures("long")
def test_a_small_tensor_has_a_norm_but_no_known_change() -> None:
    found = Repository().history(MODEL, "bias")
    steps = [step for step in line(found, "bias") if step]
    assert [step.norm for step in steps] == pytest.approx([norm(arrays["bias"]) for arrays in VERSIONS], rel=1e-6)
    assert [step.relative for step in steps] == [None, 0.0, 0.0, None, 0.0, 0.0]
    assert "+··?··" in found.text()
    assert "git theta diff OLD NEW reads it" in found.text()
    # A picture all the same.
    assert png(found.plot()).startswith(b"\x89PNG")


@pytest.mark.usefixtures("long")
def test_of_several_tensors() -> None:
    found = Repository().history(MODEL, "l.*")
    assert found.tensors == ("l.0.w", "l.1.w")  # The most changed first.
    assert [len(version.steps) for version in found.versions] == [2] * 6
    assert found == Repository().history(MODEL, ["l.1.w", "*.0.w"])
    rows = found.to_pandas()
    assert len(rows) == 12
    assert list(rows.columns)[:5] == ["commit", "subject", "date", "tensor", "status"]
    ours = rows[rows["tensor"] == "l.0.w"]["norm"]
    assert list(ours) == pytest.approx([norm(arrays["l.0.w"]) for arrays in VERSIONS], rel=1e-6)
    built = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert built["versions"][1]["steps"][0]["tensor"] == "l.0.w"
    assert "2 tensors of m.safetensors   6 versions" in found.text()


@pytest.mark.usefixtures("long")
def test_limit_and_ref() -> None:
    found = Repository().history(MODEL, limit=2)
    assert [version.subject for version in found.versions] == ["version 4", "version 5"]
    assert found.more
    assert "-n 500" in found.text()
    # The first that is shown is compared with the one before, all the same.
    assert [step.status for step in line(found) if step] == ["M", "M"]
    assert not Repository().history(MODEL, limit=6).more
    assert [v.subject for v in Repository().history(MODEL, ref="HEAD~5").versions] == ["version 0", "version 1"]


def test_nothing_but_manifests_is_needed(long: Repo) -> None:
    before = [Repository().history(MODEL, name) for name in ("", "*")]
    shutil.rmtree(long.theta / "objects")
    (long.top / MODEL).unlink()
    assert [Repository().history(MODEL, name) for name in ("", "*")] == before


def test_what_is_not_there(long: Repo) -> None:
    repository = Repository()
    with pytest.raises(RequestError, match=r"no\.safetensors is not a tracked model in any version"):
        repository.history("no.safetensors")
    (long.top / "notes.txt").write_text("notes")
    (long.top / "sub").mkdir()
    shutil.copy(MODEL, long.top / "sub" / MODEL)
    repository.track(f"sub/{MODEL}")
    repository.commit("sub")
    long.git("add", "notes.txt")
    long.git("commit", "--quiet", "-m", "notes")
    for path in ("notes.txt", "sub"):
        with pytest.raises(RequestError, match=f"{path} is not a tracked model"):
            repository.history(path)
    with pytest.raises(RequestError, match=r"no tensor is called 'nope\*' in any version"):
        repository.history(MODEL, ["l.*", "nope*"])
    with pytest.raises(GitError, match="'nope' is not a commit"):
        repository.history(MODEL, ref="nope")
    with pytest.raises(GitError, match="outside the repository"):
        repository.history("../x")


def test_a_file_that_was_not_always_tracked_and_was_deleted(empty: Repo) -> None:
    repository, _ = Repository.init()
    save_file(VERSIONS[0], MODEL)
    empty.commit(message="as it is")
    repository.track(MODEL)
    repository.commit("tracked")
    # As somebody does who has no filter.
    raw = empty.git("hash-object", "-w", "--no-filters", MODEL).strip()
    empty.git("update-index", "--cacheinfo", f"100644,{raw},{MODEL}")
    empty.git("commit", "--quiet", "-m", "as it is, again")
    put(VERSIONS[1], "tracked again")
    (empty.top / MODEL).unlink()
    empty.commit(message="gone")
    steps = line(repository.history(MODEL))
    assert [step.status if step else None for step in steps] == [None, "A", "D", "A", "D"]
    norms = [step.norm if step else None for step in steps]
    assert norms[1::2] == pytest.approx([norm(*VERSIONS[index].values()) for index in (0, 1)], rel=1e-6)
    assert norms[::2] == [None, None, None]
    assert repository.history(MODEL).figure().data


def test_a_renamed_tensor_is_followed(empty: Repo) -> None:
    repository, _ = Repository.init()
    save_file({"old": WIDE, "new": SMALL}, MODEL)
    repository.track(MODEL)
    repository.commit("first")
    # What is called `new` now was another, once, and is not meant.
    put({"old": moved(WIDE, 0.1)}, "second")
    array = moved(WIDE, 0.2)
    put({"old": array}, "third")
    put({"new": array}, "renamed")
    put({"new": moved(array, 0.1)}, "last")
    found = repository.history(MODEL, "new")
    steps = line(found, "new")
    assert [step.status if step else None for step in steps] == ["A", "M", "M", "R", "M"]
    assert [len(version.steps) for version in found.versions] == [1] * 5
    assert steps[0] is not None
    assert steps[0].norm == pytest.approx(norm(WIDE), rel=1e-6)
    assert "new was called old" in found.text()
    # A pattern is not a tensor.
    assert [len(version.steps) for version in repository.history(MODEL, "n*").versions] == [1, 1, 0, 1, 1]
    assert empty.status() == ""


def test_merges(conflict: Repo) -> None:
    repository = Repository()
    repository.checkout(paths=[MODEL], side="theirs")
    (conflict.top / MODEL).write_bytes((conflict.top / MODEL).read_bytes())
    save_file({"wide": WIDE}, MODEL)
    repository.commit("merged")
    found = repository.history(MODEL, "wide")
    assert {version.subject for version in found.versions} == {"first", "ours", "theirs", "merged"}
    assert (found.versions[0].subject, found.versions[-1].subject) == ("first", "merged")
    by_subject = {version.subject: version.steps[0] for version in found.versions}
    # Ours did not touch it; the merge is compared with ours, its first parent.
    assert by_subject["ours"].status == ""
    assert by_subject["merged"].status == "S"


def test_other_formats_and_what_nobody_understands(empty: Repo) -> None:
    import torch

    repository, _ = Repository.init()
    shared = torch.from_numpy(WIDE)
    torch.save({"tied": shared, "head": shared, "row": shared[0]}, "m.pt")
    Path("opaque.pt").write_bytes(b"what is this" * 1000)
    repository.track("*.pt")
    repository.commit("first")
    # What two tensors share is counted once; of a part of it the norm is not known.
    whole = line(repository.history("m.pt"))[0]
    assert whole is not None
    assert whole.norm == pytest.approx(norm(WIDE), rel=1e-6)
    norms = {step.tensor: step.norm for step in repository.history("m.pt", "*").versions[0].steps}
    assert norms == {"tied": pytest.approx(norm(WIDE)), "head": pytest.approx(norm(WIDE)), "row": None}
    Path("opaque.pt").write_bytes(b"what is that" * 1000)
    repository.commit("second")
    found = repository.history("opaque.pt")
    assert [(step.status, step.norm, step.relative) for step in line(found) if step] == [
        ("A", None, None),
        ("M", None, None),
    ]
    assert png(found.plot())
    assert empty.status() == ""


HOSTILE = ["_under", "x<b>y", "$\\frac{1}{$", "%{y} &lt;", "漢字", "a[0]", "a" * 300]


def test_hostile_names_and_subjects(empty: Repo) -> None:
    repository, _ = Repository.init()
    save_file(dict.fromkeys(HOSTILE, WIDE), MODEL)
    repository.track(MODEL)
    repository.commit("<img src=x onerror=alert(1)> $x^2$ \x1b[31m")
    put({name: moved(WIDE, 0.1) for name in HOSTILE}, "$\\frac{1}{$")
    found = repository.history(MODEL, "*")
    assert set(found.tensors) == set(HOSTILE)
    assert "<b>y" not in found.html()
    assert "<img src=x" not in found.html()
    assert "\x1b" not in found.text()
    figure = found.figure().to_dict()
    said = json.dumps([figure["data"], figure["layout"]["title"]])
    assert "<b>" not in said
    assert "<img" not in said
    assert "$" not in said.replace("&#36;", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = matplotlib.image.imread(io.BytesIO(png(found.plot())))
    assert np.count_nonzero(pixels[..., 3]) > 1000
    labels = [text.get_text() for text in found.plot().legends[0].get_texts()]
    assert "_under" in labels
    assert "$\\frac{1}{$" in labels
    # One that looks like a pattern is found by its name.
    assert repository.history(MODEL, "a[0]").tensors == ("a[0]",)
    assert empty.status() == ""


@pytest.mark.usefixtures("long")
def test_figures() -> None:
    found = Repository().history(MODEL, "l.*")
    traces = found.figure().data
    assert [(trace.name, trace.yaxis) for trace in traces] == [
        ("l.0.w", "y"),
        ("l.0.w", "y2"),
        ("l.1.w", "y"),
        ("l.1.w", "y2"),
    ]
    first = norm(VERSIONS[0]["l.0.w"])
    assert list(traces[0].y) == pytest.approx([norm(arrays["l.0.w"]) / first for arrays in VERSIONS], rel=1e-6)
    assert f"norm {first:.4g}<br>{found.versions[0].commit[:7]}" in traces[0].hovertext[0]
    assert "version 0" in traces[0].hovertext[0]
    # Where nothing changed, or nothing was, there is a gap.
    assert [y is None for y in traces[1].y] == [True, False, False, True, True, True]
    assert [y is None for y in traces[2].y] == [False, False, False, False, True, False]
    assert found.figure().layout.yaxis2.type == "log"
    single = Repository().history(MODEL, "l.0.w").figure().data[0]
    assert single.y[0] == pytest.approx(first, rel=1e-6)
    drawn = found.plot()
    above, below = drawn.axes
    heights = np.array([axes.lines[0].get_ydata() for axes in (above, below)])
    assert np.isnan(heights[1]).tolist() == [True, False, False, True, True, True]
    assert heights[0, 0] == 1.0
    pixels = matplotlib.image.imread(io.BytesIO(png(drawn)))
    assert np.median(pixels[..., 3]) == 0  # The page shows through.
    assert [label.get_text() for label in below.get_xticklabels()] == [v.commit[:7] for v in found.versions]


def test_many_tensors_and_versions(empty: Repo) -> None:
    repository, _ = Repository.init()
    arrays = {f"l.{index}.w": WIDE for index in range(15)}
    save_file(arrays, MODEL)
    repository.track(MODEL)
    repository.commit("version 0")
    for index in range(1, 4):
        arrays["l.7.w"] = moved(arrays["l.7.w"], 0.1)
        put(arrays, f"version {index}")
    found = repository.history(MODEL, "*")
    assert len(found.tensors) == 15
    assert found.tensors[0] == "l.7.w"
    assert "the 12 most changed; 3 more" in found.text()
    assert len(found.figure().data) == 24
    assert "the 12 most changed of 15 tensors" in found.figure().layout.title.text
    assert len(found.plot().axes[0].lines) == 12
    many = type(found)(found.path, ("l.7.w",), found.versions * 50)
    text = many.text()
    assert max(len(line) for line in text.splitlines()[1:3]) == len("  change  ") + 1 + 48
    assert len(many.plot().axes[1].get_xticks()) <= 24
    assert empty.status() == ""
