"""From a branch to a new one that has the same history, with models as Theta keeps them.

The branch is made last, in one step. Until then nothing is changed but that there are more objects, and what was there
stays as it is: branches, tags, the index, the work tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.git.install import ensure_hooks, is_installed
from theta_jupyter.git.trees import Objects
from theta_jupyter.migration.report import MigratedFile, Migration
from theta_jupyter.migration.rewriting import Rewriter
from theta_jupyter.migration.scan import Scan, fetch, scan
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.migration.rewriting import Made
    from theta_jupyter.migration.scan import Source

__all__ = ["migrate"]

_HEADS = "refs/heads/"


def migrate(
    worktree: Worktree,
    patterns: Sequence[str],
    branch: str,
    onto: str,
    progress: Progress = silent,
    *,
    dry_run: bool = False,
) -> Migration:
    """Migrate a branch; see :meth:`theta_jupyter.api.Repository.migrate`."""
    source, tip = _source(worktree, branch)
    target = onto or f"theta/{source}"
    _refuse(worktree, target)
    with Objects(worktree) as objects:
        found = scan(worktree, objects, tip, patterns)
        if not found.versions:
            hint = "give patterns, such as: git theta migrate '*.bin'" if not patterns else "see: git ls-files"
            raise RequestError(f"there is nothing to migrate in {source}", hint=hint)
        made: dict[str, list[Made]] = {}
        commit, rewritten = "", found.touched
        if not dry_run:
            fetch(worktree, found.sources)
            rewriter = Rewriter(worktree, objects, found, progress)
            commit = rewriter.run()
            rewritten = rewriter.rewritten
            made = {path: _made(path, blobs, rewriter.made) for path, blobs in found.versions.items()}
    files = tuple(_file(found, path, made.get(path, [])) for path in found.versions)
    if not dry_run:
        # Objects that are here must be pushed with the commits that name them.
        ensure_hooks(worktree)
        words = "update-ref", "-m", f"theta: migrated from {source}", f"{_HEADS}{target}", commit
        worktree.git(*words, "0" * len(commit))  # Only if there is still no such branch.
    return Migration(
        source=source,
        branch=target,
        commit=commit,
        commits=len(found.commits),
        rewritten=rewritten,
        files=files,
        before=_before(found.sources.values()),
        after=_after(one for of in made.values() for one in of),
        ready=is_installed(worktree),
        dry_run=dry_run,
    )


def _source(worktree: Worktree, branch: str) -> tuple[str, str]:
    """What a branch is called, and the commit that it is at; the current one if none is named."""
    if branch:
        return branch.removeprefix(_HEADS), worktree.resolve(branch)
    tip = worktree.resolve("HEAD")
    # Detached, it has no name but that.
    return worktree.git("branch", "--show-current").decode().strip() or tip[:12], tip


def _refuse(worktree: Worktree, target: str) -> None:
    """Refuse where no such branch can be made, or not all of a history is here."""
    try:
        worktree.git("check-ref-format", f"{_HEADS}{target}")
    except GitError:
        target = ""
    if not target or target.startswith("-"):
        raise RequestError("the new branch cannot be called so", hint="name it with: --onto NAME")
    names = worktree.git("for-each-ref", "--format=%(refname:lstrip=2)", _HEADS).decode(errors="replace").split("\n")
    for name in filter(None, names):
        if name == target:
            raise RequestError(f"there is a branch {name} already", hint="name another one with: --onto NAME")
        if name.startswith(f"{target}/") or target.startswith(f"{name}/"):
            raise RequestError(f"there is a branch {name}, beside which Git can have no {target}", hint="--onto NAME")
    if worktree.git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise RequestError("this is a shallow clone, which lacks the beginning", hint="git fetch --unshallow")


def _made(path: str, blobs: Sequence[str], made: Mapping[tuple[str, str], Sequence[Made]]) -> list[Made]:
    """Manifests of all versions of a file."""
    return [one for blob in blobs for key in ((blob, ""), (blob, path)) for one in made.get(key, ())]


def _file(found: Scan, path: str, made: Sequence[Made]) -> MigratedFile:
    sources = [found.sources[blob] for blob in found.versions[path]]
    return MigratedFile(
        path=path,
        kinds=tuple(dict.fromkeys(source.kind for source in sources)),
        versions=len(sources),
        before=_before(sources),
        after=_after(made),
        opaque=next((one.opaque for one in made if one.opaque), ""),
    )


def _before(sources: Iterable[Source]) -> int:
    """Bytes of the blobs, or of what lies outside Git."""
    sizes: dict[str, int] = {}
    for source in sources:
        sizes |= source.objects or {source.blob: source.size}
    return sum(sizes.values())


def _after(made: Iterable[Made]) -> int:
    """Bytes of the objects that are needed now."""
    sizes: dict[str, int] = {}
    for one in made:
        sizes |= one.places
    return sum(sizes.values())
