"""What a view asks and is told, and the widget that carries it."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from safetensors.numpy import load_file

from tests.api.place import write
from tests.e2e.repo import MODEL
from theta_jupyter import Repository
from theta_jupyter.comparing import compare
from theta_jupyter.diffs import pair
from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.measure import measure
from theta_jupyter.diffs.report import Diff, FileDiff
from theta_jupyter.errors import RequestError
from theta_jupyter.jupyter import widgets
from theta_jupyter.jupyter.views import DiffView
from theta_jupyter.jupyter.widgets import MIME, DiffWidget, bundle, widget

if TYPE_CHECKING:
    from tests.e2e.repo import Repo

TYPES = Path(__file__).parents[2] / "labextension/src/api/types.ts"
RNG = np.random.default_rng(0)


def fields(name: str) -> set[str]:
    """The fields of an interface that the views were written to."""
    text = re.sub(r"/\*.*?\*/", "", TYPES.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.search(rf"export interface {name} (?:extends ([\w, ]+) )?{{(.*?)^}}", text, re.DOTALL | re.MULTILINE)
    assert found, name
    inherited = [fields(parent.strip()) for parent in (found[1] or "").split(",") if parent.strip()]
    return set(re.findall(r"^  (\w+)\??:", found[2], re.MULTILINE)).union(*inherited)


def arrays() -> tuple[dict[str, Any], dict[str, Any]]:
    """Two versions with every status, odd values, and names that a stranger chose."""
    wide = {f"layer.{i}.w": RNG.standard_normal((50, 100)).astype(np.float32) for i in range(4)}
    same = {"layer.0.same": np.ones(3), "layer.0.odd": np.array([np.nan, np.inf, 1e308])}
    old = {**wide, **same, "layer.9.gone": np.full(2, 5.0), "layer.9.shaped": np.ones(4), "layer.8.was": np.arange(9.0)}
    new = {name: array + np.float32(0.01) for name, array in wide.items()}
    new |= {**same, "layer.0.odd": np.array([1.0, -np.inf, -1e308]), "layer.9.shaped": np.ones((2, 2))}
    new |= {"layer.8.is": np.arange(9.0), "layer.7.<b>|$x$": np.ones(2), "layer.0.zero": np.ones(2)}
    old |= {"layer.6.cast": np.ones(3, np.float32), "layer.0.zero": np.zeros(2)}
    new |= {"layer.6.cast": np.full(3, 2, np.float64)}
    return old, new


def clean(answer: Any) -> Any:
    """The answer, as the browser gets it."""
    return json.loads(json.dumps(answer, allow_nan=False))


@pytest.fixture
def diff() -> Diff:
    return compare(*arrays(), names=("before", "after"))


def check_tensor(row: dict[str, Any]) -> None:
    assert set(row) == fields("Tensor")
    assert isinstance(row["shape"], list)
    assert isinstance(row["estimated"], bool)


def check_info(info: dict[str, Any]) -> None:
    assert fields("FileInfo") <= set(info)
    assert all(isinstance(fact, str) for fact in [*info["facts"], *info["notes"]])


# Questions and answers.


def test_the_fields_are_read_from_the_interfaces() -> None:
    """Else the tests below would compare nothing."""
    assert {"name", "l2", "relative", "row", "column"} < fields("Tensor")
    assert fields("FileDiff") == fields("FileInfo") | {"heatmap", "norms", "tensors"}


def test_overview(diff: Diff) -> None:
    answer = clean(DiffView(diff).questions["diff"]())
    assert set(answer) == fields("Diff")
    assert [file["path"] for file in answer["files"]] == ["before"]
    for file in answer["files"]:
        assert set(file) == fields("FileInfo")
        check_info(file)


def test_file(diff: Diff) -> None:
    answer = clean(DiffView(diff).questions["file"](path="before"))
    assert set(answer) == fields("FileDiff")
    check_info(answer)
    rows = {row["name"]: row for row in answer["tensors"]}
    for row in rows.values():
        check_tensor(row)
    assert {name: row["status"] for name, row in rows.items()} == {
        **{f"layer.{i}.w": "M" for i in range(4)},
        "layer.0.same": "",
        "layer.0.odd": "M",
        "layer.0.zero": "M",
        "layer.6.cast": "T",
        "layer.7.<b>|$x$": "A",
        "layer.8.is": "R",
        "layer.9.gone": "D",
        "layer.9.shaped": "S",
    }
    # Infinitely much.
    assert (rows["layer.0.zero"]["relative"], rows["layer.0.zero"]["norm"]) == (None, 0)
    # Each is in a cell of the heatmap.
    for kind in ("heatmap", "norms"):
        go.Figure(answer[kind])
    meta = answer["heatmap"]["layout"]["meta"]
    assert {row["row"] for row in rows.values()} == set(meta["rows"])
    assert {row["column"] for row in rows.values()} == set(meta["columns"])
    assert any("estimated" in note for note in answer["notes"])


def test_figures(diff: Diff) -> None:
    view = DiffView(diff)
    answer = clean(view.questions["figures"](path="before"))
    assert fields("Refreshed") <= set(answer)
    assert "~" in " ".join(answer["facts"])
    view.measure("before", [tensor.name for tensor in diff.files[0].tensors])
    later = clean(view.questions["figures"](path="before"))
    assert "~" not in " ".join(later["facts"])
    assert later["notes"] == []
    assert later["heatmap"]["data"][0]["z"] != answer["heatmap"]["data"][0]["z"]


def test_figures_that_say_nothing_are_null() -> None:
    new = FileDiff("m", "A", "a", "b", (TensorDiff("x", "A", (2,), "F32", 2),))
    answer = clean(DiffView(Diff("a", "b", (new,))).file("m"))
    assert (answer["heatmap"], answer["norms"]) == (None, None)


def test_measure(diff: Diff) -> None:
    view = DiffView(diff)
    names = ["layer.1.w", "layer.9.gone", "nothing"]
    answer = clean(view.questions["measure"](path="before", names=names))
    assert [row["name"] for row in answer["tensors"]] == ["layer.1.w", "layer.9.gone"]
    for row in answer["tensors"]:
        check_tensor(row)
    row = answer["tensors"][0]
    old, new = (side["layer.1.w"].astype(np.float64) for side in arrays_of(diff))
    assert row["l2"] == pytest.approx(np.linalg.norm(new - old), rel=1e-9)
    assert row["largest"] == pytest.approx(np.abs(new - old).max(), rel=1e-9)
    assert (row["estimated"], row["changed"]) == (False, 1.0)
    # It stays measured, and nothing else is.
    after = {t.name: t for t in view.diff.files[0].tensors}
    assert not after["layer.1.w"].estimated
    assert after["layer.2.w"].estimated
    assert clean(view.file("before"))["tensors"] == [
        row if row["name"] == "layer.1.w" else other
        for other in clean(DiffView(diff).file("before"))["tensors"]
        for row in [answer["tensors"][0] if other["name"] == "layer.1.w" else other]
    ]
    # The diff that the user has is as it was.
    assert {t.name: t for t in diff.files[0].tensors}["layer.1.w"].estimated


def arrays_of(diff: Diff) -> tuple[Any, Any]:
    """What a diff is of."""
    of = diff.pairs["before"]
    assert of.old
    assert of.new
    return of.old.tensors, of.new.tensors


def test_every_tensor_can_be_looked_at(diff: Diff) -> None:
    view = DiffView(diff)
    for tensor in diff.files[0].tensors:
        answer = clean(view.questions["tensor"](path="before", name=tensor.name))
        assert set(answer) == fields("Detail")
        check_tensor(answer["tensor"])
        assert answer["tensor"]["name"] == tensor.name
        assert all(len(fact) == 2 for fact in answer["facts"])
        for figure in answer["figures"]:
            assert set(figure) == {"title", "figure"}
            assert fields("Figure") == set(figure["figure"])
            go.Figure(figure["figure"])
        if tensor.status in {"M", "T"}:
            assert answer["tensor"]["changed"] is not None
    assert not any(t.estimated for t in view.diff.files[0].tensors)


def test_two_threads_measure_at_once(diff: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has measured is not lost when the other, which began before, is done."""
    view = DiffView(diff)
    both = threading.Barrier(2)

    def slow(*arguments: Any) -> Any:
        both.wait(30)
        return measure(*arguments)

    monkeypatch.setattr(pair, "measure", slow)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(view.measure, "before", ["layer.1.w"])
        two = pool.submit(view.tensor, "before", "layer.2.w")
        assert one.result()["tensors"][0]["changed"] == two.result()["tensor"]["changed"] == 1.0
    measured = {t.name for t in view.diff.files[0].tensors if t.name.endswith("w") and t.changed is not None}
    assert measured == {"layer.1.w", "layer.2.w"}


def test_several_files(repo: Repo) -> None:
    repository = Repository()
    write("two.safetensors", seed=1)
    repository.track("two.safetensors")
    repository.commit("two")
    write(b=1)
    write("two.safetensors", seed=1, wide=2)
    view = DiffView(repository.diff())
    assert [file["path"] for file in clean(view.overview())["files"]] == [MODEL, "two.safetensors"]
    view.measure("two.safetensors", ["wide"])
    one, two = view.diff.files
    assert [t.name for t in two.tensors if t.changed is not None] == ["wide"]
    assert not [t for t in one.tensors if t.estimated]
    with pytest.raises(RequestError, match=r"three\.pt does not differ"):
        view.file("three.pt")
    assert repo.top.exists()


# The widget.


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What widgets sent to the browser."""
    found: list[tuple[Any, Any]] = []

    def send(_: DiffWidget, content: Any, buffers: Any = None) -> None:
        found.append((clean(content), buffers))

    monkeypatch.setattr(DiffWidget, "send", send)
    return found


def ask(shown: DiffWidget, question: Any, sent: list[tuple[Any, Any]]) -> Any:
    shown._handle_custom_msg(question, [])
    return sent.pop()


def test_the_widget_answers(diff: Diff, sent: list[tuple[Any, Any]]) -> None:
    shown = DiffWidget(diff)
    answer, _ = ask(shown, {"id": 1, "method": "diff"}, sent)
    assert answer == {"id": 1, "result": clean(DiffView(diff).overview())}
    answer, _ = ask(shown, {"id": "x", "method": "tensor", "params": {"path": "before", "name": "layer.1.w"}}, sent)
    assert (answer["id"], answer["result"]["tensor"]["changed"]) == ("x", 1.0)
    assert not {t.name: t for t in shown.diff.files[0].tensors}["layer.1.w"].estimated


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"id": 7, "method": "erase"}, "the view asks for 'erase', which this version does not know"),
        ({"id": 7, "method": "__init__"}, "which this version does not know"),
        ({"id": 7, "method": ["diff"]}, "a bug in theta"),
        ({"id": 7}, "a bug in theta: KeyError"),
        ({"id": 7, "method": "file"}, "missing 1 required positional argument"),
        ({"id": 7, "method": "file", "params": {"path": "before", "more": 1}}, "unexpected keyword"),
        ({"id": 7, "method": "file", "params": [1]}, "must be a mapping"),
        ({"id": 7, "method": "file", "params": {"path": "nothing"}}, "nothing does not differ"),
        ({"id": 7, "method": "tensor", "params": {"path": "before", "name": "x"}}, "before has no tensor 'x'"),
        ("diff", "a bug in theta"),
        (None, "a bug in theta"),
        ([], "a bug in theta"),
    ],
)
def test_whatever_is_asked_is_answered(
    diff: Diff, sent: list[tuple[Any, Any]], question: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _ = ask(DiffWidget(diff), question, sent)
    assert set(answer) == {"id", "error"}
    assert answer["id"] == (7 if isinstance(question, dict) else None)
    assert message in answer["error"]["message"]
    assert isinstance(answer["error"]["hint"], str)
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_is_answered(diff: Diff, sent: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pair, "measure", interrupted)
    question = {"id": 1, "method": "measure", "params": {"path": "before", "names": ["layer.1.w"]}}
    answer, _ = ask(DiffWidget(diff), question, sent)
    assert answer["error"]["message"] == "interrupted"


def test_the_views_come_from_the_kernel_or_it_says_what_to_do(
    diff: Diff, sent: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    widgets._views.cache_clear()
    monkeypatch.setattr(widgets, "VIEWS", tmp_path / "views.js")
    answer, buffers = ask(DiffWidget(diff), {"id": 1, "method": "bundle"}, sent)
    assert (answer["error"], buffers) == (
        {"message": "the views are not built", "hint": "in a checkout: make setup"},
        None,
    )
    (tmp_path / "views.js").write_bytes(b"export const x = 1")
    answer, buffers = ask(DiffWidget(diff), {"id": 2, "method": "bundle"}, sent)
    assert (answer, buffers) == ({"id": 2, "result": "bundle"}, [b"export const x = 1"])
    widgets._views.cache_clear()


def test_traits_can_be_observed_and_linked(diff: Diff) -> None:
    shown = DiffWidget(diff, filter="*.w", hide_unchanged=False)
    assert (shown.selection, shown.filter, shown.hide_unchanged, shown.file) == ("", "*.w", False, "before")
    assert shown.selected is None
    seen: list[str] = []
    shown.observe(lambda change: seen.append(change["new"]), "selection")
    shown.selection = "layer.1.w"
    assert seen == ["layer.1.w"]
    assert shown.selected
    assert shown.selected.estimated
    shown.diff.exact()
    shown._diffs.measure("before", ["layer.1.w"])
    assert not shown.selected.estimated
    shown.selection = "nothing"
    assert shown.selected is None
    state = shown.get_state()
    assert {"selection", "filter", "hide_unchanged", "file", "_version", "_static"} <= set(state)
    assert DiffWidget(Diff("a", "b", ())).selected is None


def test_what_a_notebook_keeps(diff: Diff) -> None:
    data, metadata = widget(diff)._repr_mimebundle_()
    assert set(data) >= {"text/plain", "text/html", MIME, "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"].startswith("before   before → after")
    assert "<img" in data["text/html"]
    assert "<script" not in data["text/html"]
    assert data[MIME] == {}
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget(diff).model_id
    assert isinstance(metadata, dict)
    clean(data)


def test_one_widget_for_a_result(diff: Diff) -> None:
    assert widget(diff) is widget(diff)
    other = compare(*arrays())
    assert widget(other) is not widget(diff)
    assert bundle(diff)[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == widget(diff).model_id
    # The number of a result that is gone may be given to another.
    numbers = set()
    for _ in range(5):
        # One without a picture, which takes long to draw.
        shown = widget(Diff("a", "b", (FileDiff("m", "A", "a", "b", (TensorDiff("x", "A", (2,), "F32", 2),)),)))
        numbers.add(shown.model_id)
        shown.close()
        del shown
        gc.collect()
    assert len(numbers) == 5


def test_where_nothing_differs_there_is_no_widget(diff: Diff) -> None:
    nothing = Diff("a", "b", ())
    assert bundle(nothing) == nothing._repr_mimebundle_()
    assert set(bundle(nothing)) == {"text/plain", "text/html"}
    for other in (nothing, Repository, 3, None, diff.files[0]):
        with pytest.raises(RequestError, match="there is nothing to show"):
            widget(other)


def test_a_commit_shows_its_diff(repo: Repo) -> None:
    write(b=1)
    repository = Repository()
    repository.commit("second & last")
    shown = repository.show()
    data, _ = bundle(shown)
    assert data["text/plain"] == shown.text()
    assert "second &amp; last" in data["text/html"]
    assert widget(shown) is widget(shown)
    assert widget(shown).diff.files == shown.diff.files
    assert "Tester, 2025-01-01" in widget(shown).diff.subject
    assert repo.status() == ""


def encoder() -> dict[str, tuple[int, ...]]:
    """The tensors of a sentence encoder of six layers, at a tenth of the width: 104 in all."""
    names: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (3000, 38)}
    names |= {f"embeddings.{kind}_embeddings.weight": (51, 38) for kind in ("position", "token_type")}
    names |= {f"embeddings.LayerNorm.{kind}": (38,) for kind in ("weight", "bias")}
    for layer in range(6):
        parts = {f"attention.self.{part}": (38, 38) for part in ("query", "key", "value")}
        parts |= {"attention.output.dense": (38, 38), "intermediate.dense": (154, 38), "output.dense": (38, 154)}
        for part, shape in parts.items():
            names |= {f"encoder.layer.{layer}.{part}.weight": shape, f"encoder.layer.{layer}.{part}.bias": shape[:1]}
        for part in ("attention.output", "output"):
            names |= {f"encoder.layer.{layer}.{part}.LayerNorm.{kind}": (38,) for kind in ("weight", "bias")}
    names |= {f"pooler.dense.{kind}": (38,) for kind in ("weight", "bias")}
    return names | {"embeddings.position_ids": (51,)}


def test_what_is_saved_with_a_notebook_is_small() -> None:
    rng = np.random.default_rng(5)
    shapes = encoder()
    assert len(shapes) == 104
    old = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    new = {name: array * np.float32(1 + 10.0 ** rng.uniform(-6, -1)) for name, array in old.items()}
    diff = compare(old, new)
    assert len(diff.files[0].changed) == 104
    shown = widget(diff)
    saved = json.dumps(shown._repr_mimebundle_()[0]) + json.dumps(shown.get_state())
    assert "data:image/png" in saved
    assert len(saved) < 100_000
    # Also once every tensor has been looked at.
    shown._diffs.measure(diff.files[0].path, list(shapes))
    assert len(json.dumps(shown._repr_mimebundle_()[0]) + json.dumps(shown.get_state())) < 100_000


def test_the_widget_of_a_model_in_memory(repo: Repo) -> None:
    """Training goes on after the diff: what a click asks for is refused in words."""
    from tests.e2e.repo import weights

    model = {name: torch.from_numpy(array) for name, array in weights(wide=2).items()}
    diff = Repository().diff(model=model)
    view = DiffView(diff)
    assert clean(view.tensor(MODEL, "wide"))["tensor"]["changed"] == 1.0
    model["wide"] += 1
    with pytest.raises(RequestError, match="tensor 'wide' of model has changed since it was compared"):
        view.tensor(MODEL, "wide")
    assert repo.status() == ""


NOTEBOOK = """
%load_ext theta_jupyter
from theta_jupyter import Repository
repo, _ = Repository.init(".")
repo.worktree.git("config", "user.name", "Demo")
repo.worktree.git("config", "user.email", "demo@example.invalid")
import torch
from safetensors.numpy import load_file
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
repo.save(model, "m.pt", "first")
with torch.no_grad():
    model[1].weight += 1
"""


def test_a_notebook_run_as_a_batch_exports_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to click; with a widget's state saved, a page would show that, from a network, and no picture."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [nbformat.v4.new_code_cell(source) for source in (NOTEBOOK, "%theta diff HEAD --with model")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", "n.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "n.html").read_text()
    assert "widget-view" not in page
    assert page.count("Heatmap of relative change") == 1
    assert "1.weight" in page


def test_what_an_output_can_be_opened_as(repo: Repo) -> None:
    write(a=1)
    Repository().commit("second")
    first, second = repo.head("HEAD~1"), repo.head()
    write(a=2)
    repository = Repository()
    opened = [
        (repository.diff("HEAD~1", "HEAD"), first, second),
        (repository.diff(), second, ""),
        (repository.diff("HEAD~1", ":"), first, ":"),
        (repository.show("HEAD~1"), "", first),
    ]
    for shown, old, new in opened:
        data, _ = widget(shown)._repr_mimebundle_()
        assert data[MIME] == {"kind": "diff", "old": old, "new": new, "path": MODEL}
    exact = repository.diff("HEAD~1", "HEAD").exact()
    assert exact.versions == (first, second)
    assert "versions" not in exact.to_dict()
    model = {name: torch.from_numpy(value) for name, value in load_file(repo.top / MODEL).items()}
    data, _ = widget(repository.diff("HEAD", model=model | {"b": model["b"] + 1}))._repr_mimebundle_()
    assert data[MIME] == {}
