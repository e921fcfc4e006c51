"""The scoreboard: which candidate is best, how it is shown, and how it is taken."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from theta_jupyter.board import Board, Trial
from theta_jupyter.errors import RequestError
from theta_jupyter.merges.plan import Plan, Rule

if TYPE_CHECKING:
    from theta_jupyter.merge_state import MergeState

NAN, INF = math.nan, math.inf
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m$x$%{y}"
PARENTS = (Trial("ours: main", "parent", 0.7, seconds=1.0), Trial("theirs: fix", "parent", 0.6, seconds=1.25))


def plan(number: int) -> Plan:
    return Plan((Rule("*", "linear", {"weight": number}),), all=True)


def board(*scores: float | None, **options: Any) -> Board:
    swept = bool(options.get("swept"))
    trials = [
        Trial(
            f"linear({number})",
            "candidate",
            score,
            "" if score is not None else "RuntimeError: it broke",
            0.5,
            number / 10 if swept else None,
            plan(number),
        )
        for number, score in enumerate(scores)
    ]
    return Board("feature into main", (*options.pop("parents", PARENTS), *trials), **options)


@pytest.mark.parametrize(
    ("scores", "higher", "lower"),
    [
        ((0.5, 0.9, 0.8), 3, 2),
        ((0.9, 0.9, 0.1, 0.1), 2, 4),  # Of equal ones, the first that was tried.
        ((-1.0, -2.0), 2, 3),
        ((0.0, -0.0), 2, 2),
        ((None, 0.1, None), 3, 3),
        ((NAN, 0.1, INF, -INF), 3, 3),
        ((None, NAN), None, None),
        ((), None, None),
    ],
)
def test_the_best_candidate(scores: tuple[float | None, ...], higher: int | None, lower: int | None) -> None:
    assert board(*scores).best == higher
    assert board(*scores, higher_is_better=False).best == lower


def test_a_parent_is_no_candidate() -> None:
    parents = (Trial("ours", "parent", 99.0), Trial("theirs", "parent", -99.0))
    assert board(1.0, parents=parents).best == 2
    assert board(1.0, parents=parents, higher_is_better=False).best == 2
    assert board(1.0, parents=()).best == 0


def test_the_headline() -> None:
    assert board(0.5, 0.91234).headline() == ("feature into main: best is linear(1) with 0.9123   (best parent 0.7)")
    assert board(0.5, 0.9, higher_is_better=False).headline().endswith("linear(0) with 0.5   (best parent 0.6)")
    assert board(None).headline() == "feature into main: no candidate has a score"
    assert board(0.5, parents=()).headline().endswith("with 0.5")
    some = (Trial("ours", "parent", NAN), Trial("theirs", "parent", 0.3), Trial("base", "parent", None, "no"))
    assert board(0.5, parents=some).headline().endswith("(best parent 0.3)")
    assert board(0.5, parents=some[:1]).headline().endswith("with 0.5")


def test_in_words() -> None:
    *lines, last = board(0.5, None, 0.9, note="3 of 9 tensors").text().split("\n")
    assert last == "make the best one the plan with: .use(), or another with .use(INDEX)"
    assert [line.split() for line in lines[1:]] == [
        ["model", "score", "time"],
        ["ours:", "main", "0.7", "1.0", "s"],
        ["theirs:", "fix", "0.6", "1.2", "s"],
        ["2", "linear(0)", "0.5", "0.5", "s"],
        ["3", "linear(1)", "0.5", "s", "RuntimeError:", "it", "broke"],
        ["4", "★", "linear(2)", "0.9", "0.5", "s"],
        ["3", "of", "9", "tensors"],
    ]
    assert board(None).notes() == ()


def test_as_data() -> None:
    found = json.loads(json.dumps(board(0.5, NAN, None, INF, swept="weight", note="x").to_dict(), allow_nan=False))
    assert (found["best"], found["swept"], found["note"], found["higher_is_better"]) == (2, "weight", "x", True)
    assert [trial["score"] for trial in found["trials"]] == [0.7, 0.6, 0.5, None, None, None]
    assert [trial["kind"] for trial in found["trials"]] == ["parent"] * 2 + ["candidate"] * 4
    assert found["trials"][0]["plan"] is None
    assert found["trials"][3]["plan"] == plan(1).to_dict()
    assert [trial["value"] for trial in found["trials"][2:]] == [0, 0.1, 0.2, 0.3]
    frame = board(0.5, None).to_pandas()
    assert list(frame["label"]) == ["ours: main", "theirs: fix", "linear(0)", "linear(1)"]
    assert frame["score"].isna().tolist() == [False, False, False, True]


def traces(found: Board) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    spec = found.spec()
    assert spec is not None
    assert json.dumps(spec, allow_nan=False)
    return spec["data"], spec["layout"]


def test_a_dot_for_each() -> None:
    (dots, *lines), layout = traces(board(0.5, None, 0.9))
    assert (dots["mode"], dots["y"], dots["customdata"]) == ("markers", [0.5, 0.9], ["linear(0)", "linear(2)"])
    assert layout["xaxis"]["ticktext"] == ["linear(0)", "linear(2)"]
    assert [line["y"] for line in lines] == [[0.7, 0.7], [0.6, 0.6]]
    assert [line["x"] for line in lines] == [[-0.5, 1.5]] * 2
    low, high = layout["yaxis"]["range"]
    assert 0.4 < low < 0.5
    assert 0.9 < high < 1


def test_a_curve_goes_from_left_to_right() -> None:
    found = board(0.1, 0.2, None, 0.4, swept="weight")
    trials = (*found.trials[:2], *reversed(found.trials[2:]))
    (curve, *lines), layout = traces(Board("t", trials, swept="weight"))
    assert (curve["type"], curve["x"], curve["y"]) == ("scatter", [0.0, 0.1, 0.3], [0.1, 0.2, 0.4])
    assert [line["x"] for line in lines] == [[0.0, 0.3]] * 2
    assert layout["xaxis"]["title"]["text"] == "weight"


def test_only_what_has_a_score_is_drawn() -> None:
    parents = (Trial("ours", "parent", NAN), Trial("theirs", "parent", 0.3))
    (bars, line), _ = traces(board(0.5, NAN, INF, parents=parents))
    assert bars["y"] == [0.5]
    assert line["y"] == [0.3, 0.3]
    for same in (0.5, 0.0, -3.0):
        _, layout = traces(board(same, parents=()))
        low, high = layout["yaxis"]["range"]
        assert low < same < high
        assert not layout["showlegend"]


@pytest.mark.parametrize("scores", [(), (None,), (NAN, INF, None)])
@pytest.mark.parametrize("swept", ["", "weight"])
def test_nothing_to_draw(scores: tuple[float | None, ...], swept: str) -> None:
    found = board(*scores, swept=swept)
    assert found.spec() is None
    assert "<img" not in found.html()
    assert "no candidate has a score" in found.html()
    for draw in (found.figure, found.plot):
        with pytest.raises(RequestError, match="there are no scores to draw"):
            draw()


@pytest.mark.parametrize("swept", ["", "weight"])
def test_pictures(swept: str) -> None:
    found = board(0.5, None, 0.9, NAN, swept=swept)
    figure = found.figure()
    assert len(figure.data) == 3
    assert "feature into main" in figure.layout.title.text
    assert found.plot().axes
    page = found.html()
    assert 'src="data:image/png;base64,' in page
    assert "★ linear(2)" in page
    assert 'alt="Scores: feature into main: best is linear(2)' in page


def test_a_hostile_label_is_shown_and_not_obeyed() -> None:
    trials = (
        Trial(HOSTILE, "parent", 0.1),
        Trial(HOSTILE, "candidate", 0.2, value=1.0),
        Trial("x", "candidate", None, HOSTILE),
    )
    for swept in ("", HOSTILE):
        found = Board(HOSTILE, trials, swept=swept, note=HOSTILE)
        page = found.html()
        assert page.count("<img ") == 1
        assert "\x1b" not in page + found.text()
        assert "&amp;lt;" not in page, "escaped once"
        assert "&lt;img src=x onerror" in page
        for text in (json.dumps(found.spec()), found.figure().to_json()):
            assert text is not None
            assert "<img" not in text
            assert "$" not in text


def test_a_candidate_is_taken() -> None:
    taken: list[Plan] = []
    state: Any = object()

    def apply(given: Plan) -> MergeState:
        taken.append(given)
        found: MergeState = state
        return found

    found = board(0.5, 0.9, None, NAN, apply=apply)
    assert found.use() is state
    found.use(2)
    found.use(4)  # One that failed may be taken all the same.
    board(0.5, 0.9, apply=apply, higher_is_better=False).use()
    assert taken == [plan(1), plan(0), plan(2), plan(0)]


@pytest.mark.parametrize("index", [None, -1, 0, 1, 3, 99])
def test_what_cannot_be_taken(index: int | None) -> None:
    def apply(_: Plan) -> MergeState:
        raise AssertionError

    message = "no candidate has a score" if index is None else "that is no candidate"
    with pytest.raises(RequestError, match=message):
        board(None, apply=apply).use(index)


def test_a_scoreboard_without_a_merge() -> None:
    with pytest.raises(RequestError, match="this scoreboard has no merge"):
        board(0.5).use()
