"""Setting up: init, install, uninstall, track, untrack, ls-files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.api import Repository
from theta_jupyter.commands.base import PATHS, Session, as_json, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result


@theta.command()
@click.argument("folder", default=".", type=click.Path())
@as_json
@click.pass_obj
def init(session: Session, folder: str) -> Result:
    """Set up this repository: filter, diff and merge drivers, hooks.

    Makes a Git repository if there is none. Doing it again changes nothing. In a clone that was made without Theta, the
    manifests become the models they stand for.
    """
    _, message = Repository.init(folder, session.progress)
    return message


@theta.command()
@as_json
def install() -> Result:
    """Set up your account (git config --global), for every repository."""
    return Repository.install()


@theta.command()
@as_json
@click.option("--global", "everywhere", is_flag=True, help="Take back what `install` did, not what `init` did.")
@click.pass_obj
def uninstall(session: Session, *, everywhere: bool) -> Result:
    """Take the set-up back; nothing committed is touched."""
    return Repository.uninstall_account() if everywhere else session.repository().uninstall()


@theta.command()
@click.argument("patterns", nargs=-1, required=True, type=PATHS)
@as_json
@click.pass_obj
def track(session: Session, patterns: tuple[str, ...]) -> Result:
    """Track models: files, or patterns such as '*.safetensors'."""
    return session.repository().track(*patterns)


@theta.command()
@click.argument("patterns", nargs=-1, required=True, type=PATHS)
@as_json
@click.pass_obj
def untrack(session: Session, patterns: tuple[str, ...]) -> Result:
    """Stop tracking files or patterns; versions already committed stay."""
    return session.repository().untrack(*patterns)


@theta.command("ls-files")
@as_json
@click.pass_obj
def ls_files(session: Session) -> Result:
    """List tracked models and the patterns that track them."""
    return session.repository().files()
