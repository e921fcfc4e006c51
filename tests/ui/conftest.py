"""A real JupyterLab, and a real Chromium that looks at it.

The server starts once for all tests; `lab` says where it is. `page` (from pytest-playwright) is
a fresh browser page for each test, and `open_lab` brings it to a JupyterLab that is ready. Errors in the browser's
console fail the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from .running import QUIET, Lab, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import ConsoleMessage, Locator, Page

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"

NOT_OURS = ("Could not restore the debugger state",)
"""What JupyterLab itself says when a kernel is shut down while its debugger is being asked."""

VERSIONS = """
import sys
sys.path.insert(0, sys.argv[1])
from finetune import encoder, finetune
from safetensors.torch import save_file
from theta_jupyter import Repository

repo, _ = Repository.init(".")
repo.worktree.git("config", "user.name", "Demo")
repo.worktree.git("config", "user.email", "demo@example.invalid")
repo.track("model.safetensors")
model = encoder()
save_file(model.state_dict(), "model.safetensors")
repo.commit("base model")
list(finetune(model, steps=3, rate=2e-5))
save_file(model.state_dict(), "model.safetensors")
repo.commit("dense fine-tune")
"""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Launch the Chromium found on PATH: no browser is downloaded."""
    names = ["chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        message = "needs Chromium: install it with your system's package manager"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return {**browser_type_launch_args, "executable_path": found, "args": QUIET}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """Open windows of one size, so that pictures and layouts do not depend on the machine."""
    return {**browser_context_args, "viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def expected_errors() -> list[str]:
    """What the browser says although nothing is wrong with us: the test that knows adds it here."""
    return []


@pytest.fixture
def page(page: Page, expected_errors: list[str]) -> Iterator[Page]:
    """Watch the page: what went wrong in the browser fails the test, even if the test did not see it."""
    errors: list[str] = []

    def add(error: str) -> None:
        if not any(known in error for known in (*NOT_OURS, *expected_errors)):
            errors.append(error)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            add(f"{message.text}  ({message.location['url']})")

    page.on("console", on_console)
    page.on("pageerror", lambda error: add(f"{error.message}\n{error.stack}"))
    yield page
    assert errors == []


@pytest.fixture
def open_lab(lab: Lab, page: Page) -> Callable[[str], Page]:
    """Bring the page to JupyterLab, at a path under its root, in its first state and ready."""

    def open_lab(path: str = "") -> Page:
        page.goto(f"{lab.url}/lab/tree/{path}?reset&token={lab.token}")
        page.wait_for_function("() => 'jupyterapp' in window")
        page.evaluate("() => window.jupyterapp.restored.then(() => true)")
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        return page

    return open_lab


@pytest.fixture
def use_theme(page: Page) -> Callable[[str], None]:
    """Switch JupyterLab to a theme, `Light` or `Dark`."""

    def use_theme(name: str) -> None:
        theme = f"JupyterLab {name}"
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme }).then(() => true)", theme
        )
        page.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")
        page.locator("#jupyterlab-splash").wait_for(state="detached")

    return use_theme


@pytest.fixture
def screenshot(page: Page) -> Callable[[str], None]:
    """Take the picture for the documentation, if pictures are wanted (THETA_SCREENSHOTS=1)."""

    def screenshot(name: str) -> None:
        if os.environ.get("THETA_SCREENSHOTS"):
            page.screenshot(path=IMAGES / f"{name}.png")

    return screenshot


@pytest.fixture(scope="session")
def repository(lab: Lab) -> Path:
    """A repository of two versions of a real model, in a folder of JupyterLab's root."""
    folder = lab.root / "models"
    folder.mkdir()
    command = [sys.executable, "-c", VERSIONS, str(ROOT / "demo_notebooks")]
    subprocess.run(command, cwd=folder, check=True, timeout=110)
    return folder


class Notebook:
    """A notebook open in JupyterLab, with a kernel that is ready.

    Parameters
    ----------
    page
        Showing JupyterLab, and this notebook in front.
    file
        Where it lies.
    """

    def __init__(self, page: Page, file: Path) -> None:
        self.page, self.file = page, file
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.panel.locator(".jp-CodeCell").first.wait_for()
        self.wait("idle")

    def wait(self, status: str) -> None:
        """Wait until the kernel is idle, or busy."""
        self.page.wait_for_function(
            "status => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === status",
            arg=status,
        )

    def run(self, index: int) -> None:
        """Start a cell; what it shows is waited for where it is looked at."""
        self.page.evaluate(
            """index => {
              const { content } = window.jupyterapp.shell.currentWidget;
              content.deselectAll();
              content.activeCellIndex = index;
              void window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            index,
        )

    def output(self, index: int) -> Locator:
        """What a cell shows."""
        return self.panel.locator(".jp-Cell").nth(index).locator(".jp-OutputArea-output")

    def save(self) -> dict[str, Any]:
        """Save, and read what was saved."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => true)")
        return dict(json.loads(self.file.read_text()))

    def close(self) -> None:
        """Close it, and end its kernel."""
        self.page.evaluate(
            """async () => {
              const { commands, shell } = window.jupyterapp;
              await shell.currentWidget.sessionContext.shutdown();
              await commands.execute('application:close');
            }"""
        )


@pytest.fixture
def open_notebook(lab: Lab, open_lab: Callable[[str], Page], page: Page) -> Callable[..., Notebook]:
    """Write a notebook of these cells into a folder of the root, and open it; without cells, open the one there is."""

    def open_notebook(folder: Path, name: str, *cells: str) -> Notebook:
        file = folder / name
        if cells:
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(notebook, file)
        open_lab(str(file.relative_to(lab.root)))
        page.evaluate("() => void window.jupyterapp.commands.execute('application:toggle-left-area')")
        return Notebook(page, file)

    return open_notebook
