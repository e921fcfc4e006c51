"""The merge driver: Git calls it with three manifests and takes what it leaves in place of ours.

Whatever happens, a valid manifest is left there: merged, or with our values (or our file as a whole) where nothing was
decided, in which case the exit status says conflict. It never asks. It leaves nothing else behind but, at most,
structures among the objects, because Git also runs it for merges it then refuses.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from theta_jupyter.checkpoints import builder
from theta_jupyter.errors import ManifestError, ThetaError
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.git.worktree import Worktree, shown
from theta_jupyter.merges.threeway import STRUCTURE, Merged, Side, listed, merge
from theta_jupyter.storage.manifest import Manifest, dump, looks_like_manifest, parse

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Merge ``%O %A %B`` into ``%A``; ``%P`` is for messages.

    Returns
    -------
    int
        0 if everything is settled, else 1.
    """
    given = sys.argv[1:] if arguments is None else arguments
    virtual = given[:1] == ["--virtual"]
    base_path, ours_path, theirs_path, *rest = given[virtual:]
    path = shown(rest[0] if rest else ours_path)
    try:
        base = _read(Path(base_path))
        ours, theirs = _read(Path(ours_path)), _read(Path(theirs_path))
        if ours is None or theirs is None:
            raise ManifestError(
                "one side has no manifest there", hint="commit the checkpoint on both sides after git theta init"
            )
        # For the made-up ancestor of a criss-cross merge, undecided means what the ancestors' ancestor had.
        prefer: Side = "base" if virtual and base else "ours"
        merged = merge(base, ours, theirs, prefer)
        if STRUCTURE in merged.conflicts:
            merged = _with_structures(merged, base, ours, theirs, prefer)
        Path(ours_path).write_bytes(dump(merged.manifest))
    except (ThetaError, OSError) as error:
        _say(f"{path} is left as it is on our side: {error}")
        return 1
    if merged.conflicts and not virtual:
        _say(_conflict(path, merged))
    return 1 if merged.conflicts else 0


def _with_structures(merged: Merged, base: Manifest | None, ours: Manifest, theirs: Manifest, prefer: Side) -> Merged:
    """Merge again, now with the structures of the versions at hand; if that fails, it stays as it was merged without.

    What was only fetched has manifests and no objects. As smudge does, it is looked for where it came from.
    """
    try:
        worktree = Worktree.find(bare=True)
        if builder(ours.header.format) and not os.environ.get("GIT_THETA_SKIP_SMUDGE"):
            places = [version.header.skeleton for version in (base, ours, theirs) if version]
            fetch_objects(worktree, {place.object: place.size for place in places})
        return merge(base, ours, theirs, prefer, worktree.store)
    except (ThetaError, OSError) as error:
        _say(f"the structures of the two sides could not be merged: {error}")
        return merged


def _read(path: Path) -> Manifest | None:
    data = path.read_bytes()
    return parse(data) if looks_like_manifest(data) else None


def _conflict(path: str, merged: Merged) -> str:
    tensors = merged.undecided
    what = [STRUCTURE] if STRUCTURE in merged.conflicts else []
    what += [f"{len(tensors)} of {len(merged.classes)} tensors"] if tensors else []
    lines = [f"{path}: {' and '.join(what)} in conflict" + (f": {listed(tensors)}" if tensors else "")]
    if merged.whole:
        lines.append(f"so far the file is ours as a whole; {merged.without('theirs')}")
    lines.append("decide with: git theta resolve   (or in a notebook: %theta resolve)")
    return "\n  ".join(lines)


def _say(message: str) -> None:
    sys.stderr.write(f"theta: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
