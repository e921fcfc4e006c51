"""The page about all commands, ``docs/commands.md``, in the commands' own words.

``python -m theta_jupyter.commands.reference`` writes it; a test says whether it is as it would be written.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from theta_jupyter.commands import theta

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent.parent / "docs" / "commands.md"
_BEGIN = """\
# Commands

In a terminal `git theta NAME`, in a notebook `%theta NAME`; without a name it is `status`. What stands behind `--` is a
path. `-h` says what is said here, and `--json` gives the result as JSON. `%theta` may end in a comment, behind ` #`.

The exit status is 0 if all went well; 1 after an error, if a merge waits for decisions, or if `fsck` found damage; 2 if
the command was not understood; 130 after an interruption. Should there be a bug in Theta, `THETA_DEBUG=1` shows where.
"""
_EVERYWHERE = {"json", "help"}


def text() -> str:
    """The whole page."""
    return "\n".join([_BEGIN, *_groups()])


def _groups() -> Iterator[str]:
    heading = ""
    for name, command in theta.commands.items():
        about = inspect.getdoc(sys.modules[command.callback.__module__]) or ""
        if heading != (heading := about.partition(":")[0]):
            yield f"## {heading}\n"
        yield from _command(name, command)


def _command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option) and param.name not in _EVERYWHERE]
    yield f"### {' '.join([name, *map(_argument, arguments)])}\n"
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    yield "".join(f"{_one_line(paragraph)}\n\n" for paragraph in paragraphs).removesuffix("\n")
    if options:
        yield "| option | |\n| --- | --- |"
        yield "".join(f"| {_option(option)} | {_help(option)} |\n" for option in options)


def _argument(param: click.Argument) -> str:
    word = param.metavar or (param.name or "").upper()
    if param.metavar is None:
        word += "..." if param.nargs == -1 else ""
        word = word if param.required else f"[{word}]"
    return word


def _option(param: click.Option) -> str:
    value = "" if param.is_flag or param.count else f" {_value(param)}"
    return ", ".join(f"`{name}{value}`" for name in [*param.opts, *param.secondary_opts])


def _value(param: click.Option) -> str:
    if param.metavar:
        return param.metavar.replace("|", "\\|")
    if isinstance(param.type, click.Choice):
        return "{" + ",".join(map(str, param.type.choices)) + "}"
    return "NUMBER" if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType) else "TEXT"


def _help(param: click.Option) -> str:
    default = f" ({param.default} by default)" if param.show_default and param.default is not None else ""
    return _one_line(param.help or "").replace("|", "\\|").removesuffix(".") + default + "."


def _one_line(words: str) -> str:
    return " ".join(words.split()).replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
