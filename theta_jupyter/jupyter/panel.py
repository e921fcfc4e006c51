"""What a panel in JupyterLab asks about a repository, and does in it; the answers are typed data.

One is made for each question: it holds nothing but where the repository is, and whom to tell how long it takes. What
all of them have in common is said here once: paths are from the top of the repository and stay in it, and what names a
commit or a branch is never an option.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args

from theta_jupyter import changes, history, standing
from theta_jupyter.api import Repository
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.jupyter import panel_types as told
from theta_jupyter.results import finite
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from theta_jupyter import answers
    from theta_jupyter.diffs.miniature import Miniature
    from theta_jupyter.merge_state import MergeState
    from theta_jupyter.results import Result
    from theta_jupyter.standing import Head
    from theta_jupyter.storage.manifest import Record

__all__ = ["PanelView", "inside"]

PAGE = 50
MOST = 500
_NO_NAME = re.compile(
    r"[\0-\x20\x7f-\x9f\ud800-\udfff~^:?*\[\\]"  # blanks, control characters, halves of characters, Git's own signs
    r"|\.\.|//|@\{|(?:^|/)\.|\.lock(?:/|\Z)|\.\Z|^[-/]|/\Z|^@?\Z"
)
"""What ``git check-ref-format`` refuses, and what would be an option. A name may be odd, and still has to be told."""


class PanelView:
    """A repository as a panel sees it. Each public method is a question; those in ``changing`` change something.

    Parameters
    ----------
    top
        Of the work tree.
    progress
        Told how long work advances.
    """

    changing = frozenset(
        {
            *("track", "untrack", "stage", "unstage", "discard", "commit", "identify"),
            *("switch", "create_branch", "delete_branch", "restore", "merge", "push", "pull", "fetch"),
        }
    )

    def __init__(self, top: Path, progress: Progress = silent) -> None:
        self._repository = Repository(top, progress)
        self._worktree = self._repository.worktree

    # Looking.

    def pulse(self) -> told.Pulse:
        """Ask whether anything has happened."""
        return told.Pulse(key=standing.pulse(self._worktree), merge=standing.merge_pulse(self._worktree))

    def status(self) -> told.Status:
        """Ask where the repository stands. Models that were changed are stored to find out, which can take a while."""
        worktree = self._worktree
        key = standing.pulse(worktree)
        found = self._repository.status()
        entries = tuple(_change(entry) for entry in found.entries)
        models = {entry.path for entry in entries}
        also = [path for path in standing.staged(worktree) if path not in models and path != ".gitattributes"]
        current = next((head for head in standing.heads(worktree) if head.current), None)
        wanted = [change for change in entries if change.state not in {"untracked", "manifest", "conflict"}]
        return told.Status(
            key=key,
            branch=found.branch,
            detached=found.detached,
            commits=found.commits,
            ready=found.ready,
            identity=standing.has_identity(worktree),
            upstream=_upstream(current) if current else None,
            remotes=tuple(standing.remotes(worktree)),
            changes=entries,
            also_staged=tuple(also),
            stores=sum(change.stores for change in wanted),
            size=sum(change.size for change in wanted),
            merge=_in_progress(self._repository.merging().state()),
        )

    def history(self, skip: int = 0, limit: int = PAGE, path: str = "") -> told.Page:
        """Ask for commits of all branches and tags; of one model, for those that changed it."""
        if skip < 0 or not 0 < limit <= MOST:
            raise RequestError(f"a page has from 1 to {MOST} commits")
        found = history.page(self._worktree, skip, limit, [inside(path)] if path else [])
        names = self._names()
        try:
            head = self._worktree.resolve("HEAD")
        except GitError:
            head = ""
        commits = tuple(_commit(commit, names) for commit in found.commits)
        return told.Page(commits=commits, more=found.more, head=head)

    def branches(self) -> told.Branches:
        """Ask for branches and remotes."""
        heads = tuple(_branch(head) for head in standing.heads(self._worktree))
        return told.Branches(branches=heads, remotes=tuple(standing.remotes(self._worktree)))

    def model(self, path: str, ref: str = "") -> told.Model:
        """Look at a model: its tensors, as far as its manifest tells, and the commits that made it what it is."""
        found = changes.manifests(self._worktree, _ref(ref) if ref else changes.WORK_TREE, [inside(path)])
        if path not in found:
            raise RequestError(f"{path} is no tracked model", hint="track it first")
        manifest = found[path]
        names = self._names()
        commits = history.log(self._worktree, ref or "HEAD", [path], PAGE).commits
        where = f", ref={ref[:12]!r}" if ref else ""
        return told.Model(
            path=path,
            ref=ref,
            format=manifest.header.format,
            opaque=manifest.opaque,
            size=manifest.header.size,
            stored=sum(manifest.places().values()),
            tensors=tuple(_tensor(name, record) for name, record in manifest.records.items()),
            commits=tuple(_commit(commit, names) for commit in commits),
            code=f"from theta_jupyter import load\n\ntensors = load({path!r}{where})",
        )

    # Recording.

    def identify(self, name: str, email: str) -> told.Done:
        """Say in whose name to commit, in this repository."""
        for key, value in (("user.name", name), ("user.email", email)):
            if not value.strip() or not value.isprintable():
                raise RequestError(f"{key} cannot be {value!r}")
            self._worktree.git("config", key, value.strip())
        return told.Done(message=f"commits are made as {name.strip()} <{email.strip()}>")

    def track(self, paths: list[str]) -> told.Done:
        """Track models."""
        return _done(self._repository.track(*self._absolute(paths)))

    def untrack(self, paths: list[str]) -> told.Done:
        """Stop tracking models."""
        return _done(self._repository.untrack(*self._absolute(paths)))

    def stage(self, paths: list[str]) -> told.Done:
        """Put models into the index."""
        return _done(self._repository.add(self._absolute(paths)))

    def unstage(self, paths: list[str]) -> told.Done:
        """Take models out of the index; the files stay as they are."""
        return _done(self._repository.unstage(self._absolute(paths)))

    def discard(self, paths: list[str]) -> told.Done:
        """Put files back to what HEAD has, also in the index."""
        return _done(self._repository.checkout("HEAD", self._absolute(paths)))

    def commit(self, message: str) -> told.Done:
        """Commit what is staged; if no model is, all models that were changed."""
        if not message.strip():
            raise RequestError("say what has changed, in a message")
        staged = set(standing.staged(self._worktree)) & set(changes.tracked(self._worktree))
        return _done(self._repository.commit(message, staged=bool(staged)))

    # Moving.

    def switch(self, branch: str) -> told.Done:
        """Switch to a branch; one that only a remote has is made here, and follows it."""
        return _done(self._repository.switch(_ref(branch)))

    def create_branch(self, name: str, start: str = "", switch: bool = True) -> told.Done:
        """Make a branch, from a commit or from here."""
        if switch:
            return _done(self._repository.switch(_ref(name), _ref(start) if start else "", create=True))
        self._repository.branch(_ref(name), _ref(start) if start else "")
        return told.Done(message=f"made branch {name}")

    def delete_branch(self, name: str, force: bool = False) -> told.Done:
        """Delete a branch; one with commits that are nowhere else only by force."""
        self._repository.branch(_ref(name), delete=True, force=force)
        return told.Done(message=f"deleted branch {name}")

    def restore(self, ref: str, path: str) -> told.Done:
        """Check out a model as it is in a commit; HEAD stays where it is."""
        return _done(self._repository.checkout(_ref(ref), self._absolute([path])))

    def merge(self, branch: str, strategy: str = "", parameters: dict[str, Any] | None = None) -> told.Done:
        """Merge a branch into the current one; a strategy decides what does not settle by itself."""
        state = self._repository.merge(_ref(branch), strategy=strategy, parameters=parameters or None)
        return told.Done(message=state.headline(), details=state.remarks)

    # Sharing.

    def push(self) -> told.Done:
        """Push the current branch, with its objects; for the first time to the first remote there is."""
        status = self.branches()
        current = next((branch for branch in status.branches if branch.current), None)
        if current is None:
            raise RequestError("HEAD is on no branch", hint="make a branch first")
        if not status.remotes:
            raise RequestError("there is no remote", hint="add one with: git remote add origin URL")
        first = () if current.upstream else ("--set-upstream", status.remotes[0], current.name)
        return _done(self._repository.push(*first, ask=False))

    def pull(self) -> told.Done:
        """Pull: merge what the remote has into the current branch."""
        return _done(self._repository.pull("--no-rebase", "--no-edit", ask=False))

    def fetch(self) -> told.Done:
        """Fetch commits from the remote of the branch, and the weights of HEAD and of its upstream."""
        return _done(self._repository.fetch(ask=False))

    # In our own words.

    def _names(self) -> dict[str, tuple[told.Ref, ...]]:
        return {
            commit: tuple(told.Ref(name=name.name, kind=name.kind, current=name.current) for name in found)
            for commit, found in standing.names(self._worktree).items()
        }

    def _absolute(self, paths: Sequence[str]) -> list[str]:
        if not paths:
            raise RequestError("which files?")
        return [str(self._worktree.top / inside(path)) for path in paths]


def inside(path: str) -> str:
    """A path from the top of a repository that stays in it, and is not Git's own.

    Raises
    ------
    RequestError
        If it is something else.
    """
    parts = path.split("/")
    if "\0" in path or {"", ".", ".."} & set(parts) or ".git" in parts:
        raise RequestError(f"{path!r} is not a path in this repository")
    return path


def _ref(ref: str) -> str:
    """What may name a commit or a branch."""
    if _NO_NAME.search(ref):
        raise RequestError(f"{ref!r} is no name of a branch or a commit")
    return ref


def _done(result: Result) -> told.Done:
    return told.Done(message=result.headline(), details=tuple(result.notes()))


def _change(entry: answers.Entry) -> told.Change:
    state = entry.state
    assert state in get_args(told.ChangeState)  # noqa: S101 - there are no others
    return told.Change(
        path=entry.path,
        letter=entry.letter,
        state=entry.state,
        staged=entry.staged,
        summary=entry.summary,
        tensors=entry.tensors,
        changed=entry.changed,
        relative=finite(entry.relative),
        estimated=entry.estimated,
        stores=entry.stores,
        size=entry.size,
        miniature=_drawn(entry.miniature) if entry.miniature else None,
    )


def _drawn(drawn: Miniature) -> told.Miniature:
    values = tuple(finite(list(drawn.values)))
    return told.Miniature(path=drawn.path, blocks=drawn.blocks, values=values, text=drawn.alt())


def _commit(commit: answers.Commit, refs: dict[str, tuple[told.Ref, ...]]) -> told.Commit:
    return told.Commit(
        id=commit.id,
        subject=commit.subject,
        body=commit.body,
        author=commit.author,
        date=commit.date,
        parents=commit.parents,
        refs=refs.get(commit.id, ()),
        models=commit.models,
        miniatures=tuple(map(_drawn, commit.miniatures)),
        stored=commit.stored,
        derived_from=commit.derived_from,
        merged_by=commit.merged_by,
    )


def _upstream(head: Head) -> told.Upstream | None:
    return told.Upstream(name=head.upstream, ahead=head.ahead, behind=head.behind) if head.upstream else None


def _branch(head: Head) -> told.Branch:
    return told.Branch(
        name=head.name,
        remote=head.kind == "remote",
        current=head.current,
        commit=head.commit,
        subject=head.subject,
        date=head.date,
        upstream=_upstream(head),
    )


def _in_progress(state: MergeState) -> told.InProgress | None:
    now = state.situation
    if not now.kind:
        return None
    return told.InProgress(
        kind=now.kind,
        title=now.title,
        ours=now.ours.name,
        theirs=now.theirs.name,
        files=tuple(told.Conflict(path=f.path, conflicts=f.conflicts, left=f.left) for f in state.files),
        others=state.others,
        revision=state.revision,
    )


def _tensor(name: str, record: Record) -> told.ModelTensor:
    return told.ModelTensor(
        name=name,
        dtype=record.dtype,
        shape=record.shape,
        norm=finite(record.norm),
        mean=finite(record.mean),
        largest=finite(record.largest),
        not_finite=record.not_finite,
        update=record.update,
        stored=sum(place.stored for place in record.objects),
    )
