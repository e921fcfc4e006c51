"""A diff on paper: text, Markdown, HTML, JSON, and the schema it keeps to."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it comes with nbformat, without stubs
import pytest

from theta_jupyter.diffs import pages
from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.report import Diff, FileDiff, schema
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path(__file__).parents[2] / "docs/diff.schema.json"
HOSTILE = "<script>alert(1)</script>|`x`|*b*_i_[l](http://e)\n# h\r\x1b[31m\u202e&amp;@all~s~$m$"


def tensor(name: str, status: Any = "M", norm: float | None = 1.0, l2: float | None = 0.1, **more: Any) -> TensorDiff:
    return TensorDiff(name, status, (2, 3), "F32", 6, norm=norm, l2=l2, **more)


EVERY = (
    tensor("l.0.same", "", 1.0, 0.0, update="whole", stored=10),
    tensor("l.0.added", "A", None, None, update="whole", stored=10),
    tensor("l.0.gone", "D", 2.0, None),
    tensor("l.1.changed", "M", 1.0, 0.25, estimated=True, update="delta", stored=7),
    tensor("l.1.measured", "M", 1.0, 0.5, largest=0.125, cosine=0.75, changed=0.5),
    tensor("l.2.moved", "R", 1.0, 0.0, old_name="l.2.was"),
    tensor("l.2.shaped", "S", 1.0, None, old_shape=(3, 2)),
    tensor("l.3.cast", "T", 1.0, None, old_dtype="BF16"),
    tensor("l.3.grown", "M", 0.0, 1.0),
    tensor("l.3.endless", "M", math.inf, math.inf, largest=math.inf, cosine=math.nan),
)


def diff(*tensors: TensorDiff, path: str = "m.pt", status: str = "M", **more: Any) -> Diff:
    file = FileDiff(path, status, "HEAD", "work tree", tensors or EVERY, 17, 1000, **more)
    return Diff("HEAD", "work tree", (file,))


class Page(html.parser.HTMLParser):
    """The tags, the attributes, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    path = diff(*EVERY, tensor(HOSTILE)).report(tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    assert {"script", "link", "iframe", "object", "a"}.isdisjoint(page.tags)
    values = {name: value or "" for name, value in page.attributes}
    assert not [name for name in values if name.startswith("on") or name == "href"]
    sources = [value or "" for name, value in page.attributes if name == "src"]
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    # The only address is in a tensor's name, as text.
    assert "://" not in text.replace("[l](http://e)", "")
    assert "url(" not in text
    assert "@import" not in text
    for name in ("l.0.added", "l.2.was → l.2.moved", "l.3.cast", "<script>alert(1)</script>"):
        assert name in page.words
    assert not set("\x1b\u202e\r") & set(text)
    assert [other.name for other in tmp_path.iterdir()] == ["report.html"]


def test_a_page_has_every_tensor_and_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    many = diff(*(tensor(f"l.{i}.w") for i in range(30)))
    page = Page(pages.page(many))
    assert page.tags.count("tr") == 31
    assert "more" not in page.words.partition("relative change")[2]
    monkeypatch.setattr(pages, "MOST", 12)
    page = Page(pages.page(many))
    assert page.tags.count("tr") == 13
    assert "and 18 more" in page.words


def test_a_page_of_nothing() -> None:
    nothing = Diff("<a>\x1b", "b", ())
    page = Page(pages.page(nothing))
    assert "no tracked model differs between <a>\\x1b and b" in page.words
    assert "a" not in page.tags
    assert nothing.text() == "no tracked model differs between <a>\\x1b and b"
    assert "no tracked model differs" in nothing.markdown()


@pytest.mark.parametrize("field", ["name", "old_name", "path", "label", "remark"])
def test_hostile_words_are_words(field: str, tmp_path: Path) -> None:
    """Wherever they stand: in a terminal, a notebook, a page, a pull request."""
    one = tensor(HOSTILE if field == "name" else "x")
    if field == "old_name":
        one = tensor("x", "R", old_name=HOSTILE)
    found = diff(one, path=HOSTILE if field == "path" else "m", remarks=(HOSTILE,) if field == "remark" else ())
    if field == "label":
        found = dataclasses.replace(
            found, old=HOSTILE, new=HOSTILE, files=(dataclasses.replace(found.files[0], old=HOSTILE, new=HOSTILE),)
        )
    text = found.text()
    assert not set("\x1b\u202e\r") & set(text)
    assert "\\x1b[31m\\u202e" in text
    for made in (found.html(), found.report(tmp_path / "r.html").read_text(encoding="utf-8")):
        page = Page(made)
        assert "script" not in page.tags
        assert "alert(1)" in page.words
        assert not set("\x1b\u202e\r") & set(made)
    check_markdown(found.markdown())
    check_markdown(found.report(tmp_path / "r.md").read_text(encoding="utf-8"))


def check_markdown(text: str) -> None:
    """Check that no character of a name is Markdown: each is escaped, or in an indented block, and on one line."""
    assert not set("\x1b\u202e\r") & set(text)
    lines = [line for line in text.split("\n") if "alert" in line and not line.startswith("    ")]
    assert lines
    for line in lines:
        found = re.search(r"\\<script\\>.*?\\\$m\\\$", line)
        assert found
        bare = re.sub(r"\\[!-/:-@[-`{-~]", "", found[0])
        assert not set("\\`*_{}[]<>()#+!|~&$@:") & set(bare)


@pytest.mark.parametrize("name", ["0.```", "```.0.x", "~~~.0.x", "0.</code></pre><b>", "0.    x"])
def test_no_name_ends_the_block_of_shades(name: str) -> None:
    text = diff(tensor(name), tensor("x.1.y")).markdown()
    block = text.split("\n\n")[3].split("\n")
    assert any("none" in line for line in block)
    assert all(line.startswith("    ") for line in block)
    assert not [line for line in text.split("\n") if re.match(r" {0,3}(```|~~~|<)", line)]


def cells(row: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [re.sub(r"\\([^\w\s])", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_markdown_is_a_table_and_a_picture(tmp_path: Path) -> None:
    found = diff()
    text = found.markdown()
    assert text.startswith("## HEAD → work tree\n\n### m.pt\n\n")
    rows = [cells(line) for line in text.split("\n") if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert rows[0][:5] == ["", "tensor", "dtype", "shape", "relative"]
    assert set(rows[1]) == {"---", "---:"}
    by_name = {row[1]: row for row in rows[2:]}
    assert by_name["l.1.changed"][4] == "~0.25"
    assert by_name["l.1.measured"][4:7] == ["0.5", "0.12", "50 %"]
    assert by_name["l.2.was → l.2.moved"][0] == "R"
    assert by_name["l.2.shaped"][3] == "3x2 → 2x3"
    assert by_name["l.3.cast"][2] == "BF16 → F32"
    assert by_name["l.3.grown"][4] == "∞"
    assert by_name["l.3.endless"][4] == "?"
    # Without a place for a picture, shades; with one, a picture beside.
    assert "    l.1  " in text
    written = found.report(tmp_path / "a report.md")
    assert "![Relative change by block and kind](a%20report.png)" in written.read_text(encoding="utf-8")
    assert (tmp_path / "a report.png").read_bytes().startswith(b"\x89PNG")
    assert "none" not in written.read_text(encoding="utf-8")


def test_each_file_has_its_own_picture(tmp_path: Path) -> None:
    one, two = diff().files[0], diff(path="n.pt").files[0]
    text = Diff("a", "b", (one, two)).report(tmp_path / "r.md").read_text(encoding="utf-8")
    assert re.findall(r"!\[[^]]*\]\(([^)]*)\)", text) == ["r-1.png", "r-2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r-1.png", "r-2.png", "r.md"]


@pytest.mark.parametrize("name", ["r.html", "r.HTM", "r.md", "r.markdown", "r.json", "r.txt"])
def test_endings(name: str, tmp_path: Path) -> None:
    path = diff().report(str(tmp_path / name))
    assert path == tmp_path / name
    text = path.read_text(encoding="utf-8")
    if name.endswith("json"):
        assert json.loads(text) == diff().to_dict()
    elif name.endswith("txt"):
        assert text == diff().text() + "\n"
    assert "m.pt" in text


@pytest.mark.parametrize("name", ["r.pdf", "r", ".md", "r.html.gz"])
def test_other_endings_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a report is \.html, \.md, \.json or \.txt, not"):
        diff().report(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["r.html", "r.md", "r.json", "r.txt"])
def test_nothing_is_half_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the old report, and nothing beside it."""
    path = tmp_path / name
    path.write_text("old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        diff().report(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_drawn_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pages, "draw", broken)
    with pytest.raises(MemoryError):
        diff().report(path)
    assert path.read_text() == "old"


def test_names_that_no_encoding_has(tmp_path: Path) -> None:
    """A path of bytes that are not UTF-8."""
    for ending in ("html", "md", "json", "txt"):
        text = diff(path="\udcff.pt").report(tmp_path / f"r.{ending}").read_text(encoding="utf-8")
        assert "udcff" in text


# Data.


def valid(found: Diff) -> Any:
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    jsonschema.validate(data, schema(), cls=jsonschema.Draft202012Validator)
    return data


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_data_of_every_status_keep_to_the_schema(one: TensorDiff) -> None:
    data = valid(diff(one))
    (record,) = data["files"][0]["tensors"]
    assert set(record) == {*(field.name for field in dataclasses.fields(TensorDiff)), "relative"}
    known = one.relative is not None and math.isfinite(one.relative)
    assert record["relative"] == (one.relative if known else None)


@pytest.mark.parametrize("status", ["A", "M", "D", ""])
def test_data_of_every_file_keep_to_the_schema(status: str) -> None:
    valid(diff(status=status))
    valid(diff(status=status, opaque=True, remarks=("one",)))
    valid(Diff("a", "b", ()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("files"),
        lambda data: data["files"][0].pop("path"),
        lambda data: data["files"][0]["tensors"][0].update(status="X"),
        lambda data: data["files"][0]["tensors"][0].update(shape="2x3"),
        lambda data: data["files"][0]["tensors"][0].update(relative="much"),
    ],
)
def test_the_schema_is_strict(spoil: Callable[[Any], Any]) -> None:
    data = valid(diff())
    spoil(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_in_the_docs() -> None:
    """To refresh it: see the message."""
    command = (
        "python -c 'import json; from theta_jupyter.diffs.report import schema; print(json.dumps(schema(), indent=2))'"
    )
    assert SCHEMA.read_text(encoding="utf-8") == json.dumps(schema(), indent=2) + "\n", f"{command} > {SCHEMA}"
    jsonschema.Draft202012Validator.check_schema(schema())


# Words.


@pytest.mark.parametrize(
    ("file", "facts"),
    [
        (FileDiff("m", "A", "a", "b", (tensor("x", "A"), tensor("y", "A")), 5, 9), ("new: 2 tensors", "12 parameters")),
        (FileDiff("m", "D", "a", "b", (tensor("x", "D"),)), ("removed: 1 tensor", "6 parameters")),
        (FileDiff("m", "", "a", "b", (tensor("x", ""),)), ("no tensor changed",)),
        (FileDiff("m", "M", "a", "b", (tensor("x", ""),), 0, 9), ("no tensor changed; the rest of the file did",)),
        # Of a model in memory, or a file that is not tracked, only the tensors were compared.
        (FileDiff("m", "M", "a", "b", (tensor("x", ""),)), ("no tensor changed",)),
        (FileDiff("m", "M", "a", "b", (tensor("x"),), opaque=True), ("kept whole: not a format any plug-in knows",)),
    ],
)
def test_facts(file: FileDiff, facts: tuple[str, ...]) -> None:
    assert file.facts()[: len(facts)] == facts
    assert file.text()
    assert file.html()


def test_facts_count_what_changed_and_how() -> None:
    assert diff().files[0].facts() == (
        "9 of 10 tensors changed (1 added, 1 removed, 1 renamed, 1 reshaped, 1 recast)",
        "54 of 60 parameters",
        # As one vector: three changes known, and 1.0 that came from nothing; of three old ones and one unchanged.
        f"relative change ~{math.sqrt(0.25**2 + 0.5**2 + 1) / 2:.2g}",
        "stores 17 B of 1 kB",
    )


def test_shades_stand_in_their_columns() -> None:
    """A character for every cell, whatever is known of it."""
    names = ("a", "b", "c", "d", "e", "f")
    sizes = {"a": 1e-5, "b": 1e-4, "c": 1e-3, "d": 1e-2}
    tensors = [tensor(f"l.{i}.{name}", l2=sizes.get(name, 0.5)) for i in (0, 2) for name in names]
    tensors += [tensor("l.1.a", "", 1.0, 0.0), tensor("l.1.b", "R", 1.0, 0.0, old_name="x"), tensor("l.1.c", l2=None)]
    tensors += [tensor("l.1.e", "A", None, None), tensor("l.1.f", l2=0.5), tensor("w", l2=0.5)]
    rows = FileDiff("m", "M", "a", "b", tuple(tensors)).shades()
    assert rows[:4] == ["l.0  ░▒▓███", "l.1  ··? A█", "l.2  ░▒▓███", "w          █"]
    assert rows[4] == "     a, b, c, d, e, f, all"
    many = FileDiff("m", "M", "a", "b", tuple(tensor(f"l.{i}.w") for i in range(30))).shades()
    assert many[24] == "and 6 more blocks"


def test_what_is_asked_of_a_file_that_does_not_differ() -> None:
    with pytest.raises(RequestError, match=r"n\.pt does not differ"):
        diff().file("n.pt")
    with pytest.raises(RequestError, match="no tracked model differs between a and b"):
        Diff("a", "b", ()).figure()
    with pytest.raises(RequestError, match=r"m\.pt has no tensor 'nothing'"):
        diff().detail("nothing")
    with pytest.raises(RequestError, match=r"the versions of m\.pt are no longer at hand"):
        diff().detail("l.1.changed")
    assert diff().to_pandas().set_index("name").loc["l.1.measured", "relative"] == 0.5
