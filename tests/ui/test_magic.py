"""``%theta`` in a notebook in JupyterLab, on real weights: what people see first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from .conftest import Lab

DEMOS = Path(__file__).parent.parent.parent / "demo_notebooks"

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
def repository(lab: Lab) -> Path:
    """A repository of two versions of a real model, and a notebook that looks at them."""
    folder = lab.root / "models"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", VERSIONS, DEMOS], cwd=folder, check=True, timeout=110)
    cells = ["%load_ext theta_jupyter", "%theta log", "%theta diff HEAD~1", "%theta diff HAED~1"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "look.ipynb")
    return folder


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.usefixtures("repository")
def test_diff_is_shown_in_a_notebook(
    open_lab: Callable[[str], Page],
    use_theme: Callable[[str], None],
    screenshot: Callable[[str], None],
    theme: str,
) -> None:
    page = open_lab("models/look.ipynb")
    use_theme(theme)
    page.set_viewport_size({"width": 1280, "height": 1000})
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    notebook.locator(".jp-CodeCell").first.wait_for()
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    # Not waited for here: what the cells show is.
    page.evaluate("() => void window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    cell = notebook.locator(".jp-CodeCell")
    expect(cell.nth(1).locator(".jp-OutputArea-output")).to_contain_text("dense fine-tune", timeout=30_000)
    diff = cell.nth(2).locator(".jp-OutputArea-output")
    expect(diff).to_contain_text("101 of 103 tensors changed")
    expect(diff.locator("tbody tr")).to_have_count(10)
    picture = diff.locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 300")
    # An error is a line and the next step, without a traceback.
    mistake = cell.nth(3).locator(".jp-OutputArea-output")
    expect(mistake).to_contain_text("'HAED~1' is not a commit")
    expect(mistake).not_to_contain_text("Traceback")
    cell.nth(2).scroll_into_view_if_needed()
    cell.nth(2).evaluate("cell => cell.scrollIntoView()")
    screenshot(f"diff-notebook-{theme.lower()}")
