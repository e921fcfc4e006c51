"""``%theta``: the commands in a notebook.

A line magic whose value is the result object itself: it shows as a table and a picture, and can be kept, as in
``d = %theta diff HEAD~1``. Arguments complete with Tab; errors are one line and the next step, not a traceback.
"""

from __future__ import annotations

import contextlib
import io
import shlex
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import ShellComplete
from IPython.core.error import UsageError

from theta_jupyter.commands import Session, theta
from theta_jupyter.errors import ThetaError
from theta_jupyter.jupyter.progress import Bar
from theta_jupyter.results import Result, plain

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["complete", "register", "run"]


def run(shell: InteractiveShell, line: str) -> Any:
    """Run a command in a kernel.

    Parameters
    ----------
    line
        What stands behind ``%theta``.

    Returns
    -------
    Result, dict or None
        The value of the cell; a dictionary with ``--json``, None for help, which is printed.

    Raises
    ------
    UsageError
        For every error; IPython shows it as one line instead of a traceback.
    """
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"cannot read that line: {error}") from None
    bar = Bar()
    session = Session(bar, shell.user_ns)
    printed = io.StringIO()
    try:
        # Help and version are printed by click; in a notebook they belong in the cell's output like anything else.
        with contextlib.redirect_stdout(printed):
            result = theta.main(args=arguments, prog_name="%theta", standalone_mode=False, obj=session)
    except click.ClickException as error:
        raise UsageError(f"{error.format_message()}\n  see: %theta -h") from None
    except ThetaError as error:
        raise UsageError(_for_notebook(error)) from None
    finally:
        bar.close()
    if printed.getvalue():
        click.echo(printed.getvalue(), nl=False)
    if not isinstance(result, Result):
        return None
    return result.to_dict() if session.json else result


def complete(line: str) -> list[str]:
    """Words that can stand at the end of ``%theta ...``."""
    text = line.lstrip().removeprefix("%").removeprefix("theta")
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    incomplete = "" if not words or text[-1:].isspace() else words.pop()
    completer = ShellComplete(theta, {"obj": Session()}, "theta", "_THETA_COMPLETE")
    return [item.value for item in completer.get_completions(words, incomplete)]


def register(shell: InteractiveShell) -> None:
    """Add the magic and its completion to a shell."""

    def magic(line: str) -> Any:
        return run(shell, line)

    with click.Context(theta, info_name="%theta") as context:
        magic.__doc__ = theta.get_help(context)  # What %theta? shows.
    shell.register_magic_function(magic, "line", "theta")  # type: ignore[arg-type]  # IPython's decorator hides it
    for key in ("theta", "%theta"):
        shell.set_hook("complete_command", _complete_hook, str_key=key)  # type: ignore[no-untyped-call]  # IPython's


def _complete_hook(_: Any, event: Any) -> list[str]:
    return complete(event.text_until_cursor)


def _for_notebook(error: ThetaError) -> str:
    hint = error.hint.replace("git theta ", "%theta ")
    return plain(error.message) + (f"\n  {plain(hint)}" if hint else "")
