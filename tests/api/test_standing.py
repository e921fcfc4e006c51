"""Branches, remotes, names, what is staged, who commits, and whether anything has happened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors
from theta_jupyter import Repository, history, standing
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.merges.plan import Rule

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


def test_heads_here_and_there(bare: Repo, repo: Repo) -> None:
    repo.git("branch", "only-here")
    repo.git("branch", "gone", "--track", "origin/main")
    write(a=1)
    Repository().commit("ahead")
    repo.git("update-ref", "refs/remotes/origin/other", "HEAD")
    repo.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    repo.git("config", "branch.gone.merge", "refs/heads/no-more")
    found = {head.name: head for head in standing.heads(repo.worktree)}
    assert found.keys() == {"main", "only-here", "gone", "origin/main", "origin/other"}
    main = found["main"]
    assert (main.kind, main.current, main.subject, main.commit) == ("branch", True, "ahead", repo.head())
    assert (main.upstream, main.ahead, main.behind) == ("origin/main", 1, 0)
    assert (found["only-here"].upstream, found["gone"].upstream) == ("", "")
    assert (found["origin/other"].kind, found["origin/other"].current) == ("remote", False)
    assert standing.remotes(repo.worktree) == ["origin"]
    assert bare.head("main") != repo.head()


def test_remotes_begin_with_origin(repo: Repo) -> None:
    for name in ("backup", "origin", "a"):
        repo.git("remote", "add", name, f"/{name}")
    assert standing.remotes(repo.worktree) == ["origin", "a", "backup"]


def test_names_of_commits(repo: Repo) -> None:
    repo.git("branch", "side/one")
    repo.git("tag", "light")
    repo.git("tag", "--annotate", "heavy", "--message", "x")
    names = standing.names(repo.worktree)[repo.head()]
    assert {(name.name, name.kind, name.current) for name in names} == {
        ("main", "branch", True),
        ("side/one", "branch", False),
        ("light", "tag", False),
        ("heavy", "tag", False),
    }
    repo.git("switch", "--quiet", "--detach")
    assert not any(name.current for name in standing.names(repo.worktree)[repo.head()])


def test_identity(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert standing.has_identity(repo.worktree)
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))]:
        monkeypatch.delenv(name)
    assert not standing.has_identity(repo.worktree)
    repo.worktree.git("config", "user.name", "Ann")
    assert not standing.has_identity(repo.worktree)
    repo.worktree.git("config", "user.email", "ann@example.org")
    assert standing.has_identity(repo.worktree)


def test_staging_and_taking_back(repo: Repo) -> None:
    repository = Repository()
    write(a=1)
    write("other.safetensors")
    repository.track("other.safetensors")
    repository.add([MODEL])
    (repo.top / "name with\nbreak").write_text("x")
    repo.git("add", "name with\nbreak")
    assert sorted(standing.staged(repo.worktree)) == [MODEL, "name with\nbreak"]
    entries = {entry.path: entry for entry in repository.status().entries}
    assert (entries[MODEL].staged, entries["other.safetensors"].staged) == (True, False)
    assert entries[MODEL].miniature is not None
    repository.unstage([MODEL])
    assert standing.staged(repo.worktree) == ["name with\nbreak"]
    assert not repository.status().entries[0].staged


def test_unstaging_before_the_first_commit(empty: Repo) -> None:
    repository, _ = Repository.init()
    write()
    repository.track(MODEL)
    repository.add()
    assert standing.staged(repository.worktree) == [MODEL]
    repository.unstage([MODEL])
    assert standing.staged(repository.worktree) == []
    assert (empty.top / MODEL).is_file()


def test_committing_just_what_is_staged(repo: Repo) -> None:
    repository = Repository()
    write("other.safetensors")
    repository.track("other.safetensors")
    write(a=1)
    repository.add([MODEL])
    found = repository.commit("one", staged=True)
    assert found.models == (MODEL,)
    assert [entry.path for entry in repository.status().entries] == ["other.safetensors"]
    with pytest.raises(RequestError, match="nothing to commit"):
        repository.commit("none", staged=True)
    assert found.parents == (repo.head("HEAD~1"),)


@pytest.mark.usefixtures("repo")
def test_deleting_what_is_nowhere_else_takes_force() -> None:
    repository = Repository()
    repository.switch("side", create=True)
    write(a=1)
    repository.commit("only here")
    repository.switch("main")
    with pytest.raises(GitError, match="not fully merged"):
        repository.branch("side", delete=True)
    repository.branch("side", delete=True, force=True)
    assert [branch.name for branch in repository.branch().branches] == ["main"]


def test_the_pulse_of_a_merge(conflict: Repo) -> None:
    worktree = conflict.worktree
    first = standing.merge_pulse(worktree)
    write("other.safetensors")
    assert standing.merge_pulse(worktree) == first
    merge = Repository().merging()
    merge.choose(Rule("b", "ours"))
    second = standing.merge_pulse(worktree)
    merge.undo()
    assert len({first, second, standing.merge_pulse(worktree)}) == 3


def test_pages_show_all_branches(forked: Repo) -> None:
    log = history.page(forked.worktree, 0, 10, [])
    subjects = [commit.subject for commit in log.commits]
    assert sorted(subjects) == ["first", "ours", "theirs", "theirs again"]
    place = {commit.id: index for index, commit in enumerate(log.commits)}
    assert all(place[parent] > place[commit.id] for commit in log.commits for parent in commit.parents)
    forked.commit(safetensors(a=7), "subject\n\nbody\nof two lines\n")
    assert history.page(forked.worktree, 0, 1, []).commits[0].body == "body\nof two lines"


def test_a_page_of_an_empty_repository(empty: Repo) -> None:
    repository, _ = Repository.init()
    assert history.page(repository.worktree, 0, 10, []).commits == ()
    assert empty.top.is_dir()
