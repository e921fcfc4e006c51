"""Telling Git about us, and taking it back.

Everything Git starts is named by the absolute path of this interpreter, so that it works from a shell in which the
virtual environment is not active, and with ``-P -E``, so that a ``numpy.py`` in somebody's repository is not imported
(an empty entry in ``PYTHONPATH`` means the current folder). So that it works everywhere, ``git theta`` is an alias as
well as a console script. Installing twice changes nothing; uninstalling removes just what was installed, because a
filter that is configured and gone makes Git fail.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from theta_jupyter.errors import GitError
from theta_jupyter.git.worktree import run

if TYPE_CHECKING:
    from theta_jupyter.git.worktree import Worktree

__all__ = [
    "BEFORE",
    "HOOKS",
    "ensure_hooks",
    "install",
    "install_hooks",
    "is_installed",
    "is_pushing",
    "uninstall",
    "uninstall_hooks",
]

HOOKS = ("pre-push", "pre-commit")
_MARK = "# theta-jupyter: this file is written by git theta init, and removed by git theta uninstall"
BEFORE = ".before-theta"
"""Added to the name of a hook that was there before ours."""


def command(module: str) -> str:
    """Shell words that run a module of ours, wherever the shell is."""
    return f"{shlex.quote(Path(sys.executable).as_posix())} -P{'' if _by_environment() else ' -E'} -m {module}"


def _by_environment() -> bool:
    """Whether we were found through ``PYTHONPATH``, as on clusters with environment modules; then it stays needed."""
    folders = [
        Path(entry).resolve()
        for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if Path(entry).is_absolute()
    ]
    needed = [spec.origin for spec in map(find_spec, ("theta_jupyter", "numpy", "blake3")) if spec and spec.origin]
    return any(Path(origin).resolve().is_relative_to(folder) for origin in needed for folder in folders)


def settings() -> dict[str, str]:
    """The configuration, by key."""
    merge = command("theta_jupyter.drivers.merge")
    return {
        "filter.theta.process": command("theta_jupyter.drivers.filter_process"),
        # Without this, git would take a failing filter for no filter, and add the checkpoint itself.
        "filter.theta.required": "true",
        # Hunk headers of a plain `git diff` then name the tensor. No textconv: it makes git smudge whole files.
        "diff.theta.xfuncname": "^[^ ].*$",
        "merge.theta.name": "model parameters, tensor by tensor",
        "merge.theta.driver": f"{merge} %O %A %B %P",
        "merge.theta.recursive": "theta-base",
        "merge.theta-base.name": "model parameters, for the common ancestor of a criss-cross merge",
        "merge.theta-base.driver": f"{merge} --virtual %O %A %B %P",
        "alias.theta": f"!{command('theta_jupyter')}",
    }


def install(where: Worktree | None) -> list[str]:
    """Configure one repository, or the user's account.

    Parameters
    ----------
    where
        None for ``git config --global``.

    Returns
    -------
    list of str
        The keys that changed; empty if everything was in place.
    """
    changed = []
    for key, value in settings().items():
        present = _get(where, key)
        if key == "alias.theta" and present and "theta_jupyter" not in present:
            continue  # The user's own alias stays; `git-theta` on PATH still works.
        if present != value:
            _config(where, "--replace-all", key, value)
            changed.append(key)
    return changed


def uninstall(where: Worktree | None) -> list[str]:
    """Take the configuration back; return the keys that were there."""
    removed = []
    for key in settings():
        present = _get(where, key)
        if present and (key != "alias.theta" or "theta_jupyter" in present):
            _config(where, "--unset-all", key)
            removed.append(key)
    for section in ("filter.theta", "diff.theta", "merge.theta", "merge.theta-base"):
        if removed and not _get_section(where, section):
            try:
                _config(where, "--remove-section", section)
            except GitError:
                continue  # git has removed the empty section itself.
    return removed


def is_installed(worktree: Worktree) -> bool:
    """Whether Git, in this work tree, would call the filter, from whatever configuration."""
    return bool(worktree.config("filter.theta.process"))


def is_pushing(worktree: Worktree) -> bool:
    """Whether Git, in this work tree, would call our hook before a push: without it, it sends no objects of models."""
    return _is_ours(_hooks(worktree) / "pre-push")


def install_hooks(worktree: Worktree) -> list[str]:
    """Write our hooks where Git looks for hooks; a hook that is there is kept and runs first.

    Returns
    -------
    list of str
        Hooks that are new.

    Raises
    ------
    GitError
        If that folder cannot be written to, or has a hook beside the one that was kept already.
    """
    folder = _hooks(worktree)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [name for name in HOOKS if _install_hook(worktree, folder / name)]
    except OSError as error:
        raise GitError(
            f"cannot write hooks to {folder}: {error.strerror}", hint="see: git config core.hooksPath"
        ) from error


def ensure_hooks(worktree: Worktree) -> None:
    """Write our hooks if they may be written without asking: in this repository, and not among the files it tracks.

    Otherwise say what is missing, and go on: nothing is lost yet.
    """
    folder = _hooks(worktree)
    if all(_is_ours(folder / name) for name in HOOKS):
        return
    # Resolved, because a folder of hooks may be a link to one that several repositories share.
    inside = folder.resolve().is_relative_to(worktree.common_dir.resolve())
    try:
        if inside:
            install_hooks(worktree)
            return
        error = GitError(f"hooks are kept in {folder}, outside .git", hint="run: git theta init")
    except GitError as caught:
        error = caught
    # Imported here, where it is needed: rarely.
    import logging

    logging.getLogger("theta_jupyter").warning(
        "theta: %s%s\n  %s",
        error.message,
        "" if _is_ours(folder / "pre-push") else ", so `git push` sends no objects of models",
        error.hint,
    )


def _install_hook(worktree: Worktree, path: Path) -> bool:
    script = f'#!/bin/sh\n{_MARK}\nexec {command("theta_jupyter.drivers.hooks")} {path.name} "$0" "$@"\n'
    if _is_ours(path) and path.read_text(errors="replace") == script:
        return False
    before = path.with_name(path.name + BEFORE)
    if os.path.lexists(path) and not _is_ours(path):
        _keep(path, before)
    fresh = worktree.store.temporary()
    fresh.write_text(script)
    fresh.chmod(0o755)
    try:
        fresh.replace(path)
    except OSError:
        # On another file system.
        path.unlink(missing_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def _keep(path: Path, before: Path) -> None:
    """Keep the user's hook beside ours; one that was kept before is never replaced."""
    try:
        # A link rather than a rename: of two that do this at once, none takes the other's hook for the user's.
        os.link(path, before, follow_symlinks=False)
    except OSError:
        if _is_ours(path) or _same(path, before):
            return
        if os.path.lexists(before):
            raise GitError(
                f"{path} is not ours, and the hook that was there before is kept as {before.name}",
                hint=f"make one of the two, as {path.name}, remove {before.name}, then: git theta init",
            ) from None
        path.replace(before)


def _same(path: Path, other: Path) -> bool:
    try:
        if os.path.samestat(path.lstat(), other.lstat()):
            return True
        # Git LFS writes its hooks over others, when told to.
        return not (path.is_symlink() or other.is_symlink()) and path.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    try:
        return not path.is_symlink() and _MARK in path.read_text(errors="replace")
    except OSError:
        return False


def uninstall_hooks(worktree: Worktree) -> list[str]:
    """Remove our hooks and put back the ones that were there; return their names."""
    removed = []
    for name in HOOKS:
        path = _hooks(worktree) / name
        before = path.with_name(name + BEFORE)
        if _is_ours(path):
            path.unlink()
            removed.append(name)
            if os.path.lexists(before):
                before.rename(path)
    return removed


def _hooks(worktree: Worktree) -> Path:
    out = worktree.git("rev-parse", "--git-path", "hooks").decode().rstrip("\n")
    return worktree.top / out


def _scope(where: Worktree | None) -> list[str]:
    return ["config", "--global"] if where is None else ["config", "--local"]


def _get(where: Worktree | None, key: str) -> str:
    try:
        return run([*_scope(where), "--get", key], cwd=where.top if where else None).decode().rstrip("\n")
    except GitError:
        return ""


def _get_section(where: Worktree | None, section: str) -> str:
    return "".join(_get(where, key) for key in settings() if key.rpartition(".")[0] == section)


def _config(where: Worktree | None, *args: str) -> None:
    run([*_scope(where), *args], cwd=where.top if where else None)
