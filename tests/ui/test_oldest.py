"""The oldest JupyterLab and Notebook that we admit, and Notebook as it is today."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest
from playwright.sync_api import expect

from .conftest import ROOT, Notebook
from .running import running
from .test_merge import DIVERGED, KINDS, RESOLVE, git, merge_in
from .test_panel import open_panel
from .test_panel import part as in_panel
from .test_widget import LOAD, diff_in, part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from .running import Lab

CURRENT = ROOT / ".venv"
OLDEST = ROOT / ".venv-oldest"

BESIDE = (
    "share/jupyter/labextensions/theta-jupyter",
    "share/jupyter/labextensions/anywidget",
    "share/jupyter/labextensions/@jupyter-widgets",
    "etc/jupyter/jupyter_server_config.d/theta_jupyter.json",
)
"""What the oldest servers find beside their own: not all that there is, for the current Notebook's is there, too."""


NOT_OURS = (
    "Cannot read properties of undefined (reading 'schema')",  # 7.6: settings that are not there yet
    "Cannot read properties of undefined (reading 'last_modified')",  # 7.2: a notebook without a checkpoint
)
"""What Notebook itself says, without us as well."""


@contextlib.contextmanager
def oldest(home: Path, module: str) -> Iterator[Lab]:
    """A server of `.venv-oldest`, with our extensions."""
    if not OLDEST.is_dir():
        message = "needs the oldest JupyterLab and Notebook: make .venv-oldest/.stamp"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    for path in BESIDE:
        link = home / "beside" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(CURRENT / path)
    environment = {
        "JUPYTER_PATH": str(home / "beside/share/jupyter"),
        "JUPYTER_CONFIG_PATH": str(home / "beside/etc/jupyter"),
    }
    with running(home, module, OLDEST / "bin/python", environment=environment) as lab:
        yield lab


def stopped(lab: Lab) -> Path:
    """A repository in which a merge has just stopped for conflicts, and a notebook that looks at it."""
    folder = lab.root / "models"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", DIVERGED, repr(KINDS)], cwd=folder, check=True, timeout=60)
    git(folder, "merge", "rte", code=1)
    cells = [nbformat.v4.new_code_cell(cell) for cell in (LOAD, "%theta diff HEAD~1 HEAD", RESOLVE)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "look.ipynb")
    return folder


def opened(page: Page, lab: Lab, folder: Path, place: str) -> Notebook:
    """The notebook, once it is there."""
    page.goto(f"{lab.url}/{place}/{folder.name}/look.ipynb?token={lab.token}")
    page.wait_for_function("() => 'jupyterapp' in window")
    page.evaluate("() => window.jupyterapp.restored.then(() => true)")
    return Notebook(page, folder / "look.ipynb")


def version(page: Page) -> str:
    """Of the application that is running."""
    found: str = page.evaluate("() => window.jupyterapp.version")
    return found


def check_widgets(notebook: Notebook) -> None:
    """Diff and merge are drawn, and listen."""
    for index in range(3):
        notebook.run(index)
    diff = diff_in(notebook.output(1))
    expect(diff).to_contain_text("12 of 14 tensors changed")
    part(diff, "filter").fill("query")
    expect(part(diff, "table").locator("[data-name]")).to_have_count(3)
    merge = merge_in(notebook.output(2))
    part(merge, "all-ours").click()
    expect(part(merge, "left")).to_contain_text("all 11 conflicts are decided")


def test_the_oldest_jupyterlab(tmp_path: Path, page: Page) -> None:
    with oldest(tmp_path, "jupyterlab") as lab:
        folder = stopped(lab)
        notebook = opened(page, lab, folder, "lab/tree")
        assert version(page) == "4.2.0"
        open_panel(page)
        expect(in_panel(page, "panel").locator(".theta-branch-name")).to_have_text("main")
        expect(in_panel(page, "conflict-row")).to_contain_text("11 left of 11")
        check_widgets(notebook)
        expect(in_panel(page, "conflict-row")).to_contain_text("all decided")
        in_panel(page, "history-row").filter(has_text="dense fine-tune on sts").click()
        in_panel(page, "commit-details").get_by_role("button", name="Diff with parent").click()
        expect(diff_in(page.locator("#jp-main-dock-panel > [id^='theta:diff']"))).to_contain_text(
            "12 of 14 tensors changed"
        )
        in_panel(page, "resolve").click()
        merge_in(page.locator("#jp-main-dock-panel > [id^='theta:merge']"))


@pytest.mark.parametrize("age", ["oldest", "current"])
def test_notebook(tmp_path: Path, page: Page, expected_errors: list[str], age: str) -> None:
    expected_errors += NOT_OURS
    server = oldest(tmp_path, "notebook") if age == "oldest" else running(tmp_path, "notebook")
    with server as lab:
        notebook = opened(page, lab, stopped(lab), "notebooks")
        assert (version(page) == "7.2.0") is (age == "oldest")
        check_widgets(notebook)
        # There is no place for tabs, so nothing offers any.
        expect(page.get_by_role("button", name="Open in main area")).to_have_count(0)
