"""The diff as a widget, in a real JupyterLab: seen, clicked, typed at, saved and opened again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from playwright.sync_api import expect

from .conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from .conftest import Notebook
    from .running import Lab

QUERY = "encoder.layer.3.attention.self.query.weight"
LOAD = "%load_ext theta_jupyter"
SHOW = "from theta_jupyter import widget\nd = %theta diff HEAD~1\nview = widget(d)\nd"


def diff_in(output: Locator) -> Locator:
    """The widget, once it is drawn."""
    found = output.locator('[data-testid="theta-diff"]')
    expect(found).to_have_attribute("data-ready", "true", timeout=60_000)
    return found


def part(diff: Locator, name: str) -> Locator:
    return diff.get_by_test_id(f"theta-{name}")


def click_cell(diff: Locator, row: str, column: str) -> None:
    """Click the middle of a cell of the heatmap."""
    heatmap = part(diff, "heatmap")
    heatmap.locator(".js-plotly-plot .nsewdrag").wait_for()
    meta: dict[str, list[str]] = heatmap.locator(".js-plotly-plot").evaluate("plot => plot.layout.meta")
    area = heatmap.locator(".nsewdrag")
    box = area.bounding_box()
    assert box is not None
    across = (meta["columns"].index(column) + 0.5) / len(meta["columns"])
    down = (meta["rows"].index(row) + 0.5) / len(meta["rows"])
    area.click(position={"x": box["width"] * across, "y": box["height"] * down})


def selected(diff: Locator) -> str:
    """The tensor whose details are shown, once they are all there."""
    detail = part(diff, "tensor")
    expect(detail).to_have_attribute("data-ready", "true", timeout=30_000)
    return detail.get_attribute("data-name") or ""


def measured(diff: Locator) -> Locator:
    """The row of the selected tensor, once its estimates have given way to what was measured."""
    name = selected(diff)
    row = part(diff, "table").locator("[aria-selected=true]")
    expect(row).to_have_attribute("data-name", name)
    expect(row).not_to_contain_text("~")
    return row


def rows(diff: Locator) -> list[str]:
    """The rows of the table that are in the page, from the top."""
    found: list[str] = (
        part(diff, "table")
        .locator("[data-name]")
        .evaluate_all(
            "rows => rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(row => row.dataset.name)",
        )
    )
    return found


def has_focus(place: Locator) -> bool:
    """Whether the keyboard talks to something in there."""
    return bool(place.evaluate("place => place.contains(document.activeElement)"))


def in_sight(diff: Locator, name: str) -> bool:
    """Whether a row of the table is not only in the page, but seen."""
    seen: bool = part(diff, "table").evaluate(
        """(table, name) => {
          const row = table.querySelector(`[data-name="${name}"]`)?.getBoundingClientRect();
          const head = table.querySelector('.theta-head').getBoundingClientRect();
          const frame = table.getBoundingClientRect();
          return Boolean(row) && row.top >= head.bottom - 1 && row.bottom <= frame.bottom + 1;
        }""",
        name,
    )
    return seen


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_with_a_mouse(
    open_notebook: Callable[..., Notebook],
    use_theme: Callable[[str], None],
    screenshot: Callable[[str], None],
    lab: Lab,
    page: Page,
) -> None:
    folder = lab.root / "demo"
    shutil.copytree(ROOT / "demo_notebooks", folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    page.set_viewport_size({"width": 1280, "height": 1240})
    notebook = open_notebook(folder, "01_commit_and_diff.ipynb")
    cells = [cell.source.strip() for cell in nbformat.read(notebook.file, 4).cells]
    shown, asked = cells.index("diff = %theta diff HEAD~1\ndiff"), cells.index("view.selection, view.filter")
    for index in range(asked):
        notebook.run(index)
    expect(notebook.output(shown).get_by_test_id("theta-diff")).to_be_visible(timeout=300_000)
    diff = diff_in(notebook.output(shown))
    expect(diff).to_contain_text("101 of 103 tensors changed")
    expect(part(diff, "table")).to_contain_text("~")

    # What Python has selected.
    expect(part(diff, "tensor")).to_have_attribute("data-name", QUERY.replace("3", "4"), timeout=30_000)
    click_cell(diff, "encoder.layer.3", "attention.self.query.weight")
    expect(part(diff, "tensor")).to_have_attribute("data-name", QUERY)
    selected(diff)
    # Histograms before and after, of the difference, and singular values.
    expect(part(diff, "tensor").locator(".js-plotly-plot")).to_have_count(3)
    expect(measured(diff)).to_have_attribute("data-name", QUERY)
    assert in_sight(diff, QUERY)
    for theme in ("Dark", "Light"):
        use_theme(theme)
        diff.evaluate("diff => diff.scrollIntoView()")
        screenshot(f"diff-widget-{theme.lower()}")

    part(diff, "table").get_by_role("columnheader", name="Number of values").get_by_role("button").click()
    assert rows(diff)[0] == "embeddings.word_embeddings.weight"
    part(diff, "filter").fill("layer.5*bias")
    expect(part(diff, "table").locator("[data-name]")).to_have_count(8)
    assert all("layer.5" in name and name.endswith("bias") for name in rows(diff))
    notebook.run(asked)
    expect(notebook.output(asked)).to_contain_text(f"('{QUERY}', 'layer.5*bias')")

    part(diff, "filter").fill("")
    page.set_viewport_size({"width": 700, "height": 1400})
    diff.evaluate("diff => diff.scrollIntoView()")
    screenshot("diff-widget-narrow")


def test_with_the_keyboard(open_notebook: Callable[..., Notebook], repository: Path, page: Page) -> None:
    notebook = open_notebook(repository, "keys.ipynb", LOAD, SHOW, "view.selection, view.filter, view.hide_unchanged")
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    part(diff, "hide-unchanged").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(part(diff, "filter")).to_be_focused()
    # Letters that are shortcuts of a notebook are letters here.
    page.keyboard.type("dd.query.weight")
    page.keyboard.press("Escape")
    page.keyboard.type("query.weight")
    expect(part(diff, "table").locator("[data-name]")).to_have_count(6)
    expect(notebook.panel.locator(".jp-Cell")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(part(diff, "measure")).to_be_focused()
    page.keyboard.press("Tab")
    heatmap = part(diff, "heatmap")
    assert has_focus(heatmap)
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    first = selected(diff)
    assert first.startswith("encoder.layer.")
    expect(diff.locator("[aria-live]").filter(has_text="encoder.layer").first).to_be_attached()
    page.keyboard.press("Tab")
    assert has_focus(part(diff, "norms"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(part(diff, "tensor")).not_to_have_attribute("data-name", first)
    page.keyboard.press("Tab")
    while not part(diff, "table").evaluate("table => table === document.activeElement"):
        page.keyboard.press("Tab")
    selected(diff)
    for key, place in (("Home", 0), ("End", -1)):
        name = rows(diff)[place]
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(part(diff, "tensor")).to_have_attribute("data-name", name)
        # Once it is measured the table stands still, and Python knows what is selected (one message at a time).
        measured(diff)
    notebook.run(2)
    expect(notebook.output(2)).to_contain_text(f"('{name}', 'query.weight', False)")


def test_python_and_page_share_their_state(open_notebook: Callable[..., Notebook], repository: Path) -> None:
    notebook = open_notebook(
        repository,
        "shared.ipynb",
        LOAD,
        SHOW,
        "seen = []\nview.observe(lambda change: seen.append(change['new']), 'selection')",
        f"view.selection = '{QUERY}'\nview.filter = 'query'\nview.hide_unchanged = False",
        "seen, view.selected.estimated, view.diff.files[0].path",
    )
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    notebook.run(2)
    notebook.run(3)
    assert selected(diff) == QUERY
    expect(part(diff, "filter")).to_have_value("query")
    expect(part(diff, "hide-unchanged")).not_to_be_checked()
    part(diff, "table").locator("[data-name]").first.click()
    expect(part(diff, "tensor")).not_to_have_attribute("data-name", QUERY)
    other = selected(diff)
    notebook.run(4)
    expect(notebook.output(4)).to_contain_text(f"(['{QUERY}', '{other}'], False, 'model.safetensors')")


def test_while_the_kernel_is_busy(open_notebook: Callable[..., Notebook], repository: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = f"import pathlib\nwhile not pathlib.Path({str(gate)!r}).exists():\n    pass\n'through'"
    notebook = open_notebook(repository, "busy.ipynb", LOAD, SHOW, wait)
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    notebook.run(2)
    notebook.wait("busy")
    part(diff, "table").get_by_role("columnheader", name="Number of values").get_by_role("button").click()
    assert rows(diff)[0] == "embeddings.word_embeddings.weight"
    part(diff, "filter").fill("pooler")
    part(diff, "hide-unchanged").uncheck()
    expect(part(diff, "table").locator("[data-name]")).to_have_count(2)
    part(diff, "table").locator("[data-name]").first.click()
    expect(part(diff, "tensor")).to_contain_text("pooler.dense")
    gate.touch()
    expect(notebook.output(2)).to_contain_text("through")


def test_measuring_replaces_estimates(open_notebook: Callable[..., Notebook], repository: Path) -> None:
    notebook = open_notebook(
        repository, "measure.ipynb", LOAD, SHOW, "any(t.estimated for t in view.diff.files[0].tensors)"
    )
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    expect(diff).to_contain_text("relative change ~")
    part(diff, "measure").click()
    expect(diff).not_to_contain_text("relative change ~", timeout=60_000)
    expect(part(diff, "table")).not_to_contain_text("~")
    notebook.run(2)
    expect(notebook.output(2)).to_contain_text("False")


def test_an_exact_number_moves_no_row(open_notebook: Callable[..., Notebook], repository: Path) -> None:
    notebook = open_notebook(repository, "order.ipynb", LOAD, SHOW)
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    part(diff, "filter").fill("weight")
    expect(part(diff, "table").locator("[data-name]").nth(2)).to_contain_text("~")
    before = rows(diff)
    row = part(diff, "table").locator(f'[data-name="{before[2]}"]')
    expect(row).to_contain_text("~")
    row.click()
    assert selected(diff) == before[2]
    expect(row).not_to_contain_text("~")
    assert rows(diff) == before
    part(diff, "measure").click()
    expect(part(diff, "table")).not_to_contain_text("~", timeout=60_000)
    assert rows(diff) == before


def test_brushing_the_histogram_filters_the_table(
    open_notebook: Callable[..., Notebook], repository: Path, page: Page
) -> None:
    notebook = open_notebook(repository, "brush.ipynb", LOAD, SHOW)
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    before = rows(diff)
    area = part(diff, "norms").locator(".nsewdrag")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.35, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    clear = diff.get_by_role("button", name="Clear")
    expect(clear).to_be_visible()
    after = rows(diff)
    assert after
    assert set(after).isdisjoint(before[:5])
    clear.click()
    expect(part(diff, "table").locator("[data-name]").first).to_have_attribute("data-name", before[0])


def test_the_kernel_gives_the_views_once_where_no_extension_does(
    open_notebook: Callable[..., Notebook], repository: Path, page: Page
) -> None:
    notebook = open_notebook(
        repository,
        "loader.ipynb",
        LOAD,
        "import theta_jupyter.jupyter.widgets as w\ngiven, own = [], w._views\n"
        "w._views = lambda: given.append(1) or own()",
        SHOW,
        "w.DiffWidget(d)",
        "len(given)",
    )
    page.evaluate("() => { delete globalThis[Symbol.for('theta-jupyter.views')]; }")
    for index in range(4):
        notebook.run(index)
    diff_in(notebook.output(2))
    diff_in(notebook.output(3))
    notebook.run(4)
    expect(notebook.output(4)).to_have_text("1")


def test_a_saved_notebook_keeps_the_picture(
    open_notebook: Callable[..., Notebook],
    repository: Path,
    page: Page,
    tmp_path: Path,
) -> None:
    notebook = open_notebook(repository, "kept.ipynb", LOAD, SHOW)
    notebook.run(0)
    notebook.run(1)
    diff_in(notebook.output(1))
    notebook.wait("idle")
    saved = notebook.save()
    assert len(json.dumps(saved)) < 100_000
    notebook.close()

    # Trusted, without its kernel: the picture, and not a word of a model that was not found.
    again = open_notebook(repository, "kept.ipynb")
    output = again.output(1)
    expect(output.locator("img")).to_be_visible()
    assert output.locator("img").evaluate("image => image.complete && image.naturalWidth > 300")
    expect(output.locator("tbody tr")).to_have_count(10)
    expect(again.panel).not_to_contain_text("model not found")
    again.close()

    # Not trusted: signatures are of the whole content.
    saved["cells"][0]["source"] = ["%load_ext theta_jupyter  # from a stranger"]
    stranger = repository / "stranger.ipynb"
    stranger.write_text(json.dumps(saved))
    untrusted = open_notebook(repository, "stranger.ipynb")
    expect(untrusted.output(1).locator("img")).to_be_visible()
    expect(untrusted.output(1).locator("tbody tr")).to_have_count(10)
    untrusted.close()

    # As a page.
    # Without what such a page takes from the network: mathematics, of which there is none.
    alone = ["--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url="]
    command = [sys.executable, "-m", "nbconvert", "--to", "html", *alone, "--output-dir", str(tmp_path), str(stranger)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    page.goto((tmp_path / "stranger.html").as_uri())
    expect(page.get_by_role("img", name="Heatmap of relative change")).to_be_visible()


HOSTILE = """
import sys
import numpy as np
from safetensors.numpy import save_file
from theta_jupyter import Repository

repo, _ = Repository.init(".")
repo.worktree.git("config", "user.name", "Demo")
repo.worktree.git("config", "user.email", "demo@example.invalid")
repo.track("m.safetensors")
names = eval(sys.argv[1])
for add in (0, 1):
    save_file({name: np.full(3, index + add, np.float32) for index, name in enumerate(names)}, "m.safetensors")
    repo.commit(f"<img src=x onerror='window.hurt = 1'> {add}")
"""


def made(lab: Lab, name: str, code: str) -> Path:
    """A repository with two versions of tensors of these names."""
    folder = lab.root / name
    folder.mkdir()
    subprocess.run([sys.executable, "-c", HOSTILE, code], cwd=folder, check=True, timeout=110)
    return folder


def test_hostile_names_are_text(open_notebook: Callable[..., Notebook], lab: Lab, page: Page) -> None:
    evil: list[Any] = ["<img src=x onerror='window.hurt=1'>.0.w", "</script><b>b</b>.1.w", "a.2.$\\frac{1}{2}$\u202e"]
    folder = made(lab, "hostile", repr(evil))
    notebook = open_notebook(folder, "hostile.ipynb", LOAD, "%theta show HEAD")
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    expect(part(diff, "table").locator("[data-name]")).to_have_count(3)
    expect(part(diff, "table")).to_contain_text("<img src=x")
    for row in part(diff, "table").locator("[data-name]").all():
        row.click()
        selected(diff)
    expect(part(diff, "heatmap")).to_contain_text("<img src=")
    assert diff.locator("img, b, script").count() == 0
    assert page.evaluate("() => window.hurt") is None


def test_ten_thousand_tensors_scroll(open_notebook: Callable[..., Notebook], lab: Lab, page: Page) -> None:
    folder = made(lab, "many", "[f'model.layers.{i // 10}.k{i % 10}.weight' for i in range(10_000)]")
    notebook = open_notebook(folder, "many.ipynb", LOAD, "%theta diff HEAD~1")
    notebook.run(0)
    notebook.run(1)
    diff = diff_in(notebook.output(1))
    table = part(diff, "table")
    expect(table).to_have_attribute("aria-rowcount", "10001")
    assert table.locator("[data-name]").count() < 60
    table.focus()
    page.keyboard.press("End")
    expect(table.locator("[aria-rowindex='10001']")).to_be_visible()
    assert table.locator("[data-name]").count() < 60
    part(diff, "filter").fill("layers.777.k7")
    expect(table.locator("[data-name]")).to_have_count(1)
