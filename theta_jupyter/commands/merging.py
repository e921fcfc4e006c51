"""Merging: merge, resolve, strategies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theta_jupyter.commands.base import PATHS, REF, REF_OR_PATH, Session, Word, as_json, theta
from theta_jupyter.commands.variables import FUNCTION, NAME, variable
from theta_jupyter.errors import RequestError, ThetaError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from theta_jupyter.api import Repository
    from theta_jupyter.merging import Merge
    from theta_jupyter.results import Result


def _in_conflict(_: str) -> list[str]:
    """Names of tensors in conflict, as they are typed."""
    from theta_jupyter.merges.plan import escape

    try:
        found = Session().repository().merging().conflicts().values()
    except ThetaError:
        return []
    return sorted({escape(name) for conflict in found for name in conflict.undecided})


def _strategies(_: str) -> Iterable[str]:
    from theta_jupyter.merges.base import installed

    return installed()


STRATEGY = Word("strategy", _strategies)
STRATEGIES = Word("strategies", lambda text: (text[: text.rfind(",") + 1] + name for name in _strategies(text)))
"""Several, with commas between."""
CONFLICTS = Word("tensor", _in_conflict)


@dataclass(frozen=True)
class _Asked:
    """The options of ``merge``."""

    strategy: str
    given: tuple[str, ...]
    plan: str | None
    message: str
    how: str | None
    tried: str
    score: str
    into: str
    sweep: str
    path: str
    every: bool
    as_file: bool
    lower_is_better: bool


_strategy = click.option("-s", "--strategy", default="", metavar="NAME", type=STRATEGY, help="Such as linear or ties.")
_set = click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A parameter of it; repeatable.")


@theta.command()
@click.argument("branches", nargs=-1, type=REF, metavar="[BRANCH]...")
@_strategy
@_set
@click.option(
    "--plan", type=REF_OR_PATH, metavar="FILE|COMMIT", help="Rules that decide: a file, or the merge commit to repeat."
)
@click.option("--all", "every", is_flag=True, help="Merge every tensor that differs, not only those in conflict.")
@click.option("-m", "--message", default="", help="Of the merge commit.")
@click.option(
    "--try", "tried", default="", metavar="NAMES", type=STRATEGIES, help="Score these, and merge nothing yet."
)
@click.option("--score", default="", metavar="NAME", type=FUNCTION, help="The function that scores, in the notebook.")
@click.option(
    "--into", default="", metavar="NAME", type=NAME, help="The model to fill for it; else it gets a state dict."
)
@click.option("--as-file", is_flag=True, help="It gets the path of a file.")
@click.option("--sweep", default="", metavar="NAME=FROM:TO:N", help="Try one strategy over a range of a parameter.")
@click.option("--lower-is-better", is_flag=True, help="The score is a loss.")
@click.option("--file", "path", default="", metavar="PATH", type=PATHS, help="The model to score, of several.")
@click.option("--status", "how", flag_value="status", help="Show what is in conflict, and what was chosen.")
@click.option("--continue", "how", flag_value="continue", help="Compute what was chosen, and finish.")
@click.option("--undo", "how", flag_value="undo", help="Take the last choice back.")
@click.option("--abort", "how", flag_value="abort", help="Give up, and go back to where it began.")
@as_json
@click.pass_context
def merge(ctx: click.Context, /, branches: tuple[str, ...], **options: Any) -> Result:
    """Merge branches, and decide what both sides changed.

    A strategy or a plan decides it; without one, what settles by itself is merged, and the rest waits for you: see
    resolve. The same commands finish a rebase, a cherry-pick, a revert or a stash that stopped for a conflict.
    """
    from theta_jupyter.merges.plan import settings

    asked = _Asked(**options)
    session = ctx.ensure_object(Session)
    repository = session.repository()
    merging = repository.merging()
    if asked.how and (branches or asked.strategy or asked.given or asked.plan or asked.tried):
        raise RequestError(f"--{asked.how} is for the merge in progress, and takes nothing else")
    match asked.how:
        case "continue":
            return merging.finish(asked.message)
        case "abort":
            return merging.abort()
        case "undo":
            return merging.undo()
        case "status":
            return merging.state()
    if asked.tried or asked.score or asked.sweep:
        return _scored(session, repository, branches, asked)
    if not branches and not (asked.strategy or asked.given or asked.plan or asked.every or asked.message):
        return merging.state()
    if not branches:
        raise RequestError(
            "merge what?", hint="git theta merge BRANCH --strategy linear; or of a merge: git theta resolve"
        )
    return repository.merge(
        *branches,
        strategy=asked.strategy,
        parameters=settings(asked.given),
        plan=asked.plan,
        every=asked.every,
        message=asked.message,
    )


@theta.command()
@click.argument("globs", nargs=-1, type=CONFLICTS, metavar="[TENSOR]...")
@_strategy
@_set
@click.option("--file", "path", default="", metavar="PATH", type=PATHS, help="Only in this file.")
@click.option("--preview", is_flag=True, help="Show what it would give, and choose nothing.")
@click.option("--export", "folder", metavar="DIR", type=PATHS, help="Write all versions to a folder, to merge by hand.")
@click.option(
    "--import", "source", metavar="FILE", type=PATHS, help="Take a file merged by hand for the one in conflict."
)
@as_json
@click.pass_obj
def resolve(
    session: Session,
    globs: tuple[str, ...],
    strategy: str,
    given: tuple[str, ...],
    path: str,
    folder: str | None,
    source: str | None,
    *,
    preview: bool,
) -> Result:
    """Decide tensors in conflict: by name, by a pattern such as 'encoder.*', or all.

    Without a strategy, what is in conflict is shown. A choice computes nothing yet: git theta merge --continue does,
    and --undo takes it back.
    """
    from theta_jupyter.merges.plan import Rule, escape, settings

    repository = session.repository()
    merging = repository.merging()
    inside = repository.worktree.relative(path) if path else ""
    if folder:
        return merging.export(Path(folder), [inside] if inside else [])
    if source:
        return merging.take(Path(source), inside)
    if preview:
        return _preview(merging, globs, strategy, settings(given), inside)
    # A name is itself, whatever is in it; all else is a pattern.
    names = {name for conflict in merging.conflicts().values() for name in conflict.undecided}
    globs = tuple(escape(glob) if glob in names else glob for glob in globs)
    if not strategy:
        if given:
            raise RequestError("parameters of what?", hint="name a strategy: --strategy ties --set density=0.3")
        return merging.conflict_list(globs, inside)
    return merging.choose(*(Rule(glob, strategy, settings(given), inside) for glob in globs or ("*",)))


@theta.command()
@click.argument("name", default="", type=STRATEGY)
@as_json
def strategies(name: str) -> Result:
    """List ways to merge tensors; with a name, the parameters of that one."""
    from theta_jupyter.answers import Strategies
    from theta_jupyter.merges.base import find, installed

    return Strategies((find(name),) if name else tuple(installed().values()), name)


def _scored(session: Session, repository: Repository, branches: tuple[str, ...], asked: _Asked) -> Result:
    from theta_jupyter.merges.plan import settings
    from theta_jupyter.scoring import Measure

    otherwise = 'in Python: Repository().try_merge("rte", strategies=["linear", "ties"], score=function)'
    if not asked.score:
        raise RequestError("scored by what?", hint="name a function of the notebook: --score evaluate")
    score = variable(session, asked.score, "--score", otherwise)
    if not callable(score):
        raise RequestError(f"{asked.score} is no function: it is a {type(score).__name__}")
    into = variable(session, asked.into, "--into", otherwise) if asked.into else None
    return repository.try_merge(
        *branches,
        strategies=[name.strip() for name in (asked.tried or asked.strategy).split(",") if name.strip()],
        score=Measure(score, into, asked.as_file, not asked.lower_is_better),
        parameters=settings(asked.given),
        sweep=asked.sweep,
        path=asked.path,
        every=asked.every,
    )


def _preview(merging: Merge, globs: tuple[str, ...], strategy: str, parameters: dict[str, Any], path: str) -> Result:
    files = [path] if path else list(merging.conflicts())
    if len(globs) != 1 or len(files) != 1:
        raise RequestError("preview what?", hint="one tensor of one file: git theta resolve NAME --preview --file PATH")
    return merging.preview(files[0], globs[0], strategy, parameters)
