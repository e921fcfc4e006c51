"""The end of what stopped for a conflict, in Git's own ways: committed, gone on with, or given up.

Everything is staged by then. The message and the plan are put where Git takes them from, so that they are there also
if a hook refuses the commit and it is done again, by us or by hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from theta_jupyter.conflicts import Situation, conflicts, situation
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.git.worktree import AS_TYPED
from theta_jupyter.merges.plan import TRAILER, Plan

if TYPE_CHECKING:
    from theta_jupyter.git.worktree import Worktree

__all__ = ["give_up", "go_on", "note"]

_LISTED = re.compile(r"\n\S+ Conflicts:\n(\S+\t.*\n?)*\s*\Z")
"""The files in conflict, which Git lists at the end of a message, behind a sign of its own."""
_DONE = {"rebase": "rebased", "cherry-pick": "picked", "revert": "reverted"}


def note(worktree: Worktree, now: Situation, message: str, plan: Plan) -> None:
    """Put a message, and the plan as its trailer, where Git takes what it will commit from.

    Parameters
    ----------
    message
        Of a merge commit; Git's own if empty.
    """
    trailers = [f"{TRAILER}: {plan.line()}"] if plan.rules else []
    for name in ("MERGE_MSG", "rebase-merge/message"):
        file = worktree.git_dir / name
        if not file.is_file():
            continue
        given = trailers
        if now.kind == "merge":
            text = _LISTED.sub("\n", file.read_text(encoding="utf-8", errors="replace"))
            if message:
                given = trailers or [line for line in text.splitlines() if line.startswith(f"{TRAILER}:")]
                text = f"{message.rstrip()}\n"
            file.write_text(text, encoding="utf-8")
        options = ("--in-place", "--no-divider", "--if-exists=addIfDifferent")
        worktree.git("interpret-trailers", *options, *(f"--trailer={trailer}" for trailer in given), "--", str(file))


def go_on(worktree: Worktree, now: Situation) -> str:
    """Let Git commit what is staged, and go on with what there is left; return what happened, in words.

    Raises
    ------
    GitError
        If it does not, as when a hook refuses. What was merged stays staged.
    """
    git = worktree.git
    if now.kind == "stash":
        drop = "; drop the stash with: git stash drop" if now.theirs.name == "stash" else ""
        return f"{now.theirs.name}: applied and staged{drop}"
    # What turned out to change nothing is skipped, as Git itself would. Not in a rebase, which goes on by itself: to
    # skip there is to reset whatever is not committed.
    skips = now.kind in {"cherry-pick", "revert"} and not git("diff", "--cached", "--name-only")
    step = "--skip" if skips else "--continue"
    go: list[str] = ["-c", "commit.cleanup=strip", now.kind, step]
    if now.kind == "merge":
        go = ["commit", "--quiet", "--no-edit", "--cleanup=whitespace"]
    try:
        git(*go, env={**AS_TYPED, "GIT_EDITOR": "true"})
    except GitError as error:
        if not conflicts(worktree):
            raise GitError(
                f"Git does not go on: {error.message}",
                hint="all is merged and staged; then again: git theta merge --continue   (or --abort)",
            ) from error
        return f"{now.theirs.subject}: done; the next one, {situation(worktree).theirs.subject}, is in conflict"
    head = worktree.resolve("HEAD")[:7]
    if now.kind == "merge":
        return f"merged {now.theirs.name} into {now.ours.name}: {head}"
    return f"{_DONE[now.kind]}: {head}"


def give_up(worktree: Worktree, now: Situation) -> None:
    """Go back to where it began.

    Raises
    ------
    RequestError
        If Git has no way back.
    """
    if now.kind == "stash":
        kept = "; the stash itself is still there" if now.theirs.name == "stash" else ""
        raise RequestError(
            f"Git keeps no way back from this{kept}", hint="git checkout HEAD -- PATH takes the files back"
        )
    worktree.git(now.kind, "--abort")
