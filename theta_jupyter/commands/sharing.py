"""Sharing: push, pull, fetch. Arguments of push and pull go to git as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.commands.base import REF, Session, as_json, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result

_passed_on = {"ignore_unknown_options": True}


@theta.command(context_settings=_passed_on)
@click.argument("arguments", nargs=-1, type=REF, metavar="[ARGUMENTS]...")
@as_json
@click.pass_obj
def push(session: Session, arguments: tuple[str, ...]) -> Result:
    """Push commits, and the weights they need.

    Arguments are those of git push, such as: -u origin main.
    """
    return session.repository().push(*arguments)


@theta.command(context_settings=_passed_on)
@click.argument("arguments", nargs=-1, type=REF, metavar="[ARGUMENTS]...")
@as_json
@click.pass_obj
def pull(session: Session, arguments: tuple[str, ...]) -> Result:
    """Pull commits, and the weights of what is checked out.

    Arguments are those of git pull, such as: --rebase.
    """
    return session.repository().pull(*arguments)


@theta.command()
@click.argument("remote", default="", type=REF)
@as_json
@click.pass_obj
def fetch(session: Session, remote: str) -> Result:
    """Fetch commits, and weights to work on without a network.

    The weights are those of HEAD and of its upstream branch.
    """
    return session.repository().fetch(remote)
