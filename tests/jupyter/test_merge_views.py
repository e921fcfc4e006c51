"""What the views of a merge and of a scoreboard ask and are told, and the widgets that carry them."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from safetensors.numpy import load, save

from tests.e2e.repo import MODEL, safetensors, weights
from theta_jupyter import Repository, blending
from theta_jupyter.board import Board, Trial
from theta_jupyter.errors import RequestError
from theta_jupyter.git.worktree import Worktree
from theta_jupyter.jupyter.board_view import BoardView
from theta_jupyter.jupyter.merge_view import MergeView
from theta_jupyter.jupyter.widgets import MIME, BoardWidget, MergeWidget, ViewWidget, bundle, widget
from theta_jupyter.merges.base import installed
from theta_jupyter.merges.plan import Rule
from theta_jupyter.storage.pool import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.repo import Repo

API = Path(__file__).parents[2] / "labextension/src/api"
LINEAR = {"tensors": "b", "strategy": "linear", "parameters": {"weight": [1, 3]}, "file": MODEL}


def fields(name: str, file: str = "merge.ts") -> set[str]:
    """The fields of an interface that the views were written to."""
    text = re.sub(r"/\*.*?\*/", "", (API / file).read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.search(rf"export interface {name} {{(.*?)^}}", text, re.DOTALL | re.MULTILINE)
    assert found, name
    return set(re.findall(r"^  (\w+)\??:", found[1], re.MULTILINE))


def clean(answer: Any) -> Any:
    """The answer, as the browser gets it."""
    return json.loads(json.dumps(answer, allow_nan=False))


def check_state(state: dict[str, Any]) -> None:
    assert set(state) == fields("MergeState")
    for side in ("ours", "theirs"):
        assert set(state[side]) == fields("Version")
    for file in state["files"]:
        assert set(file) == fields("MergeFile")
    for rule in state["rules"]:
        assert set(rule) == fields("Rule")


def check_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) == fields("Row")


@pytest.fixture
def view(conflict: Repo) -> Iterator[MergeView]:
    yield MergeView(Repository().merging())
    assert conflict.top.exists()


# Questions and answers.


def test_the_state(view: MergeView) -> None:
    state = clean(view.questions["merge"]())
    check_state(state)
    assert (state["kind"], state["title"], state["left"]) == ("merge", "Merging theirs into main", 1)
    assert state["theirs"] == {"name": "theirs", "subject": "theirs", "commit": state["theirs"]["commit"]}
    assert len(state["theirs"]["commit"]) == 7
    assert state["files"][0]["settled"] == {"ours only": 1, "theirs only": 1, "unchanged": 2}


def test_the_strategies(view: MergeView) -> None:
    found = clean(view.questions["strategies"]())
    assert [strategy["name"] for strategy in found] == list(installed())
    for strategy in found:
        assert set(strategy) == fields("Strategy")
        assert all(fields("Parameter") <= set(parameter) for parameter in strategy["parameters"])


def test_rows(view: MergeView) -> None:
    (row,) = clean(view.questions["file"](path=MODEL))["rows"]
    check_rows([row])
    assert (row["name"], row["glob"], row["class"], row["shape"]) == ("b", "b", "both changed", [8, 8])
    assert (row["strategy"], row["rule"], row["estimated"]) == ("", None, False)
    assert row["ours"] > 0
    settled = clean(view.questions["settled"](path=MODEL))["rows"]
    check_rows(settled)
    assert {found["name"]: found["class"] for found in settled} == {
        "a": "ours only",
        "wide": "theirs only",
        "c": "unchanged",
        "d": "unchanged",
    }


def test_what_grew_from_nothing(repo: Repo) -> None:
    """A change relative to zero is no number that JSON has."""
    for branch, value in (("base", 0), ("theirs", 1), ("main", 2)):
        if branch != "base":
            repo.git("switch", "--quiet", *(["--create"] if branch == "theirs" else []), branch)
        repo.commit(save({"z": np.full(8, value, np.float32)}), branch)
    repo.fails("merge", "theirs")
    merge = Repository().merging()
    assert merge.rows(MODEL)[0].standing.ours == np.inf
    (row,) = clean(MergeView(merge).file(MODEL))["rows"]
    assert (row["ours"], row["theirs"]) == (None, None)


def test_choosing(view: MergeView) -> None:
    answer = clean(view.questions["choose"](rules=[LINEAR]))
    assert set(answer) == fields("Choice")
    check_state(answer["state"])
    ((file, rows),) = [(found["path"], found["rows"]) for found in answer["rows"]]
    check_rows(rows)
    assert (file, rows[0]["strategy"], rows[0]["rule"]) == (MODEL, "linear", 0)
    assert rows[0]["parameters"] == {"weight": [1, 3], "normalize": True}
    first = answer["state"]
    assert (first["left"], first["can_undo"]) == (0, True)
    answer = clean(view.questions["edit"](index=0, rule={**LINEAR, "strategy": "ours", "parameters": {}}))
    assert answer["state"]["rules"] == [{"tensors": "b", "file": MODEL, "strategy": "ours", "parameters": {}}]
    assert answer["state"]["revision"] > first["revision"]
    assert clean(view.questions["edit"](index=0, rule=None))["state"]["rules"] == []
    view.questions["undo"]()
    assert clean(view.questions["undo"]())["state"]["rules"] == first["rules"]


@pytest.mark.parametrize("rule", [None, {}, [], "x", {"tensors": 1, "strategy": "linear"}, {"tensors": "b"}])
def test_rules_that_are_none(view: MergeView, rule: Any) -> None:
    with pytest.raises(RequestError, match="the view sent no rule"):
        view.choose([rule])


@pytest.mark.parametrize("strategy", ["", "linear", "theirs"])
def test_a_preview(view: MergeView, strategy: str) -> None:
    told: list[str] = []
    answer = clean(
        view.questions["preview"](
            path=MODEL, name="b", strategy=strategy, parameters={}, progress=lambda what, *_: told.append(what)
        )
    )
    assert set(answer) == fields("Preview")
    check_rows([answer["row"]])
    assert len(answer["table"]["rows"]) == (4 if strategy else 3)
    assert all(len(row) == len(answer["table"]["columns"]) for row in answer["table"]["rows"])
    assert all(len(fact) == 2 for fact in answer["facts"])
    for figure in answer["figures"]:
        assert set(figure) == {"title", "figure"}
        assert go.Figure(figure["figure"]).data
    values = next(figure for figure in answer["figures"] if figure["title"].startswith("values"))
    assert len(values["figure"]["data"]) == (4 if strategy else 3)
    assert told == ["reading"]


def test_the_end(view: MergeView, conflict: Repo) -> None:
    view.choose([LINEAR])
    state = clean(view.questions["finish"](message="told", progress=silent))
    check_state(state)
    assert (state["kind"], state["files"]) == ("", [])
    assert state["outcome"].startswith("merged theirs into main: ")
    x, y = (weights(b=seed)["b"].astype(np.float64) for seed in (1, 2))
    assert load(conflict.read())["b"].tobytes() == (x / 4 + y * 0.75).astype(np.float32).tobytes()
    assert conflict.git("log", "-1", "--format=%s") == "told\n"
    conflict.check()


def test_giving_up(view: MergeView, conflict: Repo) -> None:
    state = clean(view.questions["abort"]())
    check_state(state)
    assert state["outcome"].endswith("everything is as it was before")
    conflict.check(safetensors(a=1, b=1))


# The widgets.


class Sent(list[tuple[ViewWidget, Any]]):
    """What widgets sent to the browser, and a way to wait for it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()

    def add(self, widget: ViewWidget, content: Any) -> None:
        with self.changed:
            self.append((widget, clean(content)))
            self.changed.notify_all()

    def answer(self, key: Any) -> Any:
        """The answer to a question, once it is there."""

        def found() -> Any:
            return next((c for _, c in self if c.get("id") == key and {"result", "error"} & set(c)), None)

        with self.changed:
            assert self.changed.wait_for(found, 60)
            return found()

    def of(self, widget: ViewWidget) -> list[Any]:
        with self.changed:
            return [content for one, content in self if one is widget]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    found = Sent()
    monkeypatch.setattr(ViewWidget, "send", lambda one, content, _=None: found.add(one, content))
    return found


def ask(shown: ViewWidget, key: Any, method: str, **params: Any) -> None:
    shown._handle_custom_msg({"id": key, "method": method, "params": params}, [])


@pytest.fixture
def shown(conflict: Repo) -> Iterator[MergeWidget]:
    found = widget(Repository().merging().state())
    assert isinstance(found, MergeWidget)
    yield found
    found.close()
    assert conflict.top.exists()


def test_a_long_question_is_answered_from_a_thread(
    shown: MergeWidget, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is free meanwhile, and is told how it goes; what is quick is answered at once."""
    free, threads = threading.Event(), []
    original = shown._questions["preview"]

    def slow(*, progress: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        progress("reading", 1, 2)
        assert free.wait(60)
        return original(progress=progress, **options)

    monkeypatch.setattr(shown, "_questions", {**shown._questions, "preview": slow})
    ask(shown, "p", "preview", path=MODEL, name="b", strategy="linear", parameters={})
    ask(shown, "m", "merge")
    assert sent.answer("m")["result"]["kind"] == "merge"
    free.set()
    assert set(sent.answer("p")["result"]) == fields("Preview")
    assert threads != [threading.current_thread()]
    assert {"id": "p", "progress": {"what": "reading", "done": 1, "total": 2}} in sent.of(shown)


def test_what_is_cancelled_loses_nothing(
    shown: MergeWidget, sent: Sent, monkeypatch: pytest.MonkeyPatch, conflict: Repo
) -> None:
    begun, free = threading.Event(), threading.Event()
    ask(shown, "c", "choose", rules=[LINEAR])
    before = conflict.head(), conflict.git("ls-files", "--stage"), conflict.read()
    original = shown._questions["finish"]

    def slow(*, progress: Any, **options: Any) -> Any:
        begun.set()
        assert free.wait(60)
        return original(progress=progress, **options)

    monkeypatch.setattr(shown, "_questions", {**shown._questions, "finish": slow})
    ask(shown, "f", "finish", message="")
    assert begun.wait(60)
    ask(shown, None, "cancel", id="f")
    ask(shown, None, "cancel", id="nothing")
    ask(shown, None, "cancel")
    free.set()
    error = sent.answer("f")["error"]
    assert error == {"message": "interrupted", "hint": "nothing is half-written; the same command can be given again"}
    assert (conflict.head(), conflict.git("ls-files", "--stage"), conflict.read()) == before
    ask(shown, "m", "merge")
    assert sent.answer("m")["result"]["left"] == 0
    monkeypatch.setattr(shown, "_questions", {**shown._questions, "finish": original})
    ask(shown, "g", "finish", message="")
    assert sent.answer("g")["result"]["kind"] == ""
    conflict.check()


@pytest.mark.parametrize(
    ("method", "params", "message", "hint"),
    [
        ("finish", {"message": ""}, "b still to be decided", "%theta merge --status"),
        ("finish", {}, "missing 1 required positional argument", "please report it"),
        (
            "choose",
            {"rules": [{"tensors": "x", "strategy": "ours"}]},
            "no tensor in conflict is called 'x'",
            "%theta resolve",
        ),
        ("choose", {"rules": [{"tensors": "b", "strategy": "x"}]}, "'x'", ""),
        ("edit", {"index": 5, "rule": None}, "there is no rule 6", ""),
        ("undo", {}, "there is nothing to undo", ""),
        ("file", {"path": "x"}, "x is not a model in conflict", "%theta merge --status"),
        ("preview", {"path": MODEL, "name": "x", "strategy": "", "parameters": {}}, "no tensor 'x'", ""),
        ("diff", {}, "the view asks for 'diff'", ""),
    ],
)
def test_errors_are_told(
    shown: MergeWidget, sent: Sent, method: str, params: dict[str, Any], message: str, hint: str
) -> None:
    ask(shown, "q", method, **params)
    error = sent.answer("q")["error"]
    assert message in error["message"]
    assert hint in error["hint"]
    assert "git theta" not in error["message"] + error["hint"]


def test_every_widget_of_a_merge_hears_of_a_change(shown: MergeWidget, sent: Sent) -> None:
    other = widget(Repository().merging())
    assert isinstance(other, MergeWidget)
    ask(shown, 1, "merge")
    assert sent.of(other) == []
    ask(shown, 2, "choose", rules=[LINEAR])
    revision = sent.answer(2)["result"]["state"]["revision"]
    assert sent.of(other) == [{"event": "changed", "revision": revision}]
    assert not [content for content in sent.of(shown) if "event" in content]
    # What a thread has done is told, too.
    ask(shown, "f", "finish", message="")
    assert sent.answer("f")["result"]["kind"] == ""
    with sent.changed:
        assert sent.changed.wait_for(lambda: len(sent.of(other)) == 2, 60)
    other.close()


def test_which_widget(shown: MergeWidget, conflict: Repo) -> None:
    merge = Repository().merging()
    for result in (merge, merge.state(), merge.conflict_list()):
        found = widget(result)
        assert isinstance(found, MergeWidget)
        assert found is widget(result)
        assert (found._view, found.file, found.merge) == ("merge", MODEL, merge)
    data, _ = bundle(merge.state())
    assert set(data) >= {"text/plain", "text/html", MIME, "application/vnd.jupyter.widget-view+json"}
    assert "Merging theirs into main: 1 of 1 conflict left" in data["text/plain"]
    state = shown.get_state()
    assert {"selection", "filter", "file"} <= set(state)
    assert len(json.dumps([data, state])) < 20_000
    merge.abort()
    with pytest.raises(RequestError, match="no merge is in progress"):
        widget(merge.state())
    assert set(bundle(merge.state())) == {"text/plain", "text/html"}
    assert conflict.status() == ""


HOSTILE = '<img src=x onerror="alert(1)">.weight'


def test_what_is_saved_is_safe(repo: Repo) -> None:
    files = [save({HOSTILE: np.full(4, seed, np.float32)}) for seed in range(3)]
    repo.commit(files[0], "base")
    repo.git("switch", "--quiet", "--create", "<b>theirs</b>")
    repo.commit(files[1], "<script>theirs</script>")
    repo.git("switch", "--quiet", "main")
    repo.commit(files[2], "ours")
    board = Repository().try_merge("<b>theirs</b>", strategies=["linear"], score=len)
    repo.fails("merge", "<b>theirs</b>")
    merge = Repository().merging()
    name = merge.rows(MODEL)[0].name
    merge.choose(Rule("*", "ours"))
    results = (merge.state(), merge.conflict_list(), board, merge.preview(MODEL, name, "linear"))
    for result in results:
        page = result.html()
        for mark in ("<b>theirs", "<script", "<img src=x"):
            assert mark not in page
    assert "&lt;img src=x" in results[1].html()
    assert "&lt;script&gt;" in results[0].html()
    assert "<img src=x" not in widget(results[0])._static


def test_many_conflicts_are_quick_and_small(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is asked as often as for a few, each tensor is read once at most, and is told in some hundred bytes."""
    names = [f"layer.{index // 10}.part{index % 10}.weight" for index in range(3000)]
    for branch, seed in (("base", 0), ("theirs", 1), ("main", 2)):
        if branch != "base":
            repo.git("switch", "--quiet", *(["--create"] if branch == "theirs" else []), branch)
        values = np.random.default_rng(seed).standard_normal((3000, 4)).astype(np.float32)
        repo.commit(save(dict(zip(names, values, strict=True))), branch)
    repo.fails("merge", "theirs")
    view = MergeView(Repository().merging())
    asked, read = Counter[str](), Counter[str]()
    git, version = Worktree.git, blending.version

    def counted(self: Worktree, *args: str, **options: Any) -> bytes:
        asked["git"] += 1
        return git(self, *args, **options)

    def counted_version(worktree: Worktree, part: blending.Part) -> Any:
        read[f"{part.label} {part.name}"] += 1
        return version(worktree, part)

    monkeypatch.setattr(Worktree, "git", counted)
    monkeypatch.setattr(blending, "version", counted_version)
    answers = [view.state(), view.file(MODEL), view.choose([{"tensors": "*", "strategy": "ties"}]), view.file(MODEL)]
    assert asked["git"] < 200
    assert max(read.values()) == 1
    sizes = [len(json.dumps(answer, allow_nan=False)) for answer in answers]
    assert answers[-1]["rows"][-1]["strategy"] == "ties"
    assert sizes[0] < 2_000
    assert max(sizes) < 700 * 3000


# The scoreboard.


def test_the_scoreboard(forked: Repo, sent: Sent) -> None:
    repository = Repository()
    values = iter([1.0, float("nan"), 3.0, 2.0])
    board = repository.try_merge("theirs", strategies=["ours", "linear", "fisher"], score=lambda _: next(values))
    view = BoardView(board)
    answer = clean(view.questions["board"]())
    assert set(answer) == fields("Board", "board.ts")
    for row in answer["rows"]:
        assert set(row) == fields("Scored", "board.ts")
    assert [row["score"] for row in answer["rows"]] == [1, None, 3, 2, None]
    assert [row["best"] for row in answer["rows"]] == [False, False, True, False, False]
    assert answer["rows"][4]["failed"] == "fisher needs fisher"
    assert (answer["can_use"], answer["used"]) == (True, None)
    go.Figure(answer["figure"])
    shown = widget(board)
    assert isinstance(shown, BoardWidget)
    assert shown._view == "board"
    ask(shown, "x", "use", index=0)
    assert sent.answer("x")["error"]["message"] == "that is no candidate"
    ask(shown, "u", "use", index=3)
    used = sent.answer("u")["result"]
    assert (used["used"], used["note"]) == (3, "linear is the plan now; finish with: %theta merge --continue")
    merge = repository.merging()
    assert merge.state().left == 0
    merge.finish()
    forked.check()


def test_a_scoreboard_without_scores() -> None:
    board = Board("t", (Trial("x", "candidate", failed="no"),))
    answer = clean(BoardView(board).overview())
    assert (answer["figure"], answer["can_use"]) == (None, False)
    with pytest.raises(RequestError):
        BoardView(board).use(0, silent)
    assert isinstance(widget(board), BoardWidget)
    assert torch.ones(1).sum() == 1
