"""What is written down for TypeScript and for others is what Python says."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

import pytest

from theta_jupyter.jupyter import contract, panel_types
from theta_jupyter.jupyter.asked import questions
from theta_jupyter.jupyter.contract import FILES, ROOT
from theta_jupyter.jupyter.panel import PanelView

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_are_what_would_be_written(path: Path) -> None:
    """If this fails: python -m theta_jupyter.jupyter.contract."""
    assert path.read_text(encoding="utf-8") == FILES[path]()


def test_drift_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = dataclasses.make_dataclass("Done", [("message", str), ("details", tuple[str, ...]), ("more", int)])
    monkeypatch.setattr(panel_types, "Done", wider)
    for path, write in FILES.items():
        if path.suffix == ".ts":
            assert path.read_text(encoding="utf-8") != write()


def test_the_command_says_what_is_stale() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "theta_jupyter.jupyter.contract", "--check"], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("hint", "written"),
    [
        (str, "string"),
        (float | None, "number | null"),
        (tuple[float | str | None, ...], "(number | string | null)[]"),
        (list[str], "string[]"),
        (dict[str, Any], "Record<string, unknown>"),
        (Literal["a", "b"], "'a' | 'b'"),
        (panel_types.Done, "Done"),
        (tuple[panel_types.Commit, ...], "Commit[]"),
    ],
)
def test_types(hint: Any, written: str) -> None:
    assert contract._type(hint) == written


def test_what_has_no_type_there_is_refused() -> None:
    with pytest.raises(TypeError):
        contract._type(bytes)


def test_every_question_has_an_address() -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    names = {path.removeprefix("/theta/ask/panel/") for path in document["paths"] if "/ask/" in path}
    assert names == set(questions(PanelView))
    text = json.dumps(document)
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert wanted <= document["components"]["schemas"].keys()
    told = document["paths"]["/theta/ask/panel/history"]["post"]["requestBody"]["content"]["application/json"]
    assert told["schema"]["properties"]["told"]["properties"]["skip"]["default"] == 0


def test_what_changes_something_is_a_question() -> None:
    assert PanelView.changing < questions(PanelView).keys()
    assert questions(PanelView).keys() - PanelView.changing == {"pulse", "status", "history", "branches", "model"}
