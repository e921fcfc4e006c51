"""What people import: a repository with the verbs of the command line, and a way to load a version.

>>> from theta_jupyter import Repository, load          # doctest: +SKIP
>>> repo = Repository(".")                              # doctest: +SKIP
>>> repo.commit("base model")                           # doctest: +SKIP
>>> load("model.safetensors", ref="HEAD~1")["embeddings.weight"]   # doctest: +SKIP

Verbs return results (:mod:`theta_jupyter.answers`, :mod:`theta_jupyter.diffs.report`) and raise :class:`ThetaError`.
Where a verb has a counterpart in Git, Git does the work: what Theta adds is read and written by the filter on the
way. A verb that not every command needs is imported where it is called, so that a short command starts quickly.

This is one long module because it is one class, and its text is mostly what its users read: a method says what a verb
does and takes, and hands on to the module that does it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from theta_jupyter import changes, collecting, history, moving, preparing, sharing, staging, tracking
from theta_jupyter.answers import Branches, Commit, Files, Log, Shown, Status
from theta_jupyter.errors import GitError, NotARepositoryError, RequestError
from theta_jupyter.git.entries import unlock
from theta_jupyter.git.install import install, install_hooks, is_installed, uninstall
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.git.worktree import Worktree, elsewhere, run, shown
from theta_jupyter.results import Message
from theta_jupyter.storage.arrays import Checkpoint, StoredCheckpoint
from theta_jupyter.storage.manifest import Manifest, looks_like_manifest, parse
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from theta_jupyter import usage
    from theta_jupyter.board import Board
    from theta_jupyter.diffs.report import Diff
    from theta_jupyter.evolution import History
    from theta_jupyter.merge_state import MergeState
    from theta_jupyter.merges.plan import Plan
    from theta_jupyter.merges.threeway import Side
    from theta_jupyter.merging import Merge
    from theta_jupyter.migration.report import Migration
    from theta_jupyter.scoring import Measure
    from theta_jupyter.upkeep import Checked, Collected, Usage

__all__ = ["Repository", "load"]

PathLike = str | Path
_T = TypeVar("_T")


class Repository:
    """A Git repository with models in it.

    Parameters
    ----------
    path
        Any folder in the work tree. Paths given to methods are relative to the current folder, as in a shell.
    progress
        Told how long work advances; see :data:`theta_jupyter.storage.pool.Progress`.
    bare
        Be content with a repository that has no work tree: for :meth:`du`, :meth:`gc` and :meth:`fsck`.
    executor
        Where tensors are measured (:meth:`diff`), merged (:meth:`merge`) and checked (:meth:`fsck`): any
        :class:`concurrent.futures.Executor`, such as that of a cluster. Its processes must see the repository's folder.
        None for threads of this process.

    Raises
    ------
    NotARepositoryError
        If ``path`` is not in a Git work tree.
    """

    def __init__(
        self,
        path: PathLike = ".",
        progress: Progress = silent,
        *,
        bare: bool = False,
        executor: Executor | None = None,
    ) -> None:
        self.worktree = replace(Worktree.find(path, bare=bare), progress=progress, executor=executor)
        unlock(self.worktree)
        self.progress = progress

    def __repr__(self) -> str:
        return f"Repository({str(self.worktree.top)!r})"

    # Setting up.

    @classmethod
    def init(cls, path: PathLike = ".", progress: Progress = silent) -> tuple[Repository, Message]:
        """Set up the repository around a folder: filter, diff and merge drivers, hooks. Makes one if there is none.

        Manifests that a clone left in the work tree become the checkpoints they stand for, unless it is a lazy one.
        """
        try:
            repository, made = cls(path, progress), False
        except NotARepositoryError:
            run(["init", "--quiet", "--", str(Path(path).resolve())])
            repository, made = cls(path, progress), True
        return repository, preparing.prepare(repository.worktree, made=made)

    @classmethod
    def clone(
        cls,
        url: str,
        folder: PathLike = "",
        options: Sequence[str] = (),
        progress: Progress = silent,
        *,
        lazy: bool = False,
        ask: bool = True,
    ) -> tuple[Repository, Message]:
        """Clone a repository, set it up, and check its models out.

        Parameters
        ----------
        url
            As for ``git clone``.
        folder
            Where to; if empty, a folder here that has the name of the repository.
        options
            Of ``git clone``, such as ``["--branch", "main"]``.
        lazy
            Leave manifests in the places of models, here and whenever Git moves: log, history and diffs work, and
            weights come when they are asked for, by :meth:`checkout` with paths, :meth:`prefetch`, :meth:`load`.
        ask
            As for :meth:`push`.
        """
        target = sharing.clone(url, str(folder), options, ask=ask, lazy=lazy)
        with elsewhere():
            repository, message = cls.init(target, progress)
            asleep = [shown(name) for name in changes.tracked(repository.worktree)] if lazy else []
        if asleep:
            weights = f"{', '.join(asleep[:3])}{' ...' if len(asleep) > 3 else ''}: git theta checkout -- {asleep[0]}"
            return repository, Message(f"cloned into {target}", (f"weights come when they are asked for; {weights}",))
        return repository, Message(f"cloned into {target}", message.details)

    @staticmethod
    def install() -> Message:
        """Set up the user's account, for every repository: ``git config --global``."""
        changed = install(None)
        return Message("ready in every repository of this account" if changed else "was ready already")

    @staticmethod
    def uninstall_account() -> Message:
        """Take back what :meth:`install` did."""
        keys = uninstall(None)
        return Message(f"removed {len(keys)} settings of this account" if keys else "there was nothing to remove")

    def uninstall(self) -> Message:
        """Take the set-up of this repository back; files in the work tree stay as they are."""
        return preparing.undo(self.worktree)

    def track(self, *names: str) -> Message:
        """Track files, or patterns such as ``*.safetensors``; both are taken from the current folder.

        Raises
        ------
        RequestError
            If another filter, such as Git LFS, has a file already.
        """
        if not is_installed(self.worktree):
            install(self.worktree)
            install_hooks(self.worktree)
        return tracking.track(self.worktree, names)

    def untrack(self, *names: str) -> Message:
        """Stop tracking files or patterns. Versions already committed stay as they are."""
        return tracking.untrack(self.worktree, names)

    def files(self) -> Files:
        """Tracked checkpoints in the index."""
        return tracking.files(self.worktree)

    def migrate(self, *patterns: str, branch: str = "", onto: str = "", dry_run: bool = False) -> Migration:
        """Make a new branch with the history of another, and with its models tracked in every commit.

        They may be in Git itself, in Git LFS, or kept by the published git-theta. Author, date and message of a commit
        stay, and it keeps its id if no model is in it, or before it. What is there stays as it is: branches, tags, the
        index, the work tree. The new branch is made last, so that nothing has happened if it is not made.

        Parameters
        ----------
        patterns
            Which files, as ``.gitattributes`` at the top would have them; if none, those with the usual endings, and
            those of git-theta.
        branch
            Whose history, also of a tag or a commit; that of the current branch, if empty.
        onto
            What to call the new branch; ``theta/`` and the name of the other, if empty.
        dry_run
            Only say what would be done.

        Raises
        ------
        RequestError
            If there is nothing to migrate, or such a branch already.
        MissingObjectError
            If an object of Git LFS is neither here nor on any remote.
        """
        from theta_jupyter.migration.migrate import migrate

        return migrate(self.worktree, patterns, branch, onto, self.progress, dry_run=dry_run)

    # Recording.

    def status(self) -> Status:
        """Which tracked models differ from HEAD, how much, and what a commit would store."""
        return changes.status(self.worktree, self.progress)

    def add(
        self,
        paths: Sequence[PathLike] = (),
        *,
        derived_from: str = "",
        update: str = "",
        adapter: PathLike = "",
        apply: bool = False,
    ) -> Message:
        """Stage models; all changed ones if none is named.

        Parameters
        ----------
        derived_from
            A path, or ``REF:PATH``, of the checkpoint they were made from: it is offered as a base.
        update, adapter
            What was done to one model, and the file that says so: ``"low-rank"`` or ``"ia3"``, and a file of factors or
            an adapter folder of PEFT, which says what it is. See :mod:`theta_jupyter.adapters`.
        apply
            Do it to the file in the work tree first: base and adapter make the new model.

        Raises
        ------
        RequestError
            If the adapter is not of this model. Nothing has changed then.
        """
        names = staging.chosen(self.worktree, paths)
        if update or adapter or apply:
            return self._add_said(names, update, adapter, apply=apply)
        origin, _ = staging.origin(self.worktree, derived_from)
        staging.stage(self.worktree, names, origin, self.progress)
        return Message(f"staged {', '.join(names)}" if names else "nothing to stage: no tracked model changed")

    def _add_said(self, names: Sequence[str], update: str, adapter: PathLike, *, apply: bool) -> Message:
        """Stage one model, of which an adapter says what was done to it."""
        from theta_jupyter import adapters

        if len(names) != 1 or not adapter:
            raise RequestError(
                "an update is of one model, and of one file that says it",
                hint="git theta add MODEL --update low-rank --from ADAPTER",
            )
        return adapters.stage(self.worktree, names[0], update, Path(adapter), self.progress, apply_first=apply)

    def unstage(self, paths: Sequence[PathLike]) -> Message:
        """Take models out of the index again; the files stay as they are."""
        names = [self.worktree.relative(path) for path in paths]
        self.worktree.git("reset", "--quiet", "--", *names)
        return Message(f"no longer staged: {', '.join(names)}")

    def commit(
        self, message: str, paths: Sequence[PathLike] = (), *, derived_from: str = "", staged: bool = False
    ) -> Commit:
        """Commit models: those named, or all that changed, along with whatever is staged.

        Parameters
        ----------
        derived_from
            As for :meth:`add`; it is also written in the commit, as a trailer ``Theta-From: path@commit``.
        staged
            Commit only what is staged.

        Raises
        ------
        RequestError
            If there is nothing to commit, or a model is in conflict.
        """
        staging.refuse_conflicts(self.worktree)
        names = [] if staged else staging.chosen(self.worktree, paths)
        staging.commit(self.worktree, message, names, derived_from, self.progress)
        return history.commit(self.worktree, "HEAD")

    def save(self, obj: Any, path: PathLike, message: str = "", *, derived_from: str = "") -> Commit | Message:
        """Write a live object to a file and stage it; with a message, commit it, and nothing else that is staged.

        Parameters
        ----------
        obj
            A model, an optimizer or anything else with a ``state_dict()``; a tensor; a dict or list of such.
        path
            Its suffix chooses the format: ``.safetensors`` and ``.npz`` for tensors by name, ``.pt`` for any state. It
            is tracked from now on.
        derived_from
            As for :meth:`commit`.

        Raises
        ------
        RequestError
            If the format cannot hold it, or there is nothing to commit. A file is whole or as it was.
        """
        from theta_jupyter import saving

        if message:
            staging.refuse_conflicts(self.worktree)
        staging.origin(self.worktree, derived_from)  # A wrong one is found out before anything is written.
        details = saving.save(self.worktree, obj, path)
        if message:
            names = [self.worktree.relative(path)]
            staging.commit(self.worktree, message, names, derived_from, self.progress, only=True)
            return history.commit(self.worktree, "HEAD")
        return Message(self.add([path], derived_from=derived_from).message, details)

    # Looking.

    def log(self, ref: str = "HEAD", paths: Sequence[PathLike] = (), *, limit: int = 20) -> Log:
        """Commits from ``ref`` back, those that touched ``paths`` if any are given."""
        return history.log(self.worktree, ref, [self.worktree.relative(path) for path in paths], limit)

    def diff(
        self,
        old: str = "HEAD",
        new: str = "",
        paths: Sequence[PathLike] = (),
        *,
        tensors: Sequence[str] = (),
        exact: bool = False,
        model: Any = None,
        name: str = "model",
    ) -> Diff:
        """Compare two versions, or one with a model in memory.

        Parameters
        ----------
        old
            A ref; or two as ``A..B``; or ``A...B``, for what B changed since it parted from A.
        new
            A ref; empty for the work tree, ``:`` for the index.
        paths
            Models to compare, or folders of them; all tracked ones if none is given.
        tensors
            Patterns, such as ``encoder.*``; only tensors with such names are compared.
        exact
            Read every changed tensor and measure, instead of estimating from the manifests.
        model
            A module or a state dict, in place of ``new``: what has training changed since, with nothing saved? Of a
            file that holds more, such as an optimizer's state, the part is compared that has the model's names.
        name
            What to call it.

        Raises
        ------
        RequestError
            If a path is not tracked in either version, or no tensor has such a name.
        """
        from theta_jupyter import comparing

        if model is not None:
            if new:
                raise RequestError("a model takes the place of the new version: give one ref, or none")
            names = [self.worktree.relative(path) for path in paths]
            found = comparing.with_model(self.worktree, old, names, model, name, self.progress, tensors=tensors)
            return found.exact(progress=self.progress, executor=self.worktree.executor) if exact else found
        if ".." in old and not new:
            old, _, new = old.partition("..")
            since, old, new = new.startswith("."), old or "HEAD", new.removeprefix(".") or "HEAD"
            if since:
                sides = self.worktree.resolve(old), self.worktree.resolve(new)
                old = self.worktree.git("merge-base", *sides).decode().strip()
        names = [self.worktree.relative(path) for path in paths]
        return changes.diff(self.worktree, old, new, names, self.progress, tensors=tensors, exact=exact)

    def show(self, ref: str = "HEAD", *, exact: bool = False) -> Shown:
        """A commit, and what it changed against its first parent."""
        found = history.commit(self.worktree, ref)
        parent = history.first_parent(self.worktree, found.id)
        return Shown(found, changes.diff(self.worktree, parent, found.id, [], self.progress, exact=exact))

    def history(
        self, path: PathLike, tensor: str | Sequence[str] = "", ref: str = "HEAD", *, limit: int = 50
    ) -> History:
        """How a model changed over its versions: norms, and the size of every step; no weight is read.

        Parameters
        ----------
        tensor
            A name or a pattern, such as ``encoder.*``, or several; without one, the file as a whole. One tensor that is
            named is followed to the names it had before.
        ref
            Versions are those that commits made, from this one back.
        limit
            How many.

        Raises
        ------
        RequestError
            If the path was never a tracked model, or no tensor had such a name.
        """
        from theta_jupyter.evolution import evolution

        wanted = [tensor] if isinstance(tensor, str) else tensor
        return evolution(self.worktree, self.worktree.relative(path), [*filter(None, wanted)], ref, limit)

    @overload
    def load(self, path: PathLike, ref: str = "", names: Sequence[str] | None = None) -> Checkpoint: ...
    @overload
    def load(self, path: PathLike, ref: str = "", names: Sequence[str] | None = None, *, into: _T) -> _T: ...
    def load(self, path: PathLike, ref: str = "", names: Sequence[str] | None = None, *, into: Any = None) -> Any:
        """Load a version of a checkpoint, lazily or into live objects; see :func:`load`."""
        from theta_jupyter import loading

        inside = self.worktree.relative(path)
        if not ref:
            file = self.worktree.top / inside
            with loading.opened(path, file) as data:
                if not looks_like_manifest(data):
                    return loading.from_file(path, file, names, into)
                manifest = parse(bytes(data))
        else:
            manifest = self.manifest(inside, ref)
        what = f"{path} at {ref or 'work tree'}"
        fetch = partial(fetch_objects, self.worktree)

        def read(wanted: Sequence[str] | None) -> Checkpoint:
            return StoredCheckpoint(what, manifest, self.worktree.store, wanted, fetch)

        if into is None:
            return read(names)
        file_of = partial(loading.rebuilt, self.worktree, manifest, self.progress)
        return loading.fill(into, loading.Version(what, read, file_of, names))

    def manifest(self, path: str, ref: str = "HEAD") -> Manifest:
        """The manifest of a path, from the top of the repository, in a commit (``:`` for the index).

        Raises
        ------
        RequestError
            If there is none.
        """
        found = changes.manifests(self.worktree, ref, [path])
        if path not in found:
            raise RequestError(f"{path} is not a tracked checkpoint in {ref}", hint="what is: git theta ls-files")
        return found[path]

    # Moving.

    def checkout(self, ref: str = "", paths: Sequence[PathLike] = (), *, side: Side | None = None) -> Message:
        """Check out a commit or branch, or files of it (of the index, if no ``ref``); or settle conflicts by one side.

        Parameters
        ----------
        side
            ``"ours"`` or ``"theirs"``: tensors in conflict are taken from there, what merged by itself stays merged,
            and the file is staged. Where nothing can be mixed, the file is taken as a whole, and the message says what
            is not in it. (``git checkout --ours`` always takes the whole file.)
        """
        names = [self.worktree.relative(path) for path in paths]
        if side:
            from theta_jupyter.settling import settle

            if ref or not names:
                raise RequestError(f"--{side} needs paths, and no ref", hint=f"git theta checkout --{side} -- PATH")
            first, *rest = [settle(self.worktree, name, side, self.progress) for name in names]
            return Message(first, tuple(rest))
        if not names:
            asleep = moving.checkout(self.worktree, ref, self.progress)
            return Message(f"HEAD is now at {history.commit(self.worktree, 'HEAD').headline()}", asleep)
        brought = moving.checkout_files(self.worktree, ref, names, self.progress)
        return Message(f"checked out {', '.join(names)} from {ref or 'the index'}", brought)

    def switch(self, branch: str, start: str = "", *, create: bool = False) -> Message:
        """Switch to a branch, a new one (at ``start``, or here) if ``create``; ``-`` is the branch before."""
        return moving.switch(self.worktree, branch, start, self.progress, create=create)

    def branch(self, name: str = "", start: str = "", *, delete: bool = False, force: bool = False) -> Branches:
        """List branches, after making or deleting one if a name is given.

        Parameters
        ----------
        force
            Delete one although it has commits that are nowhere else.
        """
        if name and delete:
            how = ["--force"] if force else []
            self.worktree.git("branch", "--delete", *how, "--end-of-options", name)
        elif name:
            self.worktree.git("branch", "--end-of-options", name, *([start] if start else []))
        return history.branches(self.worktree)

    # Merging.

    def merge(
        self,
        *branches: str,
        strategy: str = "",
        parameters: Mapping[str, Any] | None = None,
        plan: Plan | PathLike | None = None,
        every: bool = False,
        message: str = "",
    ) -> MergeState:
        """Merge branches into the current one.

        Parameters
        ----------
        strategy, parameters
            What decides tensors in conflict, such as ``"ties"`` and ``{"density": 0.3}``.
        plan
            Rules that do; or a file of them; or a merge commit, whose plan is repeated.
        every
            Merge every tensor that differs so, not only those in conflict.
        message
            Of the merge commit.

        Returns
        -------
        MergeState
            Finished, or with what is left: see :meth:`merging`.

        Raises
        ------
        RequestError
            If another merge is not finished, or several branches cannot be merged by what is given. Then nothing was
            changed.
        """
        from theta_jupyter import joining

        rules = joining.rules(self.worktree, strategy, parameters, plan, every=every)
        return joining.begin(self.worktree, branches, rules, message, self.progress)

    def try_merge(
        self,
        *branches: str,
        strategies: Sequence[str],
        score: Callable[[Any], Any] | Measure,
        parameters: Mapping[str, Any] | None = None,
        sweep: str = "",
        path: PathLike = "",
        every: bool = False,
    ) -> Board:
        """Build candidates for a merge, and let a function say what each is worth; nothing is merged yet.

        Parameters
        ----------
        branches
            To be merged; none for the merge in progress.
        strategies
            One candidate for each; a name may also be that of a plan, ``plan.yaml``.
        score
            Given a state dict, it returns a number, the higher the better; for anything else give a
            :class:`~theta_jupyter.scoring.Measure`.
        parameters
            Of the strategies, each of which gets those that it has.
        sweep
            Of one strategy: a range of one parameter, such as ``"density=0.1:0.9:5"``.
        path
            The model to score, if several are merged.
        every
            As for :meth:`merge`.

        Returns
        -------
        Board
            The scores, with those of the parents beside; ``board.use()`` makes the best one the plan of the merge.

        Raises
        ------
        RequestError
            If there is nothing to merge, or a strategy is not known.
        """
        from theta_jupyter import scoring

        measure = score if isinstance(score, scoring.Measure) else scoring.Measure(score)
        name, plans = scoring.plans(strategies, parameters or {}, sweep, every=every)
        inside = self.worktree.relative(path) if path else ""
        return scoring.try_plans(
            self.worktree, branches, plans, measure, path=inside, swept=name, progress=self.progress
        )

    def merging(self) -> Merge:
        """The merge, rebase, cherry-pick, revert or stash that stopped for a conflict: to look at, decide and end."""
        from theta_jupyter.merging import Merge

        return Merge(self.worktree, self.progress)

    # Sharing.

    def push(self, *arguments: str, ask: bool = True) -> Message:
        """Run ``git push`` with these arguments; the pre-push hook sends the objects first.

        Unlike with ``git push``, it also sends what commits that are there already lack.

        Parameters
        ----------
        ask
            Whether Git may ask in the terminal for a name or a password. If not, it fails where it would.
        """
        return sharing.push(self.worktree, arguments, ask=ask)

    def pull(self, *arguments: str, include: Sequence[str] = (), ask: bool = True) -> Message:
        """Run ``git pull`` with these arguments, then fetch and write what of the models it changed.

        Parameters
        ----------
        include
            Names or patterns of tensors: then these alone are fetched, and models that changed stay manifests, from
            which :meth:`load` reads the tensors.
        """
        return sharing.pull(self.worktree, arguments, include, ask=ask)

    def fetch(self, remote: str = "", *, ask: bool = True) -> Message:
        """Run ``git fetch``, then fetch the objects of HEAD and its upstream: checking out then needs no network."""
        return sharing.fetch(self.worktree, remote, ask=ask)

    def prefetch(self, *refs: str, paths: Sequence[PathLike] = (), include: Sequence[str] = ()) -> Message:
        """Fetch the objects of versions, of HEAD if none is given: working on them then needs no network.

        Parameters
        ----------
        paths
            Models, or folders of them; all if none is given.
        include
            Names or patterns of tensors: then these alone are fetched.

        Raises
        ------
        RequestError
            If there is no such model there, or no tensor of such a name.
        TransferError
            If no remote has what is missing.
        """
        names = [self.worktree.relative(path) for path in paths]
        return sharing.prefetch(self.worktree, refs or ("HEAD",), names, include)

    # Upkeep.

    def du(self, *refs: str, paths: Sequence[PathLike] = (), by: usage.By = "version", limit: int = 20) -> Usage:
        """What versions, branches or tensors take on disk, and would take as whole files; no weight is read.

        Parameters
        ----------
        refs
            Versions are those of these commits, from each one back; of HEAD, if there are none.
        paths
            Models, or folders of them; all if none is given.
        by
            What to list: ``"version"``, ``"branch"`` or ``"tensor"``.
        limit
            How many versions, or tensors.

        Raises
        ------
        RequestError
            If a path was never a model.
        """
        from theta_jupyter import usage

        names = [self.worktree.relative(path) for path in paths]
        return usage.du(self.worktree, refs, names, by=by, limit=limit, progress=self.progress)

    def gc(self, *, grace: float = collecting.GRACE, dry_run: bool = False) -> Collected:
        """Delete objects that nothing needs any more, and what killed processes have left.

        Needed is what can be reached from a reference or a reflog, from HEAD and the like, from what has stopped
        half-way, or from the index or the files, of any work tree. Others may be at work meanwhile.

        Parameters
        ----------
        grace
            Days; what was written or used since then stays. With 0, nothing may be added meanwhile: what is stored and
            not yet in the index would go.
        dry_run
            Only say what would be deleted.

        Raises
        ------
        GitError
            If it is not known what is needed, because part of Git's own history is damaged or not here. Then nothing
            is deleted.
        """
        return collecting.gc(self.worktree, grace=grace, dry_run=dry_run, progress=self.progress)

    def fsck(self, *, every: bool = False, quick: bool = False) -> Checked:
        """Check every object against its id, and every tensor of every version against its hash.

        Parameters
        ----------
        every
            Not only versions that references, HEAD and the index know of, but all that :meth:`gc` would keep.
        quick
            Look at objects only, and rebuild no tensor: one counts as lost if an object that it needs is.

        Raises
        ------
        GitError
            If Git's own history is damaged, or not here.
        """
        from theta_jupyter import checking

        return checking.fsck(self.worktree, every=every, quick=quick, progress=self.progress)


@overload
def load(path: PathLike, ref: str = "", names: Sequence[str] | None = None) -> Checkpoint: ...
@overload
def load(path: PathLike, ref: str = "", names: Sequence[str] | None = None, *, into: _T) -> _T: ...
def load(path: PathLike, ref: str = "", names: Sequence[str] | None = None, *, into: Any = None) -> Any:
    """Load a checkpoint: a lazy mapping of name to array that reads only what is asked for.

    Parameters
    ----------
    path
        A checkpoint, relative to the current folder; without ``ref`` it need not be in a repository.
    ref
        A commit, branch or tag; ``:`` for the index; empty for the file itself.
    names
        Tensors wanted; all if None.
    into
        What to fill with it, in place: a model, a dict of tensors, or a dict such as ``{"model": model, "optimizer":
        optimizer}``, as it was saved. It is then what is returned. Nothing in the file is executed.

    Raises
    ------
    RequestError
        If the path is not a tracked checkpoint there, has no tensor of such a name, or does not fit what it goes into.
    """
    from theta_jupyter import loading

    inside = Path(os.path.abspath(path)).parent  # noqa: PTH100 - a link is taken where it stands
    try:
        repository = Repository(inside)
    except GitError:  # There is none, or none that Git would open, or no Git: a file needs none.
        if ref:
            raise
        return loading.from_file(path, Path(path), names, into)
    return repository.load(path, ref, names, into=into)
