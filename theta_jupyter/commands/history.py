"""Looking: log, diff, show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.commands.base import REF, REF_OR_PATH, TENSORS, Session, as_json, split, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result

_exact = click.option("--exact", is_flag=True, help="Read the changed tensors and measure, instead of estimating.")


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[REF] [--] [PATH]...")
@click.option("-n", "--limit", default=20, type=click.IntRange(1), help="How many commits.", show_default=True)
@as_json
@click.pass_context
def log(ctx: click.Context, arguments: tuple[str, ...], limit: int) -> Result:
    """List commits, the models they changed, and what that stored.

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
@as_json
@click.pass_context
def diff(
    ctx: click.Context, arguments: tuple[str, ...], tensors: tuple[str, ...], *, cached: bool, exact: bool
) -> Result:
    """Show which tensors changed, and by how much.

    Without refs, the last commit is compared with the files as they are now; with one, that commit is; with two
    (OLD NEW, or OLD..NEW), they are compared with each other. OLD...NEW shows what NEW changed since it parted from
    OLD.
    """
    refs, paths = split(ctx, arguments, 2)
    old, new = [*refs, *["HEAD", ""][len(refs) :]]
    if cached and len(refs) < 2:
        new = ":"
    return ctx.ensure_object(Session).repository().diff(old, new, paths, tensors=tensors, exact=exact)


@theta.command()
@click.argument("ref", default="HEAD", type=REF)
@_exact
@as_json
@click.pass_obj
def show(session: Session, ref: str, *, exact: bool) -> Result:
    """Show a commit, and which tensors it changed."""
    return session.repository().show(ref, exact=exact)
