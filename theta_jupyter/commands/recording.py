"""Recording: status, add, commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from theta_jupyter.adapters import KINDS
from theta_jupyter.commands.base import PATHS, Session, as_json, theta
from theta_jupyter.commands.variables import NAME, variable
from theta_jupyter.errors import RequestError

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
@click.option("--update", type=click.Choice(KINDS), help="What was done to the model, as the file after --from says.")
@click.option(
    "--from",
    "origin",
    default="",
    metavar="[REF:]PATH",
    type=PATHS,
    help="The committed model that this one was made from; with --update, or if it is a folder of PEFT, the adapter.",
)
@click.option("--apply", is_flag=True, help="Make the new model first, from the file that is there and the adapter.")
@as_json
@click.pass_obj
def add(session: Session, paths: tuple[str, ...], update: str | None, origin: str, *, apply: bool) -> Result:
    """Stage models for the next commit.

    All that changed, if none is named. This may be left out: commit does it by itself.

    An update that is known, such as a LoRA, need not be found:
    git theta add model.safetensors --update low-rank --from adapter.safetensors
    """
    repository = session.repository()
    if update or apply or Path(origin, "adapter_config.json").is_file():
        return repository.add(paths, update=update or "", adapter=origin, apply=apply)
    return repository.add(paths, derived_from=origin)


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@click.option("-m", "--message", required=True, help="What this version is.")
@click.option(
    "--save",
    "saved",
    default="",
    metavar="NAME",
    type=NAME,
    help="A variable of the notebook, such as a model: it is written to PATH first.",
)
@_from
@as_json
@click.pass_obj
def commit(session: Session, paths: tuple[str, ...], message: str, saved: str, derived_from: str) -> Result:
    """Commit models.

    Those named, or all that changed; and whatever is staged. With --from, the commit says what they were made from.
    """
    if not saved:
        return session.repository().commit(message, paths, derived_from=derived_from)
    obj = variable(session, saved, "--save", "in Python: Repository().save(model, PATH, message)")
    if len(paths) != 1:
        raise RequestError(
            f"--save needs one PATH, not {len(paths)}",
            hint=f'git theta commit model.safetensors --save {saved} -m "..."',
        )
    return session.repository().save(obj, paths[0], message, derived_from=derived_from)
