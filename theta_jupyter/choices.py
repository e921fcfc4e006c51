"""What somebody has chosen so far in a merge: a plan, and the plans before it, so that a choice can be taken back.

Kept in Git's folder of the work tree, beside MERGE_HEAD, and written whole or not at all: a notebook, a panel and a
terminal see the same choices, and a kernel that dies takes none with it. Choices are for one merge; in the next one,
they are forgotten.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

from theta_jupyter.errors import RequestError, ThetaError
from theta_jupyter.git.worktree import CHOICES
from theta_jupyter.merges.plan import Plan, read

if TYPE_CHECKING:
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["Choices", "Steps"]

MOST_STEPS = 100


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """The file."""

    of: str
    revision: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    steps: list[str]


@dataclass(frozen=True)
class Steps:
    """A plan, and how it came about.

    Parameters
    ----------
    plans
        The last is the one that counts.
    revision
        Grows with every change.
    """

    plans: tuple[Plan, ...] = (Plan(),)
    revision: int = 0

    @property
    def plan(self) -> Plan:
        """The one that counts."""
        return self.plans[-1]

    @property
    def can_undo(self) -> bool:
        """Whether there is one before it."""
        return len(self.plans) > 1


class Choices:
    """The file that holds them."""

    def __init__(self, worktree: Worktree) -> None:
        self.path: Path = worktree.git_dir / CHOICES

    def load(self, of: str) -> Steps:
        """Read what was chosen in a merge.

        Parameters
        ----------
        of
            Which merge; what was chosen in another is not looked at.
        """
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=_Stored)
            if stored.of == of and stored.steps:
                return Steps(tuple(map(read, stored.steps)), stored.revision)
        except (OSError, ValueError, RecursionError, RequestError):
            pass  # None yet, or not ours: then nothing has been chosen.
        return Steps()

    def save(self, of: str, steps: Steps) -> None:
        """Write them down, whole or not at all.

        Raises
        ------
        ThetaError
            If they cannot be; the file is then as it was.
        """
        texts = [json.dumps(plan.to_dict()) for plan in steps.plans[-MOST_STEPS:]]
        data = msgspec.json.encode(_Stored(of, steps.revision, texts))
        temporary = self.path.with_name(f"{CHOICES}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            raise ThetaError(f"cannot keep what was chosen in {self.path}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def add(self, of: str, plan: Plan) -> Steps:
        """Choose a plan; the one before can be had back."""
        steps = self.load(of)
        made = Steps((*steps.plans[1 - MOST_STEPS :], plan), steps.revision + 1)
        self.save(of, made)
        return made

    def undo(self, of: str) -> Steps:
        """Go back to the plan before.

        Raises
        ------
        RequestError
            If there is none.
        """
        steps = self.load(of)
        if not steps.can_undo:
            raise RequestError("there is nothing to undo")
        made = Steps(steps.plans[:-1], steps.revision + 1)
        self.save(of, made)
        return made

    def clear(self) -> None:
        """Forget them all."""
        self.path.unlink(missing_ok=True)
