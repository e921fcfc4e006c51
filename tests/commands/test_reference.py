"""The page about all commands says what they say of themselves."""

from __future__ import annotations

import re

from theta_jupyter.commands import theta
from theta_jupyter.commands.reference import PAGE, text


def test_the_page_is_what_would_be_written() -> None:
    """If this fails: python -m theta_jupyter.commands.reference."""
    assert PAGE.read_text(encoding="utf-8") == text()


def test_every_command_and_every_option_is_there() -> None:
    sections = dict(re.findall(r"^### (\S+)[^\n]*\n\n(.*?)(?=^##|\Z)", text(), re.MULTILINE | re.DOTALL))
    assert set(sections) == set(theta.commands)
    for name, command in theta.commands.items():
        assert command.help
        for option in (name for param in command.params for name in param.opts if name.startswith("--")):
            assert f"`{option}" in sections[name] or option == "--json", (name, option)
