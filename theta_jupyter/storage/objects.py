"""Bytes at rest: immutable objects named by their SHA-256, in the folder layout of Git LFS.

They live in ``<common git dir>/theta/objects``, apart from LFS's own, because ``git lfs prune`` deletes what no pointer
in the tree names. An object appears whole or not at all: it is written to ``theta/tmp``, synced, and renamed. Whatever
a killed process leaves in ``theta/tmp`` is swept away by the next one; an object that was only set ``aside``, to be
looked at once more before it is deleted (:mod:`~theta_jupyter.storage.collect`), is put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from typing import TYPE_CHECKING

from theta_jupyter.errors import IntegrityError, MissingObjectError, ThetaError
from theta_jupyter.storage.beside import SIGNED, abandoned, signed, sync
from theta_jupyter.storage.nearby import Nearby

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["ObjectStore"]

_ABANDONED = 7 * 24 * 3600
"""Seconds after which a temporary file of another machine is taken for abandoned."""
_YOUNG = 24 * 3600
"""Seconds for which no collector is expected to think that an object is old."""
_ID = re.compile("[0-9a-f]{64}")
_TEMPORARY = re.compile(rf"(?P<signed>{SIGNED})(\.(?P<aside>[0-9a-f]{{64}}))?")
"""How :meth:`ObjectStore.temporary` names a file, and what is added where it is an object that was set aside."""


class ObjectStore:
    """Objects under a folder.

    Parameters
    ----------
    root
        The ``theta`` folder in the common git dir. It is created when first written to.
    nearby
        Where whole tensors lie at hand.
    """

    def __init__(self, root: Path, nearby: Nearby | None = None) -> None:
        self.root = root
        self.nearby = nearby or Nearby()
        self._sound: set[str] = set()

    def __reduce__(self) -> tuple[type[ObjectStore], tuple[Path]]:
        """Elsewhere it is the same folder; what lies at hand is at hand here only."""
        return ObjectStore, (self.root,)

    def path(self, object_id: str) -> Path:
        """Where an object lies, or would.

        Raises
        ------
        ValueError
            If that is not the id of an object.
        """
        if not _ID.fullmatch(object_id):
            raise ValueError(f"not an object id: {object_id!r}")
        return self.root / "objects" / object_id[:2] / object_id[2:4] / object_id

    def missing(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Of these objects, with their sizes, the ones that are not here or have another size."""
        return {object_id: size for object_id, size in sizes.items() if self._size(object_id) != size}

    def freshen(self, object_ids: Iterable[str]) -> None:
        """Mark objects as in use now, so that a collector that looks at their age spares them.

        Raises
        ------
        MissingObjectError
            If one is not here.
        """
        for object_id in object_ids:
            path = self.path(object_id)
            try:
                os.utime(path)
                # Looked for once more: a collector may have set it aside between the two halves of that.
                path.stat()
            except FileNotFoundError:
                raise MissingObjectError(object_id) from None
            except PermissionError:
                self._renew(path)

    def _renew(self, path: Path) -> None:
        """Make an old object of another user one of our own, who shares the repository: its age is not ours to set.

        Raises
        ------
        MissingObjectError
            If it cannot be done.
        """
        try:
            if time.time() - path.stat().st_mtime < _YOUNG:
                return
            copy = self.temporary()
            try:
                shutil.copyfile(path, copy)
                sync(copy)
                copy.chmod(path.stat().st_mode & 0o777)
                copy.replace(path)
            finally:
                copy.unlink(missing_ok=True)
        except OSError:
            raise MissingObjectError(path.name) from None

    def read(self, object_id: str, offset: int = 0, length: int | None = None) -> memoryview:
        """Read a part of an object. Nothing is allocated before its size is looked at.

        Raises
        ------
        MissingObjectError
            If it is not here.
        IntegrityError
            If it is shorter than that.
        """
        path = self.path(object_id)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                length = size - offset if length is None else length
                if 0 <= length <= size - offset:
                    file.seek(offset)
                    data = file.read(length)
                    if len(data) == length:
                        return memoryview(data)
        except FileNotFoundError:
            raise MissingObjectError(object_id) from None
        except OSError as error:
            raise ThetaError(f"cannot read object {object_id[:12]}: {error.strerror or error}") from error
        raise IntegrityError(f"object {object_id[:12]} is too short", hint=f"remove {path} and fetch it again")

    def sound(self, object_id: str) -> bool:
        """Whether an object is here and its bytes have its hash; each is looked at once."""
        if object_id not in self._sound:
            try:
                with self.path(object_id).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                return False
            if found != object_id:
                return False
            self._sound.add(object_id)
        return True

    def write(self, data: bytes | memoryview) -> str:
        """Store bytes and return their id.

        Storing them again only freshens them; if what lies there is damaged, it is replaced.

        Raises
        ------
        ThetaError
            If they cannot be stored; nothing has then changed.
        """
        object_id = hashlib.sha256(data).hexdigest()
        path = self.path(object_id)
        temporary = None
        try:
            if self._size(object_id) == len(data) and path.read_bytes() == data:
                with contextlib.suppress(OSError):
                    os.utime(path)
                    path.stat()  # As in freshen().
                    return object_id
            temporary = self.temporary()
            with open(temporary, "xb", opener=_read_only) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._folder(path.parent)
            temporary.chmod(temporary.stat().st_mode | self._group() & 0o040)
            temporary.replace(path)
        except OSError as error:
            raise ThetaError(
                f"cannot store an object of {len(data)} bytes in {self.root}: {error.strerror or error}",
                hint="nothing was changed; free some space or mend the permissions, and try again",
            ) from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        return object_id

    def temporary(self) -> Path:
        """Name a file that does not exist, on the file system of the objects, which a later process may sweep away."""
        folder = self.root / "tmp"
        self._folder(folder)
        return folder / signed()

    def sweep(self) -> int:
        """Remove temporary files of processes that are gone, put back objects that they had set aside.

        Returns
        -------
        int
            Bytes removed.
        """
        swept = 0
        for path in (found for folder in ("tmp", "aside") for found in (self.root / folder).glob("*")):
            match = _TEMPORARY.fullmatch(path.name)
            aside = match is not None and match["aside"] is not None
            try:
                status = path.stat()
                # An object that was set aside is old; what tells since when it has lain here is its last renaming.
                since = status.st_ctime if aside else status.st_mtime
                if not (match and abandoned(match["signed"], since)) and since >= time.time() - _ABANDONED:
                    continue
                if aside:
                    self.put_back(path)
                else:
                    path.unlink()
                    swept += status.st_size
            except OSError:
                continue  # Another process swept it first, or it is not ours to remove.
        return swept

    def set_aside(self, object_id: str) -> Path | None:
        """Take an object away, so that nobody finds it any more; :meth:`put_back` undoes that.

        Returns
        -------
        Path or None
            Where it is now; None if it was not here, or is not ours to move.
        """
        # Not where temporary files lie: they lie where Git LFS has its own, and it deletes what is old there.
        self._folder(self.root / "aside")
        aside = self.root / "aside" / f"{signed()}.{object_id}"
        try:
            self.path(object_id).rename(aside)
        except OSError:
            return None
        return aside

    def put_back(self, aside: Path) -> None:
        """Put an object back that was set aside; one that was stored anew in the meantime stays."""
        path = self.path(aside.name.rpartition(".")[2])
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        except OSError:
            # No hard links here. Both have the same bytes, so it does not matter which of them stays.
            if not path.exists():
                aside.replace(path)
                return
        aside.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        """Every object that is here."""
        return (object_id for object_id, _ in self.found())

    def found(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every object that is here, with its size and its times; files that are no objects are passed over."""
        for path in (self.root / "objects").glob("??/??/*"):
            if _ID.fullmatch(path.name) and path == self.path(path.name):
                with contextlib.suppress(FileNotFoundError):
                    yield path.name, path.stat()

    def _folder(self, path: Path) -> None:
        """Make a folder, if it is not there."""
        if path.is_dir():
            return
        self._folder(path.parent)
        path.mkdir(exist_ok=True)
        if self._group():
            with contextlib.suppress(OSError):  # Another user's.
                path.chmod(path.stat().st_mode | self._group())

    def _group(self) -> int:
        """What a group may do, where it shares the repository: as in Git's own folder of objects beside this one."""
        try:
            mode = (self.root.parent / "objects").stat().st_mode
        except OSError:
            return 0
        return mode & 0o2070 if mode & 0o020 else 0

    def _size(self, object_id: str) -> int | None:
        try:
            return self.path(object_id).stat().st_size
        except OSError:
            return None


def _read_only(path: str, flags: int) -> int:
    """Create a file that only this process may write to, through this descriptor; the umask is the user's."""
    return os.open(path, flags, 0o444)
