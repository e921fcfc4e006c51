"""Recording: status, add, commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.commands.base import PATHS, Session, as_json, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result

_from = click.option(
    "--from",
    "derived_from",
    default="",
    metavar="[REF:]PATH",
    type=PATHS,
    help="The committed model this one was made from; it is noted, and can be rested on.",
)


@theta.command()
@as_json
@click.pass_obj
def status(session: Session) -> Result:
    """Which tracked models changed, how much, and what a commit would store."""
    return session.repository().status()


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@_from
@as_json
@click.pass_obj
def add(session: Session, paths: tuple[str, ...], derived_from: str) -> Result:
    """Stage models; all changed ones if none is named."""
    return session.repository().add(paths, derived_from=derived_from)


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@click.option("-m", "--message", required=True, help="What this version is.")
@_from
@as_json
@click.pass_obj
def commit(session: Session, paths: tuple[str, ...], message: str, derived_from: str) -> Result:
    """Commit models: those named, or all that changed."""
    return session.repository().commit(message, paths, derived_from=derived_from)
