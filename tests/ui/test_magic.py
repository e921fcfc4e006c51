"""``%theta`` in a notebook in JupyterLab, on real weights: what people see first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Notebook


def test_log_and_errors_in_a_notebook(open_notebook: Callable[..., Notebook], repository: Path) -> None:
    notebook = open_notebook(repository, "look.ipynb", "%load_ext theta_jupyter", "%theta log", "%theta diff HAED~1")
    for index in range(3):
        notebook.run(index)
    expect(notebook.output(1)).to_contain_text("dense fine-tune", timeout=30_000)
    # An error is a line and the next step, without a traceback.
    expect(notebook.output(2)).to_contain_text("'HAED~1' is not a commit")
    expect(notebook.output(2)).not_to_contain_text("Traceback")
