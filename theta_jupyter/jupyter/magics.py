"""``%theta``: the commands in a notebook.

A line magic whose value is the result object itself: it shows as a table and a picture, and can be kept, as in
``d = %theta diff HEAD~1``. Arguments complete with Tab; errors are one line and the next step, not a traceback.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import ShellComplete
from IPython import get_ipython
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError

from theta_jupyter.answers import Shown
from theta_jupyter.board import Board
from theta_jupyter.commands import Session, explain, theta
from theta_jupyter.diffs.report import Diff
from theta_jupyter.errors import ThetaError
from theta_jupyter.jupyter.progress import Bar
from theta_jupyter.merge_state import Conflicts, MergeState
from theta_jupyter.results import Result, for_notebook, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["complete", "register", "run"]

_WIDGETS = "theta_jupyter.jupyter.widgets"
"""Imported with the first widget that is shown."""
_COMMENT = re.compile(r"""((?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|(?:(?<=\S)|(?<=\\\s))\#|[^\\"'#])*+)\#""", re.DOTALL)
"""A line up to a comment: a ``#`` that begins a word, and stands in no quotes."""
_LINE = re.compile(r"\s*(?:(?:[^=%]*=\s*)?%)?theta\s+(.*)", re.DOTALL)


def run(shell: InteractiveShell, line: str) -> Any:
    """Run a command in a kernel.

    Parameters
    ----------
    line
        What stands behind ``%theta``. A comment may be at its end, as in a shell.

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
        comment = _COMMENT.match(line)
        arguments = shlex.split(comment[1] if comment else line)
    except ValueError as error:
        raise UsageError(f"cannot read that line: {error}") from None
    bar = Bar()
    session = Session(bar, shell.user_ns)
    printed = io.StringIO()
    try:
        # Help and version are printed by click; in a notebook they belong in the cell's output like anything else.
        with contextlib.redirect_stdout(printed):
            result = theta.main(args=arguments, prog_name="%theta", standalone_mode=False, obj=session)
    except BaseException as error:  # noqa: BLE001 - no traceback, whatever it is
        message, hint, _ = explain(error)
        lines = [*message.splitlines(), *([f"  {hint}"] if hint else [])]
        raise UsageError(for_notebook("\n".join(map(plain, lines)))) from None
    finally:
        bar.close()
    if printed.getvalue():
        click.echo(printed.getvalue(), nl=False)
    if not isinstance(result, Result):
        return None
    if isinstance(result, MergeState) and result.merge is not None and _WIDGETS in sys.modules:
        sys.modules[_WIDGETS].announce(result.merge)
    return result.to_dict() if session.json else result


def complete(line: str, names: Mapping[str, Any] | None = None) -> tuple[str, list[str]]:
    """Find words that can stand at the end of a line behind ``%theta``.

    Parameters
    ----------
    names
        Of the kernel.

    Returns
    -------
    beginning, words
        What of the word is written already, and what it can be.
    """
    try:
        words = shlex.split(line)
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        completer = ShellComplete(theta, {"obj": Session(names=names or {})}, "theta", "_THETA_COMPLETE")
        found = [item.value for item in completer.get_completions(words, incomplete)]
        quoted = [word if _is_word(word) else shlex.quote(word) for word in found]
    except (ThetaError, ValueError):
        return "", []  # Not yet a line that can be read.
    return re.split(r"\s", line)[-1], quoted


@context_matcher()  # type: ignore[untyped-decorator]  # IPython's
def matcher(context: CompletionContext) -> SimpleMatcherResult:
    """Complete a line ``%theta ...`` or ``name = %theta ...``; nothing else is offered there."""
    line = _LINE.fullmatch(context.text_until_cursor)
    beginning, words = complete(line[1], _names()) if line else ("", [])
    return {
        "completions": [SimpleCompletion(word, type="theta") for word in words],
        "matched_fragment": beginning if words else context.token,
        "suppress": bool(words),
        "ordered": True,
    }


def register(shell: InteractiveShell) -> None:
    """Add the magic and its completion to a shell."""

    def magic(line: str) -> Any:
        return run(shell, line)

    with click.Context(theta, info_name="%theta", **theta.context_settings) as context:
        magic.__doc__ = theta.get_help(context)  # What %theta? shows.
    shell.register_magic_function(magic, "line", "theta")  # type: ignore[arg-type]  # IPython's decorator hides it
    if getattr(shell, "kernel", None) is not None:
        _show_widgets(shell)
    if matcher not in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.append(matcher)


def _show_widgets(shell: InteractiveShell) -> None:
    """Show diffs and merges as widgets, and figures as pictures, where there is a browser; elsewhere they are text."""

    def show(result: Result) -> Any:
        from theta_jupyter.jupyter.widgets import bundle

        return bundle(result)

    if shell.display_formatter is None:
        return
    for kind in (Diff, Shown, MergeState, Conflicts, Board):
        shell.display_formatter.mimebundle_formatter.for_type(kind, show)
    # What `.plot()` returns. Matplotlib's own way of showing figures, which pyplot sets up, takes this one's place.
    formatter = shell.display_formatter.formatters["image/png"]
    if not any(getattr(kind, "__name__", kind) == "Figure" for kind in formatter.type_printers):
        formatter.for_type_by_name("matplotlib.figure", "Figure", _png)


def _png(figure: Any) -> bytes:
    from theta_jupyter.diffs.plots import png

    return png(figure)


def _names() -> dict[str, Any]:
    """What the user has named in the kernel that asks; what was there before is hidden."""
    shell = get_ipython()
    if shell is None:
        return {}
    # A copy, because code may run meanwhile.
    return {name: value for name, value in list(shell.user_ns.items()) if name not in shell.user_ns_hidden}


def _is_word(text: str) -> bool:
    try:
        return shlex.split(text) == [text]
    except ValueError:
        return False
