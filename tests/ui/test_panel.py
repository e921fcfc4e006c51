"""The panel in JupyterLab: everything a newcomer does, with the mouse alone, and with the keyboard alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.numpy import load_file

from .test_merge import DIVERGED, KINDS, git, merge_in, versions
from .test_widget import LOAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from .conftest import Notebook
    from .running import Lab

WRITE = """
import numpy as np
from safetensors.numpy import save_file
def write(seed, *moved):
    base = {f"encoder.layer.{n}.weight": np.full((64, 64), n + 1, np.float32) for n in range(4)}
    for name in moved:
        base[f"encoder.layer.{name}.weight"] *= np.float32(1 + seed / 1024)
    save_file(base, "model.safetensors")
"""
STEPS = ("write(0)", "write(1, 0, 1)", "write(2, 0, 1)", "write(4, 1, 2)")


def panel(page: Page) -> Locator:
    """The panel, once all is there that it starts with."""
    found = page.locator("#theta-panel [data-testid='theta-panel']")
    expect(found).to_have_attribute("data-ready", "true", timeout=30_000)
    return found


def part(page: Page, name: str) -> Locator:
    return page.locator(f"#theta-panel [data-testid='theta-{name}']")


def open_panel(page: Page) -> Locator:
    """Click on the tab in the left side bar."""
    page.locator(".jp-SideBar .lm-TabBar-tab[data-id='theta-panel']").click()
    return panel(page)


def dialog(page: Page) -> Locator:
    return page.locator(".jp-Dialog")


def accept(page: Page, label: str) -> None:
    dialog(page).get_by_role("button", name=label, exact=True).click()
    expect(dialog(page)).to_have_count(0)


@pytest.fixture
def folder(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """An empty folder, and a Git that does not know who works there."""
    found = lab.root / str(request.node.name).replace("[", "-").rstrip("]")
    found.mkdir()
    return found


@pytest.fixture
def project(folder: Path) -> Path:
    """A repository with a model on two branches that both changed it."""
    subprocess.run([sys.executable, "-c", DIVERGED, repr(KINDS)], cwd=folder, check=True, timeout=60)
    return folder


class Mouse:
    """What a newcomer does with the mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, button: Locator) -> None:
        button.click()

    def row(self, row: Locator, action: str) -> None:
        """Point at a row, and click what appears."""
        row.hover()
        row.get_by_role("button", name=action).click()


class Keyboard:
    """The same with the keyboard: Tab and arrows go there, Enter does it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, button: Locator) -> None:
        self._reach(button)
        self.page.keyboard.press("Enter")

    def row(self, row: Locator, action: str) -> None:
        wanted = row.get_by_role("button", name=action)
        self._reach(row.locator("[data-main]"))
        for _ in range(5):
            self.page.keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                self.page.keyboard.press("Enter")
                return
        raise AssertionError(f"{action} is not reached by Tab")

    def _reach(self, element: Locator) -> None:
        """Go on with Tab, and with arrows within a list, until it has the focus."""
        expect(element).to_be_visible()
        is_there = "element => element === document.activeElement || element.contains(document.activeElement)"
        if not self.page.evaluate("() => Boolean(document.activeElement?.closest('#theta-panel, .jp-Dialog'))"):
            self.page.keyboard.press("Control+Alt+m")
            self.page.wait_for_function("() => document.activeElement?.closest('#theta-panel')")
        for key in ("Tab", "Shift+Tab"):
            for _ in range(60):
                if element.evaluate(is_there):
                    return
                in_list = self.page.evaluate("() => Boolean(document.activeElement?.closest('[data-row]'))")
                target_row = element.evaluate("e => e.closest('[data-row]')?.dataset.row ?? ''")
                here_row = self.page.evaluate("() => document.activeElement?.closest('[data-row]')?.dataset.row ?? ''")
                same_list = element.evaluate(
                    "e => { const mine = e.closest('[data-row]')?.closest('section');"
                    " return Boolean(mine && mine === document.activeElement?.closest('section')); }"
                )
                if in_list and same_list and target_row != here_row:
                    self.page.keyboard.press("ArrowDown" if int(target_row) > int(here_row) else "ArrowUp")
                else:
                    self.page.keyboard.press(key)
        raise AssertionError(f"nothing leads to {element}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("hands", [Mouse, Keyboard])
def test_a_newcomer(  # noqa: PLR0915 - it is one story
    hands: type[Mouse | Keyboard], folder: Path, open_notebook: Callable[..., Notebook], page: Page
) -> None:
    """Initialise, track, commit, change, look, branch, change otherwise, merge, resolve, read the history."""
    notebook = open_notebook(folder, "train.ipynb", WRITE, *STEPS)
    hand = hands(page)
    if hands is Mouse:
        page.locator(".jp-SideBar .lm-TabBar-tab[data-id='theta-panel']").click()
    else:
        page.keyboard.press("Control+Alt+m")
    expect(part(page, "panel")).to_contain_text(f"Models in {folder.name} have no versions yet")
    hand.press(part(page, "init"))
    panel(page)
    notebook.run(0)
    notebook.run(1)

    # The checkpoint appears by itself.
    model = part(page, "change-row").filter(has_text="model.safetensors")
    expect(model.locator(".theta-letter")).to_have_text("?", timeout=20_000)
    hand.row(model, "Track model.safetensors")
    expect(model.locator(".theta-letter")).to_have_text("A", timeout=20_000)
    commit(hand, page, "base model", name="Ann")
    expect(model).to_have_count(0)
    expect(history(page).first).to_contain_text("base model")

    # Branch, and change it there.
    hand.press(part(page, "section-branches").get_by_role("button", name="Branches"))
    hand.press(part(page, "new-branch"))
    dialog(page).locator("input").fill("rte")
    accept(page, "Create")
    expect(part(page, "panel").locator(".theta-branch-name")).to_have_text("rte", timeout=20_000)
    notebook.run(2)
    expect(model.locator(".theta-letter")).to_have_text("M", timeout=20_000)
    expect(model).to_contain_text("~0.0")
    hand.press(model.locator("[data-main]"))
    diff = page.locator(".jp-MainAreaWidget:not(.lm-mod-hidden) [data-testid='theta-diff']")
    expect(diff).to_have_attribute("data-ready", "true", timeout=30_000)
    expect(diff).to_contain_text("2 of 4 tensors changed")
    commit(hand, page, "on rte")

    # Otherwise on main.
    if hands is Mouse:
        page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab").filter(has_text="train.ipynb").click()
    else:
        page.keyboard.press("Control+Shift+BracketLeft")
    expect(notebook.panel).to_be_visible()
    hand.row(part(page, "branch-row").filter(has_text="main"), "Switch to main")
    expect(part(page, "panel").locator(".theta-branch-name")).to_have_text("main", timeout=20_000)
    notebook.run(4)
    expect(model.locator(".theta-letter")).to_have_text("M", timeout=20_000)
    commit(hand, page, "on main")
    hand.row(part(page, "branch-row").filter(has_text="rte"), "Merge rte into main")
    expect(dialog(page)).to_contain_text("rte")
    accept(page, "Merge")
    conflict = part(page, "conflict-row")
    expect(conflict).to_contain_text("1 left of 1", timeout=30_000)
    expect(part(page, "continue")).to_be_disabled()
    hand.press(part(page, "resolve"))
    merge = merge_in(page.locator(".jp-MainAreaWidget:not(.lm-mod-hidden)"))
    strategy = merge.locator('[data-name="encoder.layer.1.weight"] select')
    strategy.select_option("linear")
    expect(conflict).to_contain_text("all decided", timeout=20_000)
    if hands is Mouse:
        merge.get_by_role("button", name="Finish the merge").click()
        expect(merge.locator("[data-testid='theta-outcome']")).to_contain_text("merged rte into main", timeout=30_000)
    else:
        hand.press(part(page, "continue"))
    expect(part(page, "section-conflicts")).to_have_count(0, timeout=30_000)

    # And it is all there.
    expect(history(page)).to_have_count(4, timeout=20_000)
    expect(history(page).first).to_contain_text("Merge branch 'rte'")
    hand.press(history(page).first)
    details = part(page, "commit-details")
    expect(details).to_contain_text("Ann")
    expect(details).to_contain_text("merged by")
    ours, theirs, merged = versions(folder, "HEAD^1", "HEAD^2", "HEAD")
    name = "encoder.layer.1.weight"
    assert np.array_equal(merged[name], (ours[name] + theirs[name]) / 2)
    assert np.array_equal(load_file(folder / "model.safetensors")[name], merged[name])
    assert git(folder, "status", "--porcelain", "--untracked-files=no") == ""


def commit(hand: Mouse | Keyboard, page: Page, message: str, name: str = "") -> None:
    """Write a message, commit, and say who one is if asked to."""
    box = part(page, "commit-message")
    if isinstance(hand, Mouse):
        box.click()
        page.keyboard.type(message)
        part(page, "commit").click()
    else:
        box.focus()
        page.keyboard.type(message)
        page.keyboard.press("Control+Enter")
    if name:
        inputs = dialog(page).locator("input")
        expect(inputs).to_have_count(2)
        inputs.nth(0).fill(name)
        inputs.nth(1).fill(f"{name.lower()}@example.org")
        dialog(page).locator("button.jp-mod-accept").click()
    expect(history(page).first).to_contain_text(message, timeout=30_000)
    expect(box).to_have_value("")


def history(page: Page) -> Locator:
    return part(page, "history-row")


def test_what_a_cell_shows_opens_in_a_tab(project: Path, open_notebook: Callable[..., Notebook], page: Page) -> None:
    """The diff of a magic, as a tab of the main area."""
    notebook = open_notebook(project, "look.ipynb", LOAD, "%theta diff HEAD~1 HEAD")
    notebook.run(0)
    notebook.run(1)
    output = notebook.output(1)
    expect(output.locator("[data-testid='theta-diff']")).to_have_attribute("data-ready", "true", timeout=60_000)
    output.hover()
    output.get_by_role("button", name="Open in main area").click()
    tab = page.locator(".jp-MainAreaWidget:not(.lm-mod-hidden) [data-testid='theta-diff']")
    expect(tab).to_have_attribute("data-ready", "true", timeout=30_000)
    expect(tab).to_contain_text("12 of 14 tensors changed")
