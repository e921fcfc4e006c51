"""Git's hooks: objects go with the commits that name them, and an undecided merge is not committed by accident.

A hook that was there before ours is kept beside it and runs first, with the same arguments and the same input.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from theta_jupyter.errors import ThetaError
from theta_jupyter.git.install import BEFORE
from theta_jupyter.git.worktree import CHOICES, Worktree, shown

__all__ = ["main", "pre_commit", "pre_push"]


def main(arguments: list[str] | None = None) -> int:
    """Run the hook named first; the second argument is the script Git started, the rest is what Git gave it."""
    name, script, *given = sys.argv[1:] if arguments is None else arguments
    data = sys.stdin.buffer.read() if name == "pre-push" else None
    status = _run_before(script + BEFORE, given, data)
    if status:
        return status
    try:
        worktree = Worktree.find(bare=True)
        if name == "pre-push":
            pre_push(worktree, given[0], given[1], os.fsdecode(data or b""))
        elif name == "pre-commit":
            pre_commit(worktree)
    except ThetaError as error:
        sys.stderr.write(f"theta: {error}\n")
        return 1
    return 0


def pre_push(worktree: Worktree, remote: str, url: str, refs: str) -> None:
    """Send the objects of the commits about to be pushed, before Git sends the commits.

    Parameters
    ----------
    refs
        Lines of ``LOCAL-REF LOCAL-COMMIT REMOTE-REF REMOTE-COMMIT``.
    """
    # Imported here: a commit need not wait for what only a push needs.
    from theta_jupyter.git.transfer import OFFER_ALL, PUBLISH, has_lfs, heads, objects_between, one_of, publish, push

    new, known = [], []
    for line in refs.split("\n"):
        if line:
            _, local, _, theirs = line.rsplit(" ", 3)  # What the user wrote for the first may have spaces.
            new += [local] if local.strip("0") else []
            known += [theirs] if theirs.strip("0") else []
    objects = objects_between(worktree, new, known)
    if OFFER_ALL in os.environ:
        # The other side may have commits without their objects: a push without this hook sends such.
        every = objects_between(worktree, [*new, *heads(worktree, url)], [])
        missing = worktree.store.missing(every)
        objects |= {name: size for name, size in every.items() if name not in missing}
    target = one_of(worktree, remote, url)
    push(worktree, remote if has_lfs(worktree, remote) else target, objects)
    if worktree.is_on(PUBLISH):
        publish(worktree, target, objects)


def pre_commit(worktree: Worktree) -> None:
    """Refuse ``git commit -a`` while a merge of a model is undecided: it would take our side without a word.

    Raises
    ------
    ThetaError
        Naming the files.
    """
    # `commit -a` and `commit PATH` work on a copy of the index; conflicts still stand in the one it was made from.
    if not os.environ.get("GIT_INDEX_FILE", "").endswith(".lock"):
        if _has_choices(worktree):
            raise ThetaError(
                "what was chosen in this merge has not been computed; this would commit what is staged instead",
                hint="finish with: git theta merge --continue; or take what was chosen back: git theta merge --undo",
            )
        return
    out = worktree.git("ls-files", "-u", "-z", env={"GIT_INDEX_FILE": str(worktree.git_dir / "index")})
    paths = sorted({os.fsdecode(line.partition(b"\t")[2]) for line in out.split(b"\0") if line})
    undecided = [shown(path) for path, value in worktree.filters(paths).items() if value == "theta"]
    if undecided:
        raise ThetaError(
            f"still in conflict: {', '.join(undecided)}; this would commit what lies there, which is our side so far",
            hint="decide with: git theta resolve, then: git theta merge --continue; "
            "or keep what lies there with: git add PATH, then commit",
        )


def _has_choices(worktree: Worktree) -> bool:
    """Whether somebody has chosen, in the merge that is about to be committed, what is not in the index."""
    try:
        found = json.loads((worktree.git_dir / CHOICES).read_bytes())
        chosen = json.loads(found["steps"][-1])["rules"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    heads = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD")
    commits = [path.read_text() for head in heads if (path := worktree.git_dir / head).is_file()]
    return bool(chosen) and any(commit.strip() and commit.split()[0] in str(found.get("of")) for commit in commits)


def _run_before(script: str, given: list[str], data: bytes | None) -> int:
    """Run the hook that was there before, as Git would, and return its exit status."""
    before = Path(script)
    if not before.is_file() or not os.access(before, os.X_OK):
        return 0
    try:
        return subprocess.run([before, *given], input=data, check=False).returncode
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # It does not name its interpreter; Git lets the shell have a try.
    return subprocess.run(["sh", before, *given], input=data, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
