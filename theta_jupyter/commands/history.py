"""Looking: log, diff, show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.commands.base import REF, REF_OR_PATH, Session, as_json, split, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result

_exact = click.option("--exact", is_flag=True, help="Read every changed tensor and measure, instead of estimating.")


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[REF] [--] [PATH]...")
@click.option("-n", "--limit", default=20, type=click.IntRange(1), help="How many commits.", show_default=True)
@as_json
@click.pass_context
def log(ctx: click.Context, arguments: tuple[str, ...], limit: int) -> Result:
    """Commits, the models they changed, and what that stored."""
    refs, paths = split(ctx, arguments)
    return ctx.ensure_object(Session).repository().log(refs[0] if refs else "HEAD", paths, limit=limit)


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[OLD] [NEW] [--] [PATH]...")
@click.option("--cached", "--staged", is_flag=True, help="Compare with the index instead of the work tree.")
@_exact
@as_json
@click.pass_context
def diff(ctx: click.Context, arguments: tuple[str, ...], *, cached: bool, exact: bool) -> Result:
    """Which tensors changed, and by how much.

    Without refs, HEAD against the work tree; with one, that against the work tree; with two (or OLD..NEW), those.
    """
    refs, paths = split(ctx, arguments, 2)
    old, new = [*refs, *["HEAD", ""][len(refs) :]]
    if cached and len(refs) < 2:
        new = ":"
    return ctx.ensure_object(Session).repository().diff(old, new, paths, exact=exact)


@theta.command()
@click.argument("ref", default="HEAD", type=REF)
@_exact
@as_json
@click.pass_obj
def show(session: Session, ref: str, *, exact: bool) -> Result:
    """A commit, and what it changed."""
    return session.repository().show(ref, exact=exact)
