"""Upkeep: du, gc, fsck. They work in bare repositories, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from theta_jupyter.commands.base import REF_OR_PATH, Session, as_json, split, theta
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from theta_jupyter.results import Result

_REFS = 1000
"""Refs that may be given."""


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[REF]... [--] [PATH]...")
@click.option("--branches", is_flag=True, help="What each branch takes, or each REF.")
@click.option("--tensors", is_flag=True, help="What each tensor takes, over all versions.")
@click.option("-n", "--limit", default=20, type=click.IntRange(1), help="How many lines.", show_default=True)
@as_json
@click.pass_context
def du(ctx: click.Context, arguments: tuple[str, ...], limit: int, *, branches: bool, tensors: bool) -> Result:
    """Show what versions take on disk, and would take as whole files.

    Of each version: what was stored for it, what must be fetched to have it, and what of that it shares with others.
    Versions are those of HEAD, or of REFs; with paths, only those of such models.
    """
    if branches and tensors:
        raise RequestError("--branches and --tensors are two lists: ask for one of them")
    refs, paths = split(ctx, arguments, _REFS, bare=True)
    by: Literal["version", "branch", "tensor"] = "branch" if branches else "tensor" if tensors else "version"
    return ctx.ensure_object(Session).repository(bare=True).du(*refs, paths=paths, by=by, limit=limit)


@theta.command()
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option(
    "--grace",
    default=14.0,
    type=float,
    metavar="DAYS",
    show_default=True,
    help="Spare what was written or used in the last days. With 0, let nothing be added meanwhile.",
)
@as_json
@click.pass_obj
def gc(session: Session, grace: float, *, dry_run: bool) -> Result:
    """Delete what nothing needs any more.

    Needed is what branches, tags, stashes, reflogs, and work trees with what is staged or going on in them can still
    ask for. Others may be at work meanwhile.
    """
    return session.repository(bare=True).gc(grace=grace, dry_run=dry_run)


@theta.command()
@click.option("--all", "every", is_flag=True, help="Also versions that only reflogs and the like know of.")
@click.option("--quick", is_flag=True, help="Only objects; rebuild no tensor.")
@as_json
@click.pass_obj
def fsck(session: Session, *, every: bool, quick: bool) -> Result:
    """Check every object and every tensor that is stored.

    Says which versions have lost tensors, which still stand, and where what is lost may come from. The exit status is 1
    if anything is damaged or lost.
    """
    return session.repository(bare=True).fsck(every=every, quick=quick)
