"""What a version may rest on while its history is written anew: what its own ancestors have, and nothing else.

It is all that :class:`~theta_jupyter.git.known.Known` asks of a repository, answered for a commit that is being made
instead of the next one after HEAD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from theta_jupyter.git.known import Known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.git.worktree import Worktree

__all__ = ["Ancestry"]


class Ancestry(Known):
    """What is known about one file of a commit that is being made.

    Parameters
    ----------
    path
        From the top.
    before
        Blobs of the manifests that the file has in the parents, the likeliest first.
    beside
        Those of all files in the parents, and in the commit so far.
    earlier
        Those that the file had before.
    """

    def __init__(
        self, worktree: Worktree, path: str, before: Sequence[str], beside: Sequence[str], earlier: Sequence[str]
    ) -> None:
        super().__init__(worktree, path)
        self.texts = [text for _, text in worktree.manifests(dict.fromkeys(before))]
        self._tracked = list(beside)
        self._versions = list(earlier)
