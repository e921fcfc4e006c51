"""Setting up: init, install, uninstall, track, untrack, ls-files, migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from theta_jupyter.api import Repository
from theta_jupyter.commands.base import PATHS, REF, Session, as_json, theta

if TYPE_CHECKING:
    from theta_jupyter.results import Result


@theta.command()
@click.argument("folder", default=".", type=PATHS)
@as_json
@click.pass_obj
def init(session: Session, folder: str) -> Result:
    """Set up this repository, or make one: do this first.

    Git is told to store models tensor by tensor: a filter, diff and merge drivers, and hooks, in the settings of this
    repository. Doing it again does no harm. In a clone that was made before, the manifests in place of models become
    the models.
    """
    _, message = Repository.init(folder, session.progress)
    return message


@theta.command()
@as_json
def install() -> Result:
    """Set up your account, so that new clones work at once.

    The settings are those of init, in git config --global.
    """
    return Repository.install()


@theta.command()
@as_json
@click.option("--global", "everywhere", is_flag=True, help="Take back what install did instead.")
@click.pass_obj
def uninstall(session: Session, *, everywhere: bool) -> Result:
    """Take back what init did.

    No file and no commit is touched. Git can then no longer read or write tracked models here, until init is run again.
    """
    return Repository.uninstall_account() if everywhere else session.repository().uninstall()


@theta.command()
@click.argument("patterns", nargs=-1, required=True, type=PATHS)
@as_json
@click.pass_obj
def track(session: Session, patterns: tuple[str, ...]) -> Result:
    """Track models: files, or patterns in quotes, such as '*.pt'.

    From then on Git stores them tensor by tensor. It is written to .gitattributes, which is committed with them.
    """
    return session.repository().track(*patterns)


@theta.command()
@click.argument("patterns", nargs=-1, required=True, type=PATHS)
@as_json
@click.pass_obj
def untrack(session: Session, patterns: tuple[str, ...]) -> Result:
    """Stop tracking files or patterns.

    Versions already committed stay as they are.
    """
    return session.repository().untrack(*patterns)


@theta.command("ls-files")
@as_json
@click.pass_obj
def ls_files(session: Session) -> Result:
    """List tracked models and the patterns that track them."""
    return session.repository().files()


@theta.command()
@click.argument("patterns", nargs=-1, type=PATHS)
@click.option(
    "--branch", default="", metavar="NAME", type=REF, help="The branch to migrate, instead of the current one."
)
@click.option("--onto", default="", metavar="NAME", help="What to call the new branch, instead of theta/BRANCH.")
@click.option("--dry-run", is_flag=True, help="Only say which files would be migrated.")
@as_json
@click.pass_obj
def migrate(session: Session, patterns: tuple[str, ...], branch: str, onto: str, *, dry_run: bool) -> Result:
    """Migrate a history that has models already, to a new branch.

    There they are tracked, in every commit. Before, they may be in Git itself, in Git LFS, or kept by the published
    git-theta. Everything that is there stays as it is. Patterns, in quotes, are those of .gitattributes at the top,
    such as '*.bin'; without any, it is files with the usual endings, and those of git-theta.
    """
    return session.repository().migrate(*patterns, branch=branch, onto=onto, dry_run=dry_run)
