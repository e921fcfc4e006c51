"""Every exception a user can meet.

An error says what happened, to which file and tensor, and what to do next. The message is the first part; the
``hint`` is the next step, kept apart so that each front (terminal, notebook, sidebar) can set it off in its own way.
"""

from __future__ import annotations

import errno

__all__ = [
    "CheckpointError",
    "GitError",
    "IntegrityError",
    "KeptError",
    "ManifestError",
    "MissingObjectError",
    "NotARepositoryError",
    "RequestError",
    "ThetaError",
    "TransferError",
    "mend",
]


class ThetaError(Exception):
    """The parent of them all.

    Parameters
    ----------
    message
        What happened, to which file and tensor: one line.
    hint
        What to do next: one line, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class CheckpointError(ThetaError):
    """A file claims a checkpoint format and does not keep to it."""


class ManifestError(ThetaError):
    """A text is not a valid manifest."""


class KeptError(ThetaError):
    """A file was not replaced, because somebody has written to it meanwhile.

    Parameters
    ----------
    path
        The file, from the top.
    """

    def __init__(self, path: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class MissingObjectError(ThetaError):
    """An object that a manifest names is not in this repository.

    Parameters
    ----------
    object_id
        The SHA-256 of the object, in hexadecimal.
    """

    def __init__(self, object_id: str, message: str = "", *, hint: str = "") -> None:
        super().__init__(
            message or f"object {object_id[:12]} is not in this repository",
            hint=hint or "fetch it with: git theta fetch",
        )
        self.object_id = object_id


class IntegrityError(ThetaError):
    """Stored bytes do not have the hash they should have."""


class GitError(ThetaError):
    """Git refused, or could not be run."""


class NotARepositoryError(GitError):
    """There is no Git repository here, or Theta is not set up in it."""


class TransferError(ThetaError):
    """Objects could not be pushed or fetched."""


class RequestError(ThetaError):
    """The request itself is wrong: a path, a ref, an option."""


def mend(error: OSError, then: str) -> str:
    """Say what to do about what the system refuses, and then."""
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"mend the permissions, then {then}"
    return f"free some space, then {then}" if error.errno in {errno.ENOSPC, errno.EDQUOT} else f"then {then}"
