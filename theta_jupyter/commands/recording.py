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
    help="The committed model that this one was made from: only differences to it are stored.",
)


@theta.command()
@as_json
@click.pass_obj
def status(session: Session) -> Result:
    """Show which models changed, how much, and what a commit would store."""
    return session.repository().status()


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@_from
@as_json
@click.pass_obj
def add(session: Session, paths: tuple[str, ...], derived_from: str) -> Result:
    """Stage models for the next commit.

    All that changed, if none is named. This may be left out: commit does it by itself.
    """
    return session.repository().add(paths, derived_from=derived_from)


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@click.option("-m", "--message", required=True, help="What this version is.")
@_from
@as_json
@click.pass_obj
def commit(session: Session, paths: tuple[str, ...], message: str, derived_from: str) -> Result:
    """Commit models.

    Those named, or all that changed; and whatever is staged. With --from, the commit says what they were made from.
    """
    return session.repository().commit(message, paths, derived_from=derived_from)
