"""Beginning a merge: of one branch, as Git does it, or of several at once, and by a strategy from the start.

One branch is merged by ``git merge``; a plan then decides what is left, and if it decides everything, the merge is
finished. Several branches, or every tensor by a strategy, is more than Git can do: then the whole result is made among
Git's objects first, models and all other files, and only when it is complete does the branch move on to it, as in a
fast-forward. Until then nothing was touched.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from theta_jupyter import blending, changes, history
from theta_jupyter.blending import Statistics
from theta_jupyter.conflicts import Conflict, merged_models, named, situation, unmerged
from theta_jupyter.deciding import Versions, assembled, decide, of_conflict
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.git.roads import at_hand, lying, materialise
from theta_jupyter.git.worktree import AS_TYPED, LATER, shown
from theta_jupyter.merges.base import find
from theta_jupyter.merges.blend import Part
from theta_jupyter.merges.plan import TRAILER, Plan, Rule
from theta_jupyter.merging import Merge
from theta_jupyter.storage.manifest import Manifest, dump
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merge_state import MergeState

__all__ = ["begin", "of_heads", "rules"]


def rules(
    worktree: Worktree,
    strategy: str,
    parameters: Mapping[str, Any] | None,
    plan: Plan | str | Path | None,
    *,
    every: bool,
) -> Plan | None:
    """What was given to decide by, as a plan: one strategy for all tensors, or a plan, a file of one, a merge commit.

    Raises
    ------
    RequestError
        If it does not fit together, or there is no such plan.
    """
    if plan is not None:
        if strategy:
            raise RequestError("a plan says which strategies: give one or the other")
        found = plan if isinstance(plan, Plan) else history.plan(worktree, plan)
        return replace(found, all=found.all or every)
    if strategy:
        return Plan((Rule("*", strategy, parameters or {}),), every)
    if parameters:
        raise RequestError("parameters of what?", hint="name a strategy: --strategy ties --set density=0.3")
    if every:
        raise RequestError("every tensor is merged by what?", hint="name a strategy: --all --strategy linear")
    return None


def begin(
    worktree: Worktree,
    branches: Sequence[str],
    plan: Plan | None = None,
    message: str = "",
    progress: Progress = silent,
    *,
    finish: bool = True,
) -> MergeState:
    """Merge branches into the current one.

    Parameters
    ----------
    plan
        Decides what does not settle by itself; with ``all``, every tensor that differs.
    message
        Of the merge commit; Git's own if empty.
    finish
        Whether to end the merge as soon as everything is decided.

    Returns
    -------
    MergeState
        Finished, or with what is left to decide.

    Raises
    ------
    RequestError
        If a merge is in progress already, or several branches cannot be merged in one go. Nothing was changed then.
    """
    now = situation(worktree)
    if now.kind:
        raise RequestError(f"{now.title} is not finished", hint="git theta merge --continue, or --abort")
    if not branches:
        raise RequestError("merge what?", hint="git theta merge BRANCH")
    heads = [worktree.resolve(branch) for branch in branches]
    if plan is not None:
        plan = plan.checked(1 + len(heads))
        for rule in plan.rules:
            Statistics(worktree).check(rule.values(0.0, 1 + len(heads)), find(rule.strategy))
    before, files = _head(worktree), _files(worktree)
    _refuse_changed(worktree, before, heads)
    there = changes.manifests(worktree, before, files) if before and files else {}
    with at_hand(worktree, there.items()):
        if plan is not None and (plan.all or len(heads) > 1):
            return _join(worktree, heads, branches, plan, message, progress)
        try:
            _merge(worktree, branches, message)
            session = Merge(worktree, progress)
            session.forget()
            if not situation(worktree).kind:
                return session.state(_outcome(worktree, before, heads, branches))
            if plan is None:
                return replace(session.state(), stopped=True)
            state = session.follow(plan)
            if finish and not state.left and not state.others:
                # What was decided is written once, and not ours before it.
                return session.finish(message)
            return replace(state, stopped=finish)
        finally:
            _write_out(worktree, files, progress)


def of_heads(worktree: Worktree, heads: Sequence[str], labels: Sequence[str], paths: Sequence[str]) -> list[Versions]:
    """Files as they are in HEAD and in other commits; those that every one of them has.

    Parameters
    ----------
    labels
        What to call HEAD and the others.

    Raises
    ------
    RequestError
        If they have several common ancestors, or a model was renamed or deleted: only Git can merge that.
    """
    commits = ["HEAD", *heads]
    base_id = _base(worktree, heads)
    bases = changes.manifests(worktree, base_id, paths) if base_id else {}
    trees = [changes.manifests(worktree, commit, paths) for commit in commits]
    shared = sorted(set(trees[0]).intersection(*trees[1:]))
    for path in sorted(bases.keys() - set(shared)):
        raise RequestError(
            f"{shown(path)} was renamed or deleted on one side",
            hint="begin with: git theta merge BRANCH; Git follows it, and a strategy then decides what is in conflict",
        )
    return [_versions(worktree, path, bases.get(path), [tree[path] for tree in trees], labels) for path in shared]


def _refuse_changed(worktree: Worktree, before: str, heads: Sequence[str]) -> None:
    """Refuse to merge what has changes that are not committed.

    Git would, of any other file. But where a model is left as ours has it, because it is in conflict, Git sees nothing
    to write and goes on; to abort such a merge would throw the changes away.
    """
    changed = {os.fsdecode(path) for path in worktree.git("diff", "--name-only", "-z").split(b"\0") if path}
    if not changed or not before:
        return
    for head in heads:
        theirs = worktree.git("diff", "--name-only", "-z", f"{before}...{head}").split(b"\0")
        for path in sorted(changed.intersection(map(os.fsdecode, theirs))):
            raise RequestError(
                f"{shown(path)} has changes that are not committed, and the merge changes it, too",
                hint="commit them, or put them aside: git stash",
            )


def _join(
    worktree: Worktree,
    heads: Sequence[str],
    branches: Sequence[str],
    plan: Plan,
    message: str,
    progress: Progress,
) -> MergeState:
    if worktree.git("status", "--porcelain", "--untracked-files=no"):
        raise RequestError("there are changes that are not committed", hint="commit them, or put them aside: git stash")
    ours = worktree.resolve("HEAD")
    wanted_heads = {
        head: branch for branch, head in zip(branches, heads, strict=True) if not _is_in(worktree, head, ours)
    }
    if not wanted_heads:
        return Merge(worktree, progress).state("already up to date")
    if len(wanted_heads) < len(heads):
        heads, branches = [*wanted_heads], [*wanted_heads.values()]
        plan = _for_fewer(plan, 1 + len(heads))
    labels = [named(worktree, ours).name, *branches]
    tree, unmerged = _rest(worktree, ours, heads)
    models = of_heads(worktree, heads, labels, [])
    wanted = [versions for versions in models if plan.all or versions.path in unmerged]
    by_hand = sorted(set(unmerged) - {versions.path for versions in models})
    if by_hand:
        raise RequestError(
            f"{shown(by_hand[0])} is in conflict, and is no model that all have",
            hint="merge the branches one at a time",
        )
    lines: list[bytes] = []
    remarks: list[str] = []
    used: set[tuple[str, str]] = set()
    for versions in wanted:
        decided = decide(versions, plan)
        if decided.left:
            name, reason = next(iter(decided.left.items()))
            more = f", and {len(decided.left) - 1} more" if len(decided.left) > 1 else ""
            raise RequestError(
                f"{versions.path}: {name}{more} cannot be decided: {reason}",
                hint="nothing was changed; give another rule",
            )
        made = blending.blended(worktree, decided.tasks, progress, remarks)
        text = dump(assembled(worktree, versions, decided, made))
        blob = worktree.git("hash-object", "-w", "--no-filters", "--stdin", data=text).decode().strip()
        mode = worktree.git("ls-tree", "HEAD", "--", versions.path).split()[0].decode()
        lines.append(os.fsencode(f"{mode} {blob}\t{versions.path}\0"))
        used |= {(versions.path, name) for name in versions.tensors}
    made_tree = _with(worktree, tree, lines)
    kept = plan.used(used).full(1 + len(heads))
    commit = _commit(worktree, made_tree, [ours, *heads], message or _message(branches), kept)
    if worktree.resolve("HEAD") != ours:
        raise RequestError("HEAD has moved meanwhile; nothing was merged", hint="do it again")
    before = _files(worktree)
    worktree.git("merge", "--quiet", "--ff-only", commit, env={**AS_TYPED, LATER: "1"})
    _write_out(worktree, before, progress)
    files = f" ({', '.join(shown(versions.path) for versions in wanted)})" if wanted else ""
    done = Merge(worktree, progress).state(f"merged {', '.join(branches)} into {labels[0]}: {commit[:7]}{files}")
    return replace(done, remarks=tuple(remarks))


def _for_fewer(plan: Plan, models: int) -> Plan:
    try:
        return plan.checked(models)
    except RequestError as error:
        raise RequestError(
            f"{error.message}, because a branch is merged already", hint="leave that branch out, and its weight"
        ) from None


def _merge(worktree: Worktree, branches: Sequence[str], message: str) -> None:
    """Let Git merge, up to what is in conflict; only manifests are written."""
    words = ["--no-edit", *(["--message", message] if message else []), "--end-of-options", *branches]
    try:
        worktree.git("merge", "--quiet", *words, env={**AS_TYPED, LATER: "1"})
    except GitError as error:
        if situation(worktree).kind:
            if unmerged(worktree):
                return
            hint = "all is merged and staged; then again: git theta merge --continue   (or --abort)"
            raise GitError(f"Git does not commit the merge: {error.message}", hint=hint) from error
        if len(branches) > 1:
            hint = "merge them one at a time, or all tensors in conflict by one: --strategy linear"
            raise GitError(f"{' and '.join(branches)} do not merge by themselves", hint=hint) from error
        raise


def _head(worktree: Worktree) -> str:
    try:
        return worktree.resolve("HEAD")
    except GitError:
        return ""  # No commit yet.


def _files(worktree: Worktree) -> list[str]:
    """Tracked models that lie in the work tree as files, not as manifests."""
    return [path for path in changes.tracked(worktree) if lying(worktree, path) == b""]


def _write_out(worktree: Worktree, files: Sequence[str], progress: Progress) -> None:
    """Put files where Git has written manifests; of a lazy clone, only what were files before."""
    try:
        materialise(worktree, files if worktree.is_lazy else changes.tracked(worktree), progress)
    except ThetaError as error:
        error.message = f"merged, but not all files could be written: {error.message}"
        raise
    except KeyboardInterrupt:
        message = "merged, and interrupted before all files were written"
        raise ThetaError(message, hint="bring them with: git theta checkout -- .") from None


def _outcome(worktree: Worktree, before: str, heads: Sequence[str], branches: Sequence[str]) -> str:
    after = worktree.resolve("HEAD")
    if after == before:
        return "already up to date"
    how = "moved on to" if after in heads else "merged"
    return f"{how} {', '.join(branches)}: {after[:7]}"


def _rest(worktree: Worktree, ours: str, heads: Sequence[str]) -> tuple[str, list[str]]:
    """Merge all files one branch after the other, among Git's objects; the tree, and what was in conflict."""
    commit, tree, unmerged = ours, "", []
    for head in heads:
        out = worktree.git(
            "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", commit, head, fine=(0, 1)
        ).split(b"\0")
        tree = out[0].decode()
        unmerged += [os.fsdecode(path) for path in out[1:] if path]
        commit = worktree.git("commit-tree", tree, "-p", commit, "-p", head, "-m", "on the way").decode().strip()
    return tree, unmerged


def _with(worktree: Worktree, tree: str, lines: Sequence[bytes]) -> str:
    """A tree with other files in it."""
    index = worktree.git_dir / f"theta-index.{os.getpid()}.{secrets.token_hex(4)}"
    env = {"GIT_INDEX_FILE": str(index)}
    try:
        worktree.git("read-tree", tree, env=env)
        worktree.git("update-index", "-z", "--index-info", data=b"".join(lines), env=env)
        return worktree.git("write-tree", env=env).decode().strip()
    finally:
        index.unlink(missing_ok=True)


def _commit(worktree: Worktree, tree: str, parents: Sequence[str], message: str, plan: Plan) -> str:
    trailer = f"--trailer={TRAILER}: {plan.line()}"
    words = worktree.git("interpret-trailers", "--no-divider", trailer, data=f"{message.rstrip()}\n".encode())
    arguments = [argument for parent in parents for argument in ("-p", parent)]
    if worktree.config("commit.gpgsign").lower() in {"true", "yes", "on", "1"}:
        arguments.append("--gpg-sign")
    return worktree.git("commit-tree", tree, *arguments, data=words).decode().strip()


def _message(branches: Sequence[str]) -> str:
    quoted = [f"'{branch}'" for branch in branches]
    if len(quoted) == 1:
        return f"Merge branch {quoted[0]}"
    return f"Merge branches {', '.join(quoted[:-1])} and {quoted[-1]}"


def _base(worktree: Worktree, heads: Sequence[str]) -> str:
    how = ["--all"] if len(heads) == 1 else ["--octopus", "--all"]
    try:
        found = worktree.git("merge-base", *how, "HEAD", *heads).decode().split()
    except GitError:
        return ""
    if len(found) > 1:
        raise RequestError(
            f"there are {len(found)} common ancestors, which Git has to merge first",
            hint="begin with: git theta merge BRANCH; what is in conflict is then decided, or tried, in that merge",
        )
    return found[0]


def _is_in(worktree: Worktree, commit: str, of: str) -> bool:
    try:
        worktree.git("merge-base", "--is-ancestor", commit, of)
    except GitError:
        return False
    return True


def _versions(
    worktree: Worktree, path: str, base: Manifest | None, models: Sequence[Manifest], labels: Sequence[str]
) -> Versions:
    """Lay the tensors of several versions beside each other: two as a merge does, more by their names."""
    if len(models) == 2:
        merged = merged_models(worktree, base, models[0], models[1])
        stages = {1: ("", "base"), 2: ("", "ours"), 3: ("", "theirs")}
        conflict = Conflict(path, stages, base, models[0], models[1], merged)
        found = of_conflict(conflict, labels)
        assert found is not None  # noqa: S101 - there are two models
        return found
    names = sorted({name for model in models for name in model.records}, key=str.encode)
    tensors = {
        name: (
            tuple(_part(model, name, label) for model, label in zip(models, labels, strict=True)),
            _part(base, name, "base"),
        )
        for name in names
    }
    return Versions(path, base, tuple(models), tuple(labels), tensors)


def _part(manifest: Manifest | None, name: str, label: str) -> Part | None:
    record = manifest.records.get(name) if manifest else None
    if manifest is None or record is None:
        return None
    return Part(record, name, label, manifest.owner(name) if record.of else None)
