"""The commands in a terminal: ``git theta ...``."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

import click

from theta_jupyter.commands import Session, explain, theta
from theta_jupyter.commands.progress import Bar
from theta_jupyter.results import Result, plain
from theta_jupyter.storage.pool import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

HUNG_UP = 141
"""What a shell reports of a program whose reader has gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and print its result.

    Returns
    -------
    int
        0; 1 after an error, or if something waits for a decision; 2 if the command was not understood; 130 after an
        interrupt.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # Not every terminal can write every name.
    session = Session(Bar() if sys.stderr.isatty() else silent)
    try:
        result = theta.main(
            args=None if arguments is None else list(arguments),
            prog_name="git theta",
            standalone_mode=False,
            obj=session,
        )
        if not isinstance(result, Result):
            return int(result or 0)  # Help and version have spoken for themselves.
        click.echo(json.dumps(result.to_dict(), indent=2) if session.json else result.text())
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as in `git theta log | head -1`. Keep Python from writing more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HUNG_UP
    except BaseException as error:  # noqa: BLE001 - no traceback, whatever it is
        message, hint, status = explain(error)
        # Git's own words may be several lines.
        lines = [*f"error: {message}".splitlines(), *([f"  {hint}"] if hint else [])]
        click.echo("\n".join(map(plain, lines)), err=True)
        return status
    return result.exit_status


if __name__ == "__main__":
    sys.exit(main())
