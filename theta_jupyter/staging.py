"""Putting models into the index, as ``add`` and ``commit`` do.

Files are stored outside Git's lock, in parallel and with progress; the filter that ``git add`` then runs finds them in
the cache.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.errors import RequestError
from theta_jupyter.git import attributes
from theta_jupyter.git.entries import note
from theta_jupyter.git.known import FROM
from theta_jupyter.git.roads import lay, stat_of
from theta_jupyter.git.worktree import AS_TYPED, literal, shown
from theta_jupyter.storage.manifest import dump
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.contest import Said
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["chosen", "commit", "origin", "put", "refuse_conflicts", "stage"]

_PATIENCE, _TRIES = 5.0, 2
"""Seconds to wait for whoever is writing to a model, and how often to try when it was written to meanwhile."""


def chosen(worktree: Worktree, paths: Sequence[str | Path]) -> list[str]:
    """Models to stage: those named, and what changed in the folders named; all that changed, if nothing is."""
    names = [worktree.relative(path) for path in paths]
    folders = [name for name in names if (worktree.top / name).is_dir()]
    found = [] if names and not folders else [p for p in changes.changed(worktree) if changes.among(p, folders)]
    return [*(name for name in names if name not in folders), *found]


def stage(
    worktree: Worktree,
    names: Sequence[str],
    origin_blob: str,
    progress: Progress = silent,
    said: Mapping[str, Said] | None = None,
) -> None:
    """Store files, in parallel and with progress, and put their manifests into the index.

    Git need not read them for that. Whatever is not as usual, such as a file that is deleted, is left to `git add`,
    which finds in the cache what was stored.

    Raises
    ------
    RequestError
        If one is not tracked, is being written to, or is a link to what no version will have.
    """
    filters = worktree.filters(names)
    direct = _direct(worktree, [name for name in names if filters[name] == "theta"])
    lines: list[bytes] = []
    entries: dict[str, tuple[str, os.stat_result]] = {}
    for name in names:
        path = worktree.top / name
        if filters[name] != "theta":
            if name == attributes.FILE or (filters[name] == "" and not path.exists()):
                continue
            raise RequestError(f"{name} is not tracked", hint=f"first: git theta track {name}")
        _refuse_link(worktree, name)
        before, text = _stored(worktree, name, progress, origin_blob, said)
        if before is not None and text is not None and name in direct:
            _tell_whole(worktree, name, text)
            blob = worktree.git("hash-object", "-w", "--no-filters", "--stdin", data=text).decode().strip()
            mode = direct[name] or ("100755" if before.st_mode & 0o100 else "100644")
            lines.append(os.fsencode(f"{mode} {blob}\t{name}\0"))
            entries[name] = blob, before
    if lines:
        worktree.git("update-index", "-z", "--index-info", data=b"".join(lines))
        for name in note(worktree, entries):
            del entries[name]
    rest = [name for name in names if name not in entries]
    if rest:
        env = {FROM: origin_blob} if origin_blob else {}
        worktree.git("add", "--all", "--", *rest, env=env)


def _stored(
    worktree: Worktree, name: str, progress: Progress, origin_blob: str, said: Mapping[str, Said] | None
) -> tuple[os.stat_result | None, bytes | None]:
    """Store a file; what the file system says of it, and the text of its manifest; None if there is no file."""
    path = worktree.top / name
    for _ in range(_TRIES):
        before = stat_of(path)
        if before is None or not stat.S_ISREG(before.st_mode):
            return None, None
        text = changes.text_of(worktree, name, progress, origin_blob, said, _PATIENCE)
        after = stat_of(path)
        if after is None or _version(before) == _version(after):
            return after, text
    raise RequestError(f"{shown(name)} is being written to", hint="add it again when it is complete")


def _tell_whole(worktree: Worktree, name: str, text: bytes) -> None:
    """Say that what was a checkpoint, or should be by its name, is none: it may have been cut off as it was written."""
    manifest = changes.read(text)
    if manifest is None or not manifest.opaque or not name.lower().endswith(changes.SUFFIXES):
        return
    staged = worktree.stages(name).get(0, "")
    before = changes.read(worktree.blobs([staged])[0]) if staged else None
    if before is None or not before.opaque:
        # Imported here, where it is needed: rarely.
        import logging

        logging.getLogger("theta_jupyter").warning(
            "theta: %s is %s\n  if it is incomplete, write it again, and add it again",
            shown(name),
            changes.whole(worktree, name),
        )


def _refuse_link(worktree: Worktree, name: str) -> None:
    """Refuse a link to what is not tracked: Git would keep the link, and no weights."""
    if changes.link(worktree, name):
        path = shlex.quote(shown(name))
        raise RequestError(
            f"{shown(name)} is a link to what is not tracked: a commit would have the link, and no weights",
            hint=f"put the file in its place: cp --remove-destination $(realpath {path}) {path}; "
            f"or keep the link: git add {path}",
        )


def _direct(worktree: Worktree, names: Sequence[str]) -> dict[str, str]:
    """Those of these files that Git would add just as they are, with their mode where the file does not tell it."""
    if not names or worktree.config("core.sparseCheckout") == "true":
        return {}
    plain = {"unset", "unspecified"}
    converted = worktree.attributes(names, ["text", "eol", "ident", "working-tree-encoding"])
    modes = worktree.modes(names)
    # With a folder before it a name is not taken for a pattern.
    new = b"".join(b"./" + os.fsencode(name) + b"\0" for name in names if name not in modes)
    ignored: set[bytes] = set()
    if new:
        out = worktree.git("check-ignore", "-z", "--stdin", data=new, env=AS_TYPED, fine=(0, 1))
        ignored = set(out.split(b"\0"))
    told = worktree.config("core.fileMode") != "false"
    return {
        name: "" if told else modes[name]
        for name in names
        if plain.issuperset(converted[name])
        and modes.get(name, "100644" if told else "") in {"100644", "100755"}
        and b"./" + os.fsencode(name) not in ignored
        and not worktree.is_beyond_link(name)
    }


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def put(
    worktree: Worktree,
    files: Mapping[str, tuple[str, Manifest]],
    found: Mapping[str, os.stat_result | None],
    progress: Progress = silent,
) -> None:
    """Stage manifests with their modes, and write the files they stand for into the work tree.

    Parameters
    ----------
    found
        What lay there, by :func:`~theta_jupyter.git.roads.stat_of`, before it was decided that it may go.

    Raises
    ------
    ThetaError
        If the weights of one are neither here nor on any remote. Nothing is staged then.
    KeptError
        If somebody has written to one since. Nothing is staged then.
    """
    lines = []
    entries: dict[str, tuple[str, os.stat_result]] = {}
    for path, (mode, manifest) in files.items():
        text = dump(manifest)
        blob = worktree.git("hash-object", "-w", "--no-filters", "--stdin", data=text).decode().strip()
        lines.append(os.fsencode(f"{mode} {blob}\t{path}\0"))
        # Files first: whoever is interrupted between has the conflict still, and can do it again.
        laid = lay(worktree, path, text, found.get(path), progress)
        file = worktree.top / path
        bits = file.stat().st_mode & 0o777
        file.chmod(bits | (bits & 0o444) >> 2 if mode == "100755" else bits & ~0o111)
        if laid is not None and _version(laid)[:4] == _version(after := file.stat())[:4]:
            entries[path] = blob, after
    if lines:
        worktree.git("update-index", "-z", "--index-info", data=b"".join(lines))
        unsure = [*(path for path in files if path not in entries), *note(worktree, entries)]
        if unsure:
            worktree.git("add", "--refresh", "--", *unsure)


def commit(
    worktree: Worktree,
    message: str,
    names: Sequence[str],
    derived_from: str = "",
    progress: Progress = silent,
    *,
    only: bool = False,
) -> None:
    """Stage models and commit.

    Parameters
    ----------
    only
        Whether what else is staged stays out of the commit, and staged; it goes along all the same while a merge or a
        cherry-pick is in progress, because Git makes no partial commit then.

    Raises
    ------
    RequestError
        If there is nothing to commit, or something is in conflict.
    """
    refuse_conflicts(worktree)
    blob, trailer = origin(worktree, derived_from)
    stage(worktree, names, blob, progress)
    files = list(names)
    if (worktree.top / attributes.FILE).exists():
        worktree.git("add", "--", attributes.FILE)
        files.append(attributes.FILE)
    merging, picking = ((worktree.git_dir / f"{what}_HEAD").exists() for what in ("MERGE", "CHERRY_PICK"))
    part = ["--", *literal(files)] if only and not merging and not picking else []
    if not merging and not worktree.git("diff", "--cached", "--name-only", *part, env=AS_TYPED):
        what = f"{', '.join(map(shown, names))} did not change" if only else "no tracked model changed"
        raise RequestError(f"nothing to commit: {what}", hint="what is tracked: git theta ls-files")
    extra = [f"--trailer=Theta-From: {trailer}"] if trailer else []
    if part:
        extra.append("--only")
    # For a partial commit Git runs the filter once more.
    env = {**AS_TYPED, **({FROM: blob} if blob else {})}
    worktree.git("commit", "--quiet", "--no-edit", f"--message={message}", *extra, *part, env=env)


def origin(worktree: Worktree, given: str) -> tuple[str, str]:
    """The blob of the manifest a model is derived from, and how the trailer names it."""
    if not given:
        return "", ""
    ref, colon, path = given.partition(":")
    if not colon or os.path.lexists(given):
        ref, path = "HEAD", worktree.relative(given)
    commit = worktree.resolve(ref)
    blob = worktree.tree(commit, [path]).get(path)
    if blob is None:
        raise RequestError(
            f"{given} is not committed", hint="commit it first, or name a version: --from REF:PATH, from the top"
        )
    return blob, f"{shown(path)}@{commit}"


def refuse_conflicts(worktree: Worktree) -> None:
    """Refuse to go on while anything is in conflict, and say what to do."""
    undecided = [path for path, stages in worktree.index().items() if 0 not in stages]
    if undecided:
        name, count = undecided[0], len(undecided) - 1
        step = "decide with: git theta resolve, then finish with: git theta merge --continue"
        if worktree.filters([name])[name] != "theta":
            step = f"edit it, then: git add {shlex.quote(name)}"
        raise RequestError(f"{name} is in conflict" + (f", and {count} more" if count else ""), hint=step)
