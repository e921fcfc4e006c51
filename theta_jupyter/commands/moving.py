"""Moving: checkout, switch, branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.commands.base import REF, REF_OR_PATH, Session, as_json, split, theta
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from theta_jupyter.merges.threeway import Side
    from theta_jupyter.results import Result


@theta.command()
@click.argument("arguments", nargs=-1, type=REF_OR_PATH, metavar="[REF] [--] [PATH]...")
@click.option("--ours", "side", flag_value="ours", help="After a merge: take our side of the tensors in conflict.")
@click.option(
    "--theirs", "side", flag_value="theirs", help="After a merge: take their side of the tensors in conflict."
)
@as_json
@click.pass_context
def checkout(ctx: click.Context, arguments: tuple[str, ...], side: Side | None) -> Result:
    """Go to a commit or branch, or bring back models from one.

    With paths, only these files are replaced: by those of REF, or of the index (what is staged) without one.
    """
    repository = ctx.ensure_object(Session).repository()
    if side:
        return repository.checkout(paths=arguments, side=side)
    # Names that no commit has: of the branch before, and of one that only a remote has, which Git then makes here.
    alone = arguments == ("-",) or (len(arguments) == 1 and repository.worktree.is_remote_branch(arguments[0]))
    refs, paths = (list(arguments), []) if alone else split(ctx, arguments)
    if not refs and not paths:
        raise RequestError("checkout what?", hint="git theta checkout REF, or: git theta checkout [REF] -- PATH")
    return repository.checkout(refs[0] if refs else "", paths)


@theta.command()
@click.argument("name", type=REF)
@click.argument("start", default="", type=REF)
@click.option("-c", "--create", is_flag=True, help="Make the branch, here or at START, and switch to it.")
@as_json
@click.pass_obj
def switch(session: Session, name: str, start: str, *, create: bool) -> Result:
    """Switch to a branch."""
    return session.repository().switch(name, start, create=create)


@theta.command()
@click.argument("name", default="", type=REF)
@click.argument("start", default="", type=REF)
@click.option("-d", "--delete", is_flag=True, help="Delete the branch, if it is merged.")
@as_json
@click.pass_obj
def branch(session: Session, name: str, start: str, *, delete: bool) -> Result:
    """List branches; with a name, make one, here or at START."""
    return session.repository().branch(name, start, delete=delete)
