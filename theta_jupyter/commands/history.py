"""Looking: log, diff, show, history."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from theta_jupyter.commands.base import PATHS, REF, REF_OR_PATH, TENSORS, Session, as_json, split, theta
from theta_jupyter.commands.variables import NAME, variable
from theta_jupyter.errors import RequestError, ThetaError
from theta_jupyter.results import Message

if TYPE_CHECKING:
    from theta_jupyter.diffs.report import Diff
    from theta_jupyter.results import Result

_report = click.option(
    "--report", type=PATHS, metavar="FILE", help="Write it to a file: .html (a page of its own), .md, .json or .txt."
)
_exact = click.option("--exact", is_flag=True, help="Read the changed tensors and measure, instead of estimating.")


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[REF] [--] [PATH]...")
@click.option("-n", "--limit", default=20, type=click.IntRange(1), help="How many commits.", show_default=True)
@as_json
@click.pass_context
def log(ctx: click.Context, arguments: tuple[str, ...], limit: int) -> Result:
    """List commits, how much they changed each block of a model, and what that stored.

    From HEAD back, or from REF (or of OLD..NEW); with paths, only commits that changed them.
    """
    refs, paths = split(ctx, arguments)
    return ctx.ensure_object(Session).repository().log(refs[0] if refs else "HEAD", paths, limit=limit)


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[OLD] [NEW] [--] [PATH]...")
@click.option("--cached", "--staged", is_flag=True, help="Compare with what is staged, instead of the work tree.")
@click.option(
    "-t", "--tensor", "tensors", multiple=True, metavar="GLOB", type=TENSORS, help="Only tensors called so; repeatable."
)
@_exact
@click.option(
    "--with",
    "model",
    metavar="NAME",
    type=NAME,
    help="Compare with a model or state dict of this name in the notebook, as it is in memory.",
)
@click.option("--no-index", is_flag=True, help="Compare two files with each other, tracked or not.")
@_report
@as_json
@click.pass_context
def diff(
    ctx: click.Context,
    arguments: tuple[str, ...],
    tensors: tuple[str, ...],
    model: str | None,
    report: str | None,
    *,
    cached: bool,
    exact: bool,
    no_index: bool,
) -> Result:
    """Show which tensors changed, and by how much.

    Without refs, the last commit is compared with the files as they are now; with one, that commit is; with two
    (OLD NEW, or OLD..NEW), they are compared with each other. OLD...NEW shows what NEW changed since it parted from
    OLD. Two files are compared with each other if one is REF:PATH, or is not tracked.
    """
    from theta_jupyter.comparing import compare, is_side

    session = ctx.ensure_object(Session)
    if no_index or any(is_side(argument) for argument in arguments) or _are_files(ctx, arguments):
        if len(arguments) + bool(model) != 2:
            raise RequestError("two files are compared with each other", hint=f"{ctx.command_path} REF:PATH PATH")
        sides = [*arguments, *([_live(session, model)] if model else [])]
        names = ("old", model or "new")
        found = compare(*sides, tensors=tensors, exact=exact, names=names, progress=session.progress)
        return _reported(found, report)
    refs, paths = split(ctx, arguments, 2)
    old, new = [*refs, *["HEAD", ""][len(refs) :]]
    if cached and len(refs) < 2 and not model:
        new = ":"
    elif cached and model and not refs:
        old = ":"
    found = session.repository().diff(
        old,
        new,
        paths,
        tensors=tensors,
        exact=exact,
        model=_live(session, model) if model else None,
        name=model or "model",
    )
    return _reported(found, report)


def _are_files(ctx: click.Context, arguments: tuple[str, ...]) -> bool:
    """Whether these are two files one of which is not tracked: no version of it could be meant."""
    if len(arguments) != 2 or ctx.meta.get("theta.paths") is not None or not all(map(os.path.isfile, arguments)):
        return False
    try:
        worktree = ctx.ensure_object(Session).repository().worktree
        paths = [worktree.relative(path) for path in arguments]
    except ThetaError:
        return True  # There is no repository, or not of both.
    filters = worktree.filters(paths)
    return any(filters.get(path) != "theta" for path in paths)


def _live(session: Session, name: str) -> Any:
    return variable(session, name, "--with", "in Python: Repository().diff(model=model)")


def _reported(diff: Diff, target: str | None) -> Result:
    """The diff, written to a file if one is named."""
    if target is None:
        return diff
    path = diff.report(target)
    return Message(f"{diff.headline()}: written to {path}")


@theta.command()
@click.argument("ref", default="HEAD", type=REF)
@_exact
@as_json
@click.pass_obj
def show(session: Session, ref: str, *, exact: bool) -> Result:
    """Show a commit, and which tensors it changed."""
    return session.repository().show(ref, exact=exact)


@theta.command()
@click.argument("path", type=PATHS)
@click.option(
    "-t", "--tensor", "tensors", multiple=True, metavar="GLOB", type=TENSORS, help="Only tensors called so; repeatable."
)
@click.option("-n", "--limit", default=50, type=click.IntRange(1), help="How many versions.", show_default=True)
@as_json
@click.pass_obj
def history(session: Session, path: str, tensors: tuple[str, ...], limit: int) -> Result:
    """Show how a model changed over its versions: norms, and the size of every step.

    Of the file as a whole, or of each tensor that is called so. No weight is read: it all stands in the manifests.
    """
    return session.repository().history(path, tensors, limit=limit)
