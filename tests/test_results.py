"""Results can be read anywhere, whatever is in them."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from theta_jupyter.answers import (
    Branch,
    Branches,
    Commit,
    Entry,
    Files,
    Log,
    Shown,
    Status,
    TrackedFile,
)
from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.miniature import Miniature
from theta_jupyter.diffs.report import Diff, FileDiff
from theta_jupyter.evolution import History, Step, Version
from theta_jupyter.results import Message, Result, Table, count_text, plain, relative_text, short, size_text

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover='x' &amp; `",
    "\x1b[31mred\x1b]0;title\x07",
    "two\nlines\r\vand\fmore\u2028yes\u0085",
    "\u202eevil\u2066bidi\u200b\ufeff",
    "nul\0",
    "\udcff surrogate",
    "$\\frac{1}{2}$",
]


def results(text: str) -> list[Result]:
    """One of each, with this text wherever text from a repository can be."""
    tensors = (
        TensorDiff(
            f"{text}.0.w", "M", (2, 3), "F32", 6, norm=1.0, l2=math.inf, largest=math.nan, changed=0.5, update="delta"
        ),
        TensorDiff(text, "R", (2,), "F32", 2, old_name=text + "2", norm=0.0, l2=1.0, estimated=True),
        TensorDiff("s", "S", (), "F32", 1, old_shape=(1, 1)),
    )
    file = FileDiff(text, "M", text, text, tensors, 10, 20)
    opaque = FileDiff(text, "M", text, text, (), 10, 20, opaque=True)
    diff = Diff(text, text, (file, opaque, FileDiff(text, "A", text, text, tensors)))
    small = tuple(Miniature(text, (text, "b"), (math.inf, "+")) for _ in range(5))
    steps = Step(text, "M", 1.0, 2.0, math.inf, True), Step("b", "R", None, None, None, False, text)
    versions = tuple(Version("a" * 40, text, "2025-01-01T00:00:00+00:00", steps[:n]) for n in (1, 2))
    commit = Commit("a" * 40, text, text, "2025-01-01T00:00:00+00:00", (text,), (text,), 5, (text,), small)
    entry = Entry(text, "untracked", text, relative=math.inf)
    return [
        entry,
        Status(text, commits=True, entries=(entry, Entry(text, "conflict"), Entry(text, "changed")), ready=False),
        commit,
        Log((commit,), more=True),
        Shown(commit, diff),
        Files((TrackedFile(text, text, 1, 2, 3),), (text,)),
        Branches((Branch(text, "b" * 40, text, current=True),)),
        Message(text, (text,)),
        file,
        opaque,
        diff,
        History(text, (text,), versions, more=True),
        History(text, (text, "b"), versions),
    ]


ORDINARY = results("model.safetensors")
EMPTY: list[Result] = [
    Status("main", commits=False, entries=()),
    Log(()),
    Files((), ()),
    Branches(()),
    Diff("a", "b", ()),
    FileDiff("m", "M", "a", "b", ()),
    Commit("a" * 40, "subject", "author", "2025-01-01T00:00:00+00:00"),
]


class Reader(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("index", range(len(ORDINARY)))
def test_hostile_text_is_shown_and_not_obeyed(hostile: str, index: int) -> None:
    result, model = results(hostile)[index], ORDINARY[index]
    text = result.text()
    assert re.search(r"[^\n]", text)
    assert all(char.isprintable() or char == "\n" for char in text)
    text.encode()
    # A name cannot make lines.
    assert text.count("\n") == model.text().count("\n")
    reader = Reader()
    reader.feed(result.html())
    allowed = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "img", "hr"}
    assert reader.tags <= allowed
    assert reader.attributes <= {"style", "alt", "src", "title"}
    assert all(char.isprintable() or char.isspace() for char in reader.text)
    assert plain(hostile).split()[0] in reader.text


@pytest.mark.parametrize("result", ORDINARY + EMPTY, ids=lambda result: type(result).__name__)
def test_every_result_is_text_html_json_and_a_data_frame(result: Result) -> None:
    assert result.text() == str(result)
    assert result.headline() in result.text() or isinstance(result, Diff)
    bundle = result._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/html"].startswith("<div")
    assert "git theta" not in bundle["text/plain"] + bundle["text/html"]
    built = result.to_dict()
    assert json.loads(json.dumps(built, allow_nan=False)) == built
    frame = result.to_pandas()
    assert len(frame) == len(result._records())


def test_a_data_frame_has_numbers() -> None:
    frame = next(result for result in ORDINARY if isinstance(result, FileDiff)).to_pandas()
    assert list(frame["name"]) == ["model.safetensors.0.w", "model.safetensors", "s"]
    assert frame["changed"].dtype == float
    assert frame["size"].sum() == 9
    diff = next(result for result in ORDINARY if isinstance(result, Diff))
    assert set(diff.to_pandas()["path"]) == {"model.safetensors"}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.2 kB"),
        (9960, "10 kB"),
        (12_345, "12 kB"),
        (123_456, "123 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (91_000_000, "91 MB"),
        (2_500_000_000, "2.5 GB"),
        (140_000_000_000, "140 GB"),
        (1_400_000_000_000, "1.4 TB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (23_456, "23.5 k"),
        (22_700_000, "22.7 M"),
        (99_950_000, "100 M"),
        (999_500, "1 M"),
        (7e9, "7 G"),
        (1.5e12, "1.5 T"),
    ],
)
def test_counts(count: float, text: str) -> None:
    assert count_text(count) == text


def test_relative_changes() -> None:
    assert relative_text(0.00212) == "0.0021"
    assert relative_text(0.00212, estimated=True) == "~0.0021"
    assert relative_text(None) == relative_text(math.nan) == "?"
    assert relative_text(math.inf) == "∞"
    assert relative_text(0.0) == "0"


def test_short() -> None:
    assert short("abc", 3) == "abc"
    assert short("abcdefghij", 7) == "ab…ghij"
    assert len(short("x" * 100, 40)) == 40


def test_columns_line_up_whatever_is_in_them() -> None:
    table = Table(("name", ">n"), (("漢字", "1"), ("e\u0301", "22"), ("long one", "333")))
    assert table.text().split("\n") == ["name        n", "漢字        1", "e\u0301          22", "long one  333"]


class Hostile:
    """A picture that says things."""

    def __init__(self, text: str) -> None:
        self.said = text

    def text(self) -> str:
        return self.said

    def alt(self) -> str:
        return self.said

    def png(self) -> bytes:
        return b"\x89PNG"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_pictures_in_cells_are_escaped_as_all_is(hostile: str) -> None:
    table = Table(("", "b"), (("plain", (Hostile(hostile), "+2")), (hostile, (hostile,))))
    text = table.text()
    assert text.count("\n") == 2
    assert all(char.isprintable() or char == "\n" for char in text)
    assert f"{plain(hostile)} +2" in text
    reader = Reader()
    reader.feed(table.html())
    assert reader.tags == {"table", "thead", "tbody", "tr", "th", "td", "img"}
    assert reader.attributes == {"style", "alt", "title", "src"}
    (image,) = reader.images
    assert image["alt"] == image["title"] == plain(hostile)
    assert image["src"] == "data:image/png;base64,iVBORw=="


def test_a_table_of_text_has_no_pictures() -> None:
    assert "<img" not in Table(("a",), (("<img>",), (("b", "c"),))).html()


def test_spaces_that_line_things_up_are_kept_on_a_page() -> None:
    assert "white-space:pre;" in Table(("a",), (("  x",),)).html()


def test_a_log_shows_three_miniatures_and_counts_the_others() -> None:
    log = next(result for result in ORDINARY if isinstance(result, Log))
    assert "█+ █+ █+ +2" in log.text()
    reader = Reader()
    reader.feed(log.html())
    assert len(reader.images) == 3
    assert reader.images[0]["alt"] == "Change by block of model.safetensors: model.safetensors ~∞, b added"
    assert "change by block: ·" in log.text()
    assert "change by block: ·" not in Log(()).text()


def test_no_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(Exception, match="needs pandas"):
        Message("x").to_pandas()


def test_instances_are_immutable() -> None:
    result: Any = Message("x")
    with pytest.raises(AttributeError):
        result.message = "y"
