"""The commands in a terminal: ``git theta ...``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from theta_jupyter.commands import Session, theta
from theta_jupyter.commands.progress import Bar
from theta_jupyter.errors import ThetaError
from theta_jupyter.results import Result, plain
from theta_jupyter.storage.pool import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and print its result.

    Returns
    -------
    int
        0; 1 after an error, 2 after a wrong request, 130 after an interrupt.
    """
    # Started by Git's alias, we are at the top of the work tree, and Git says where the user was.
    prefix = os.environ.pop("GIT_PREFIX", "")
    if prefix:
        os.chdir(prefix)
    session = Session(Bar() if sys.stderr.isatty() else silent)
    try:
        result = theta.main(
            args=None if arguments is None else list(arguments),
            prog_name="git theta",
            standalone_mode=False,
            obj=session,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        _complain(error.format_message(), "see: git theta -h")
        return 2
    except ThetaError as error:
        _complain(error.message, error.hint)
        return 1
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted; nothing was changed that is not safe to do again", "")
        return INTERRUPTED
    if not isinstance(result, Result):
        return int(result or 0)  # Help and version have spoken for themselves.
    click.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2) if session.json else result.text())
    return 0


def _complain(message: str, hint: str) -> None:
    click.echo(f"error: {plain(message)}" + (f"\n  {plain(hint)}" if hint else ""), err=True)


if __name__ == "__main__":
    sys.exit(main())
