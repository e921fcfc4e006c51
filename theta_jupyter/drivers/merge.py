"""The merge driver: Git calls it with three manifests and takes what it leaves in place of ours.

Whatever happens, a valid manifest is left there: merged, or with our values where nothing was decided, in which case
the exit status says conflict. It never asks, and it only looks at manifests, because Git also runs it for merges it
then refuses.
"""

from __future__ import annotations

import sys
from pathlib import Path

from theta_jupyter.errors import ManifestError, ThetaError
from theta_jupyter.git.worktree import shown
from theta_jupyter.merges.threeway import Merged, Side, merge
from theta_jupyter.storage.manifest import Manifest, dump, parse

__all__ = ["main"]

SHOWN = 5


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
        Path(ours_path).write_bytes(dump(merged.manifest))
    except (ThetaError, OSError) as error:
        _say(f"{path} is left as it is on our side: {error}")
        return 1
    if merged.conflicts and not virtual:
        _say(_conflict(path, merged))
    return 1 if merged.conflicts else 0


def _read(path: Path) -> Manifest | None:
    data = path.read_bytes()
    return parse(data) if data.startswith(b"theta manifest ") else None


def _conflict(path: str, merged: Merged) -> str:
    names = ", ".join(merged.conflicts[:SHOWN])
    more = f" and {len(merged.conflicts) - SHOWN} more" if len(merged.conflicts) > SHOWN else ""
    return (
        f"{path}: {len(merged.conflicts)} of {len(merged.classes)} tensors in conflict: {names}{more}\n"
        f"  take a side with: git theta checkout --ours -- {path}   (or --theirs)"
    )


def _say(message: str) -> None:
    sys.stderr.write(f"theta: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
