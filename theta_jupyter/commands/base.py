"""What the commands share: the group they belong to, the session they run in, and how arguments complete."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from theta_jupyter._version import __version__
from theta_jupyter.api import Repository
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from theta_jupyter.results import Result

    _ParamType = click.ParamType[str]
else:
    _ParamType = click.ParamType

__all__ = ["PATHS", "REF", "REF_OR_PATH", "TENSORS", "Command", "Session", "as_json", "explain", "split", "theta"]


@dataclass
class Session:
    """Where a command runs.

    Parameters
    ----------
    progress
        Told how long work advances.
    names
        Names of the kernel, that options may refer to; a terminal has none.
    json
        Set when the result is wanted as JSON.
    """

    progress: Progress = silent
    names: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False

    def repository(self, *, bare: bool = False) -> Repository:
        """The repository around the current folder; ``bare``: also one without a work tree."""
        return Repository(".", self.progress, bare=bare)


class Command(click.Command):
    """A command that knows what stood behind ``--``: paths, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands behind ``--`` apart."""
        ctx.meta["theta.paths"] = None
        if "--" in args:
            place = args.index("--")
            ctx.meta["theta.paths"] = args[place + 1 :]
            # The paths stay among the arguments, so that a command that takes only paths sees them all.
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Result:
        """Run, and note how the result is wanted."""
        session = ctx.find_object(Session)
        if session is not None:
            # Also where it stands before the command.
            session.json |= bool(ctx.params.pop("json", False))
        result: Result = super().invoke(ctx)
        return result


class Group(click.Group):
    """The group: without a command it is ``status``, and a mistyped command is answered with the nearest one."""

    command_class = Command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands as their modules group them, in the order of a day's work."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            module = sys.modules[getattr(command.callback, "__module__", __name__)]
            heading = (module.__doc__ or "").partition(":")[0]
            groups.setdefault(heading, []).append((name, command.get_short_help_str(80)))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            raise click.UsageError(
                f"there is no command {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="theta")
@click.option("--json", is_flag=True, help="Give the status as JSON.")
@click.pass_context
def theta(ctx: click.Context, *, json: bool) -> Result | None:
    """Version control for models, on top of Git.

    The commands are the same in a terminal (git theta diff HEAD~1) and in a notebook (%theta diff HEAD~1). Without a
    command: status. To begin: init, track a file, commit.
    """
    session = ctx.ensure_object(Session)
    session.json = json
    if ctx.invoked_subcommand is None:
        return session.repository().status()
    return None


def as_json(function: Any) -> Any:
    """Add the option every command has."""
    return click.option("--json", is_flag=True, help="Give the result as JSON.")(function)


def split(
    ctx: click.Context, arguments: Iterable[str], refs: int = 1, *, bare: bool = False
) -> tuple[list[str], list[str]]:
    """Tell refs from paths as Git does.

    What stands behind ``--`` is a path. Before it, up to ``refs`` arguments are refs; without a ``--``, as many of
    the first as name a commit. ``bare``: as for :meth:`Session.repository`.

    Returns
    -------
    refs, paths
    """
    given = list(arguments)
    behind = ctx.meta.get("theta.paths")
    if behind is not None:
        before = given[: len(given) - len(behind)]
        if len(before) > refs:
            raise RequestError(f"too many refs: {' '.join(before)}", hint=f"{ctx.command_path} takes {refs}")
        return before, list(behind)
    found: list[str] = []
    worktree = ctx.ensure_object(Session).repository(bare=bare).worktree
    while given and len(found) < refs:
        first = given[0]
        names = [part for part in first.split("..") if part.strip(".")] if ".." in first else [first]
        try:
            for name in names:
                worktree.resolve(name)
        except GitError as error:
            if not os.path.lexists(first):
                hint = f"for a file that is no longer there: {ctx.command_path} -- {shlex.quote(first)}"
                raise RequestError(f"{first!r} is not a commit, branch or tag, nor a file here", hint=hint) from error
            break
        found.append(given.pop(0))
    return found, given


def explain(error: BaseException) -> tuple[str, str, int]:
    """Say what the user is told of an error: what happened, what to do next, and the exit status.

    Raises
    ------
    BaseException
        The error itself, if the environment variable ``THETA_DEBUG`` is set and it is a bug.
    """
    match error:
        case ThetaError():
            return error.message, error.hint, 1
        case click.UsageError(ctx=click.Context() as context):
            return error.format_message(), f"see: {context.command_path} -h", 2
        case click.ClickException():
            return error.format_message(), "", 2
        case KeyboardInterrupt() | click.Abort():
            return "interrupted", "nothing is half-written; the same command can be given again", 130
        case OSError(strerror=str() as what):
            return f"{what}: {error.filename}" if error.filename else what, "", 1
        case MemoryError():
            return "there is not enough memory for this", "close other notebooks, and try again", 1
    if os.environ.get("THETA_DEBUG"):
        raise error
    return (
        f"a bug in theta: {type(error).__name__}: {error}",
        "nothing is half-written; please report it, with the traceback that THETA_DEBUG=1 shows",
        1,
    )


def _refs(_: str) -> list[str]:
    try:
        worktree = Repository(".").worktree
        out = worktree.git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes")
    except ThetaError:
        return []
    return ["HEAD", "HEAD~1", *out.decode(errors="replace").split()]


def _files(incomplete: str) -> list[str]:
    """Tracked models first, then what lies in the folder that is being named."""
    from pathlib import Path

    from theta_jupyter import changes

    try:
        worktree = Repository(".").worktree
        models = [os.path.relpath(worktree.top / path) for path in changes.tracked(worktree)]
    except ThetaError:
        models = []
    folder = os.path.dirname(incomplete)  # noqa: PTH120 - a trailing slash counts
    found = Path(folder).iterdir() if Path(folder).is_dir() else ()
    here = sorted(path.name + "/" * path.is_dir() for path in found if not path.name.startswith("."))
    return list(dict.fromkeys([*models, *(f"{folder}/{name}" if folder else name for name in here)]))


def _tensors(_: str) -> list[str]:
    from theta_jupyter import changes

    try:
        worktree = Repository(".").worktree
        found = changes.manifests(worktree, changes.INDEX, [])
    except ThetaError:
        return []
    return sorted({name for manifest in found.values() for name in manifest.records})


class Word(_ParamType):
    """An argument that completes from words found when they are asked for, given its beginning."""

    def __init__(self, name: str, *sources: Callable[[str], Iterable[str]]) -> None:
        self.name = name
        self.sources = sources

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Words that begin like this."""
        words = dict.fromkeys(word for source in self.sources for word in source(incomplete))
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


REF = Word("ref", _refs)
PATHS = Word("path", _files)
REF_OR_PATH = Word("ref or path", _refs, _files)
TENSORS = Word("tensor", _tensors)
