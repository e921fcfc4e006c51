"""What ``du`` says adds up, and is what lies on the disk."""

from __future__ import annotations

import os
import random

import pytest

from tests.api.place import write
from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError

OTHER = "sub/two.safetensors"


def disk(repo: Repo, names: set[str] | None = None) -> int:
    return sum(repo.worktree.store.path(name).stat().st_size for name in (repo.objects if names is None else names))


def needs(repo: Repo, *specs: str) -> set[str]:
    return {name for spec in specs for name in repo.manifest(spec).places()}


@pytest.fixture
def three(repo: Repo) -> Repo:
    """Three versions: of all, then with another ``b``, then with another ``wide``."""
    repo.commit(safetensors(b=1), "another b")
    repo.commit(safetensors(b=1, wide=2), "another wide")
    return repo


def test_versions(three: Repo) -> None:
    found = Repository().du()
    assert [use.title for use in found.uses] == ["another wide", "another b", "first"]
    assert [use.name for use in found.uses] == [three.head(ref) for ref in ("HEAD", "HEAD~1", "HEAD~2")]
    sets = [needs(three, f"{ref}:{MODEL}") for ref in ("HEAD", "HEAD~1", "HEAD~2")]
    assert [use.needed for use in found.uses] == [disk(three, of) for of in sets]
    new = [sets[0] - sets[1] - sets[2], sets[1] - sets[2], sets[2]]
    assert [use.stored for use in found.uses] == [disk(three, of) for of in new]
    others = [sets[0] & (sets[1] | sets[2]), sets[1] & (sets[0] | sets[2]), sets[2] & (sets[0] | sets[1])]
    assert [use.shared for use in found.uses] == [disk(three, of) for of in others]
    assert [use.whole for use in found.uses] == [len(safetensors())] * 3
    assert all(use.models == (MODEL,) and use.versions == 1 for use in found.uses)
    # All of it, and just that, is on the disk.
    assert sum(use.stored for use in found.uses) == found.needed == found.disk == disk(three)
    assert (found.versions, found.whole, found.absent) == (3, 3 * len(safetensors()), 0)
    assert found.objects == len(three.objects)
    assert found.ratio == found.needed / found.whole
    assert found.cache == sum(path.stat().st_size for path in (three.theta / "cache").iterdir())


def test_a_version_that_was_there_before_stores_nothing(three: Repo) -> None:
    three.commit(safetensors(), "first again")
    uses = Repository().du().uses
    assert (uses[0].stored, uses[0].needed, uses[0].shared) == (0, uses[3].needed, uses[3].needed)
    assert len(uses) == 4


def test_the_newest_ones(three: Repo) -> None:
    every, found = Repository().du(), Repository().du(limit=2)
    assert (found.uses, found.more) == (every.uses[:2], 1)
    assert found.needed == every.needed
    assert "and 1 more: -n 3" in found.notes()
    assert three.status() == ""


def test_only_commits_that_made_a_version(repo: Repo) -> None:
    (repo.top / "notes.txt").write_text("theta manifest is what this is not" * 20)
    repo.commit(message="notes")
    (repo.top / MODEL).unlink()
    repo.commit(message="deleted")
    assert [use.title for use in Repository().du().uses] == ["first"]


def test_branches(forked: Repo) -> None:
    forked.git("tag", "tagged", "theirs~1")
    found = Repository().du(by="branch")
    main, theirs = found.uses
    assert ([main.name, theirs.name], [main.title, theirs.title]) == (["main", "theirs"], ["ours", "theirs again"])
    of_main = needs(forked, f"main:{MODEL}", f"main~1:{MODEL}")
    tagged = needs(forked, f"theirs~1:{MODEL}")
    of_theirs = needs(forked, f"theirs:{MODEL}", f"theirs~2:{MODEL}") | tagged
    assert (main.versions, theirs.versions) == (2, 3)
    assert (main.needed, theirs.needed) == (disk(forked, of_main), disk(forked, of_theirs))
    assert main.stored == disk(forked, of_main - of_theirs)
    # What a tag keeps would stay without the branch.
    assert theirs.stored == disk(forked, of_theirs - of_main - tagged) > 0
    assert all(use.stored + use.shared == use.needed for use in found.uses)
    assert found.needed == disk(forked, of_main | of_theirs) == disk(forked)
    assert found.versions == 4


def test_what_a_branch_stores_is_what_is_free_without_it(forked: Repo) -> None:
    theirs = Repository().du("theirs", by="branch").uses[0]
    before = disk(forked)
    forked.git("branch", "-D", "theirs")
    for name in forked.objects:
        os.utime(forked.worktree.store.path(name), (1_000_000_000, 1_000_000_000))
    forked.git("reflog", "expire", "--expire=now", "--all")
    for name in ("ORIG_HEAD", "AUTO_MERGE"):
        (forked.top / ".git" / name).unlink(missing_ok=True)
    assert Repository().gc().deleted.size == theirs.stored == before - disk(forked)


def test_some_branches(forked: Repo) -> None:
    found = Repository().du("theirs", by="branch")
    assert [use.name for use in found.uses] == ["theirs"]
    assert found.uses[0] == Repository().du(by="branch").uses[1]
    assert found.versions == 3
    assert found.needed == found.uses[0].needed
    assert found.disk == disk(forked)
    assert "of other versions or needed by none" in found.notes()[-2]
    assert [use.name for use in Repository().du("main~1", by="branch").uses] == ["main~1"]


def test_tensors(three: Repo) -> None:
    found = Repository().du(by="tensor")
    uses = {use.name: use for use in found.uses}
    assert found.uses[0].name == "wide"
    assert sorted(uses) == ["", "a", "b", "c", "d", "wide"]
    # Every byte of every object is of one of them.
    assert sum(use.stored for use in found.uses) == disk(three)
    assert sum(use.whole for use in found.uses) == 3 * len(safetensors())
    last = three.manifest().records
    for name in ("a", "b", "c", "d", "wide"):
        assert uses[name].needed == sum(place.stored for place in last[name].objects)
        assert uses[name].whole == 3 * last[name].nbytes
        assert uses[name].versions == 3
        assert uses[name].title == MODEL
        assert uses[name].shared == 0
    assert uses["b"].stored > uses["a"].stored
    assert Repository().du(by="tensor", limit=2).uses == found.uses[:2]


def test_tensors_that_share_what_they_need(repo: Repo) -> None:
    before = {use.name: use.needed for use in Repository().du(by="tensor").uses}
    repo.track(OTHER)
    repo.commit(safetensors(b=1), "a copy with another b", OTHER)
    found = {(use.title, use.name): use for use in Repository().du(by="tensor").uses}
    for name in ("wide", "a", "c", "d", ""):
        assert found[MODEL, name].shared == found[OTHER, name].shared == before[name]
        assert (found[MODEL, name].stored, found[OTHER, name].stored) == (before[name], 0)
    assert (found[MODEL, "b"].shared, found[OTHER, "b"].shared) == (0, 0)
    assert found[OTHER, "b"].stored > 0


def test_paths(repo: Repo) -> None:
    one = Repository().du()
    repo.track(OTHER)
    repo.commit(safetensors(7), "two", OTHER)
    both = Repository().du()
    assert [use.models for use in both.uses] == [(OTHER,), (MODEL,)]
    assert (both.versions, both.needed) == (2, disk(repo))
    found = Repository().du(paths=[MODEL])
    assert (found.uses, found.versions, found.needed) == (one.uses, 1, one.needed)
    assert [use.models for use in Repository().du(paths=["sub"]).uses] == [(OTHER,)]
    (repo.top / MODEL).unlink()
    repo.commit(message="deleted")
    assert Repository().du(paths=[MODEL]).versions == 1
    with pytest.raises(RequestError, match="was never a model"):
        Repository().du(paths=["nothing"])


def test_refs(forked: Repo) -> None:
    assert [use.title for use in Repository().du().uses] == ["ours", "first"]
    assert [use.title for use in Repository().du("theirs~1").uses] == ["theirs", "first"]
    found = Repository().du("theirs", "main")
    assert {use.title for use in found.uses} == {"ours", "first", "theirs", "theirs again"}
    assert sum(use.stored for use in found.uses) == disk(forked)
    with pytest.raises(GitError, match="not a commit"):
        Repository().du("nothing")


def test_what_is_staged_counts(repo: Repo) -> None:
    repo.write(safetensors(wide=5))
    repo.git("add", MODEL)
    found = Repository().du()
    assert (found.versions, len(found.uses), found.needed) == (2, 1, disk(repo))


def test_without_commits(empty: Repo) -> None:
    Repository.init()
    for by in ("version", "branch", "tensor"):
        found = Repository().du(by=by)
        assert (found.uses, found.versions, found.ratio, found.disk) == ((), 0, None, 0)
        assert found.headline() == "no version of a model is here"
    write()
    Repository().track(MODEL)
    Repository().add()
    assert Repository().du().versions == 1
    assert empty.objects


def test_a_merge(forked: Repo) -> None:
    Repository().merge("theirs", strategy="theirs")
    found = Repository().du()
    assert len(found.uses) == 5
    assert found.uses[0].title.startswith("Merge")
    assert sum(use.stored for use in found.uses) == disk(forked)


def test_a_bare_repository_and_a_clone_of_it(bare: Repo, repo: Repo) -> None:
    repo.commit(safetensors(wide=2), "second")
    Repository().push()
    here = Repository().du()
    os.chdir(bare.top)
    found = Repository(bare=True).du()
    assert (found.uses, found.disk, found.absent) == (here.uses, here.disk, 0)
    clone = bare.clone("clone")
    Repository.init(clone.top)
    os.chdir(clone.top)
    found = Repository().du()
    assert (found.uses, found.needed) == (here.uses, here.needed)
    assert found.absent == here.needed - disk(clone) > 0
    assert any("is not here" in note for note in found.notes())


@pytest.mark.parametrize("seed", range(3))
def test_random_histories_add_up(seed: int, repo: Repo) -> None:
    """Whatever is committed where: what came with each version is all there is, and every tensor's share of it."""
    chance = random.Random(seed)
    for number in range(5):
        if chance.random() < 0.4:
            repo.git("switch", "--quiet", "-c", f"branch-{number}", "main")
        layers = {layer: chance.randrange(3) for layer in ("a", "b", "c", "d", "wide") if chance.random() < 0.5}
        repo.commit(safetensors(**layers), f"number {number}")
    tips = [use.name for use in Repository().du(by="branch").uses]
    found = Repository().du(*tips, limit=100)
    assert sum(use.stored for use in found.uses) == found.needed == found.disk == disk(repo)
    assert all(0 <= use.shared <= use.needed and use.stored <= use.needed for use in found.uses)
    by_tensor = Repository().du(*tips, by="tensor", limit=100)
    assert sum(use.stored for use in by_tensor.uses) == disk(repo)
    branches = Repository().du(by="branch")
    assert max(use.needed for use in branches.uses) <= branches.needed == disk(repo)
    assert Repository().fsck().exit_status == 0
