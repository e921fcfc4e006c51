"""Sharing: clone, push, pull, fetch, prefetch. Arguments of push and pull go to git as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.api import Repository
from theta_jupyter.commands.base import PATHS, REF, REF_OR_PATH, TENSORS, Session, as_json, split, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result

_passed_on = {"ignore_unknown_options": True}
_include = click.option(
    "--include",
    multiple=True,
    metavar="TENSOR",
    type=TENSORS,
    help="Only tensors of this name, or of a pattern such as 'encoder.layer.11.*'; repeatable.",
)


@theta.command()
@click.argument("url")
@click.argument("folder", default="", type=PATHS)
@click.option("--lazy", is_flag=True, help="Leave the weights where they are until they are asked for.")
@click.option("-b", "--branch", default="", metavar="NAME", help="Check this branch, or tag, out.")
@click.option("--depth", type=click.IntRange(min=1), help="Only so many commits back.")
@click.option("-o", "--origin", default="", metavar="NAME", help="What to call the remote, instead of origin.")
@as_json
@click.pass_obj
def clone(
    session: Session, url: str, folder: str, branch: str, depth: int | None, origin: str, *, lazy: bool
) -> Result:
    """Clone a repository, set it up, and check its models out.

    With --lazy, log, history and diffs work at once; the weights come when they are asked for: all with
    git theta checkout -- PATH, some with git theta prefetch --include TENSOR.
    """
    given = {"branch": branch, "depth": depth, "origin": origin}
    options = [f"--{name}={value}" for name, value in given.items() if value]
    _, message = Repository.clone(url, folder, options, session.progress, lazy=lazy)
    return message


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
@_include
@as_json
@click.pass_obj
def pull(session: Session, arguments: tuple[str, ...], include: tuple[str, ...]) -> Result:
    """Pull commits, and the weights of what is checked out.

    Arguments are those of git pull, such as: --rebase. With --include, models that changed stay manifests, and only
    these tensors come; in Python, load(PATH, names=[...]) reads them.
    """
    return session.repository().pull(*arguments, include=include)


@theta.command()
@click.argument("remote", default="", type=REF)
@as_json
@click.pass_obj
def fetch(session: Session, remote: str) -> Result:
    """Fetch commits, and weights to work on without a network.

    The weights are those of HEAD and of its upstream branch.
    """
    return session.repository().fetch(remote)


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[REF] [--] [PATH]...")
@_include
@as_json
@click.pass_context
def prefetch(ctx: click.Context, arguments: tuple[str, ...], include: tuple[str, ...]) -> Result:
    """Bring weights before they are needed: those of REF, or of HEAD.

    Checking out, comparing, merging and loading that version then needs no network.
    """
    refs, paths = split(ctx, arguments)
    return ctx.ensure_object(Session).repository().prefetch(*refs, paths=paths, include=include)
