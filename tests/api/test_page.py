"""The page about Python, docs/python.md: its code runs, and it names every verb."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from theta_jupyter import Repository

if TYPE_CHECKING:
    from tests.e2e.repo import Repo

PAGE = (Path(__file__).parent.parent.parent / "docs" / "python.md").read_text(encoding="utf-8")

TABLE = PAGE.partition("\n| in a terminal")[2].partition("\n## ")[0].replace("`compare(", "")


def test_the_code_runs(empty: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)  # noqa: S102 - our own page
    assert empty.git("log", "--format=%s").split("\n")[:2] == ["a step", "base model"]
    printed = capsys.readouterr().out
    assert "bias M " in printed
    assert "float32 (64,)" in printed
    assert "there is no branch" in printed or "no-such-branch" in printed
    assert float(names["model"].bias.detach().abs().max()) < 1  # as it was before the step


def test_every_verb_is_there() -> None:
    verbs = [name for name, value in vars(Repository).items() if not name.startswith("_") and value.__doc__]
    assert [name for name in verbs if not re.search(rf"[`.]{name}\(", PAGE)] == []


@pytest.mark.parametrize("call", re.findall(r"`(?:repo\.|Repository\.)?(\w+)\(([^`]*)\)`", TABLE))
def test_what_is_shown_can_be_called(call: tuple[str, str]) -> None:
    """Every name that is given an argument by is one that it has."""
    name, arguments = call
    parameters = inspect.signature(getattr(Repository, name)).parameters
    assert {*re.findall(r"(?:^|, )(\w+)=", arguments)} <= set(parameters)
