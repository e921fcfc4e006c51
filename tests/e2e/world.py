"""Two people, one remote, and what must be there: histories made at random, and a model that knows every version.

What a version holds is known without asking Theta: which seed each tensor of it has. Merges, rebases and cherry-picks
have an oracle of their own, three-way by tensor, ours where both changed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.e2e.killing import killed_at
from tests.e2e.repo import LAYERS, MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, ThetaError
from theta_jupyter.git.roads import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["State", "World"]

NAMES = (*LAYERS, "wide")
State = tuple[int, ...]
"""The seed of each tensor."""
FIRST: State = (0,) * len(NAMES)


def content(state: State) -> bytes:
    """The file of a state."""
    return safetensors(**dict(zip(NAMES, state, strict=True)))


@dataclass
class World:
    """Everything there is.

    Parameters
    ----------
    folder
        Where it may lie.
    seed
        What decides all that happens.
    """

    folder: Path
    seed: int
    states: dict[str, State] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.fresh = 0
        home = self.folder / "home"
        home.mkdir(parents=True)
        (home / ".gitconfig").write_text(
            "[init]\n defaultBranch = main\n[user]\n name = T\n email = t@example.org\n"
            "[gc]\n auto = 0\n[advice]\n detachedHead = false\n[core]\n fsync = none\n"
        )
        self.origin = Repo(self.folder / "origin", home)
        self.origin.top.mkdir()
        self.origin.git("init", "--quiet", "--bare")
        first = Repo(self.folder / "anna", home)
        first.top.mkdir()
        with self.at(first):
            repository, _ = Repository.init()
            repository.track(MODEL)
            first.git("remote", "add", "origin", str(self.origin.top))
            self._write(first, FIRST)
            repository.commit("first")
            self.states[first.head()] = FIRST
            repository.push("--set-upstream", "origin", "main")
            second, _ = Repository.clone(str(self.origin.top), self.folder / "ben")
        self.people = [first, Repo(second.worktree.top, home)]

    def live(self, steps: int) -> None:
        """Let that many things happen."""
        deeds = [
            *[self.commit] * 6,
            *[self.branch, self.switch, self.merge, self.pull, self.push] * 2,
            *[self.rebase, self.cherry_pick, self.amend, self.stash, self.collect, self.kill],
        ]
        for _ in range(steps):
            deed, who = self.random.choice(deeds), self.random.choice(self.people)
            self.told.append(f"{who.top.name}: {deed.__name__}")
            with self.at(who):
                deed(who)
                assert who.status() == "", "something is left over"

    # What people do.

    def commit(self, repo: Repo) -> None:
        """Train some tensors."""
        state = self.trained(self.states[repo.head()])
        self._write(repo, state)
        if self.random.random() < 0.5:
            Repository().commit("change")
        else:
            repo.git("commit", "--quiet", "-a", "-m", "change")
        self.states[repo.head()] = state

    def amend(self, repo: Repo) -> None:
        """Think again about the last commit; not about the first, which all histories have in common."""
        if repo.run("rev-parse", "--verify", "--quiet", "HEAD~1").returncode:
            return
        state = self.trained(self.states[repo.head()])
        self._write(repo, state)
        repo.git("commit", "--quiet", "-a", "--amend", "--no-edit", "--allow-empty", "-m", f"again {self.fresh}")
        self.states[repo.head()] = state

    def branch(self, repo: Repo) -> None:
        """Begin one."""
        self.fresh += 1
        Repository(repo.top).switch(f"b{self.fresh}", create=True)

    def switch(self, repo: Repo) -> None:
        """Go elsewhere, by either road."""
        name = self.random.choice(self.branches(repo))
        if self.random.random() < 0.5:
            Repository().switch(name)
        else:
            repo.git("switch", "--quiet", name)
        assert repo.read() == content(self.states[repo.head()])

    def merge(self, repo: Repo) -> None:
        """Merge a branch of one's own."""
        self._merge(repo, self.random.choice(self.branches(repo)))

    def pull(self, repo: Repo) -> None:
        """Take in what the remote has."""
        repo.git("fetch", "--quiet", "origin")
        here = repo.git("branch", "--show-current").strip()
        if repo.run("rev-parse", "--verify", "--quiet", f"origin/{here}").returncode == 0:
            self._merge(repo, f"origin/{here}")

    def push(self, repo: Repo) -> None:
        """Send a branch; somebody may have been there before."""
        here = repo.git("branch", "--show-current").strip()
        if self.random.random() < 0.5:
            repo.run("push", "--quiet", "origin", here)
        else:
            with contextlib.suppress(GitError):
                Repository().push("--quiet", "origin", here)

    def rebase(self, repo: Repo) -> None:
        """Replay one's own commits, or none if that does not go smoothly."""
        onto = repo.head(self.random.choice(self.branches(repo)))
        before, tip = repo.head(), onto
        replayed = repo.git("rev-list", "--reverse", "--no-merges", f"{onto}..HEAD").split()
        if repo.run("rebase", "--quiet", onto).returncode:
            repo.git("rebase", "--abort")
            assert repo.head() == before
        elif repo.git("rev-list", "--count", f"{onto}..HEAD").strip() == str(len(replayed)):
            news = repo.git("rev-list", "--reverse", f"{onto}..HEAD").split()
            for old, new in zip(replayed, news, strict=True):
                parent = repo.head(f"{old}~1")
                self.states[new] = threeway(self.states[parent], self.states[tip], self.states[old])
                tip = new
        else:
            self._believe(repo)
        assert repo.read() == content(self.states[repo.head()])

    def cherry_pick(self, repo: Repo) -> None:
        """Take one commit from anywhere."""
        picked = self.random.choice(repo.git("rev-list", "--all", "--no-merges").split())
        before = repo.head()
        parents = repo.git("rev-list", "--no-walk", "--parents", picked).split()[1:]
        if not parents:
            return
        if repo.run("cherry-pick", picked).returncode:
            repo.run("cherry-pick", "--abort")
            repo.git("reset", "--quiet", "--hard", before)
        elif repo.head() != before:
            self.states[repo.head()] = threeway(self.states[parents[0]], self.states[before], self.states[picked])
        assert repo.read() == content(self.states[repo.head()])

    def stash(self, repo: Repo) -> None:
        """Put work away, and take it out again."""
        state = self.trained(self.states[repo.head()])
        self._write(repo, state)
        repo.git("stash", "push", "--quiet")
        assert repo.read() == content(self.states[repo.head()])
        repo.git("stash", "pop", "--quiet")
        assert repo.read() == content(state)
        repo.git("checkout", "--quiet", "--", MODEL)

    def collect(self, repo: Repo) -> None:
        """Clear away what nobody needs, on either side."""
        what = self.random.choice(["ours", "git", "remote", "lfs"])
        if what == "ours":
            Repository().gc(grace=0)
        elif what == "git":
            repo.git("gc", "--quiet")
        elif what == "lfs":
            repo.git("lfs", "prune")
        else:
            Repository(self.origin.top, bare=True).gc(grace=0)

    def kill(self, repo: Repo) -> None:
        """Have the power go out, then go on."""
        state = self.trained(self.states[repo.head()])
        before = repo.head()
        name = self.random.choice(self.branches(repo))
        here = repo.git("branch", "--show-current").strip()
        deeds: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
            "commit": (("killed",), {}),
            "switch": ((name,), {}),
            "gc": ((), {"grace": 0.0}),
            "push": (("--quiet", "origin", here), {}),
        }
        what = self.random.choice(list(deeds))
        self.told[-1] += f" in {what}"
        if what == "commit":
            self._write(repo, state)
        given, options = deeds[what]
        killed_at(self.random.randrange(1, 60), repo, what, *given, **options)
        Repository()  # The next command of ours takes away the lock of the one that was killed.
        if repo.head() not in self.states:
            assert what == "commit"
            assert repo.head("HEAD~1") == before
            self.states[repo.head()] = state
        repo.git("reset", "--quiet", "--hard")
        Repository().checkout(paths=[MODEL])
        assert repo.read() == content(self.states[repo.head()])

    # What must be.

    def check(self) -> None:
        """Everything is there, byte for byte, here, there, and for somebody who comes anew."""
        for repo in (*self.people, self.origin):
            with self.at(repo):
                checked = Repository(".", bare=True).fsck(every=True)
                assert not checked.losses, checked.text()
                assert not [fault for fault in checked.faults if fault.problem == "damaged"], checked.text()
        for repo in self.people:
            with self.at(repo):
                self._check_versions(repo)
        with self.at(self.people[0]):
            anew, _ = Repository.clone(str(self.origin.top), self.folder / "anew")
        clone = Repo(anew.worktree.top, self.origin.home)
        with self.at(clone):
            for line in clone.git("for-each-ref", "--format=%(refname)", "refs/remotes/origin").split():
                Repository().checkout(line)
                assert clone.read() == content(self.states[clone.head()])

    def _check_versions(self, repo: Repo) -> None:
        seen: dict[bytes, State] = {}
        for commit in repo.git("rev-list", "--all", "--reflog").split():
            text = repo.text(f"{commit}:{MODEL}")
            state = self.states.get(commit)
            if state is None:  # Made by a stash, or in the course of a rebase.
                continue
            if text not in seen:
                path = rebuild(repo.worktree, text)
                assert path.read_bytes() == content(state), commit
                path.unlink()
                seen[text] = state
            assert seen[text] == state, commit

    @contextlib.contextmanager
    def at(self, repo: Repo) -> Iterator[None]:
        """Be that person, in their folder."""
        with repo.environment(), contextlib.chdir(repo.top):
            yield

    def branches(self, repo: Repo) -> list[str]:
        """Local branches."""
        return repo.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()

    def trained(self, state: State) -> State:
        """A state in which some tensors have changed."""
        changed = list(state)
        for place in self.random.sample(range(len(state)), self.random.randint(1, 2)):
            self.fresh += 1
            changed[place] = self.fresh
        return tuple(changed)

    def _write(self, repo: Repo, state: State) -> None:
        repo.write(content(state))

    def _merge(self, repo: Repo, other: str) -> None:
        before, theirs = repo.head(), repo.head(other)
        bases = repo.git("merge-base", "--all", before, theirs).split()
        with contextlib.suppress(ThetaError):
            Repository().merge(other, strategy="ours")
        if repo.head() in self.states:
            return
        if len(bases) == 1:
            self.states[repo.head()] = threeway(self.states[bases[0]], self.states[before], self.states[theirs])
        else:
            # Criss-cross: what the base is, is Git's affair. Each tensor is that of one side.
            self._believe(repo)
            merged = self.states[repo.head()]
            assert all(m in {a, b} for m, a, b in zip(merged, self.states[before], self.states[theirs], strict=True))
        assert repo.read() == content(self.states[repo.head()])

    def _believe(self, repo: Repo) -> None:
        """Take what lies there for what must be there, from now on: nobody else can say."""
        known = {hashlib.sha256(content(state)).digest(): state for state in self.states.values()}
        state = known.get(hashlib.sha256(repo.read()).digest())
        self.states[repo.head()] = state or self._read(repo)

    def _read(self, repo: Repo) -> State:
        from tests.e2e.repo import tensors, weights

        found = tensors(repo.read())
        seeds = {seed for state in self.states.values() for seed in state}
        return tuple(
            next(seed for seed in seeds if (weights(**{name: seed})[name] == found[name]).all()) for name in NAMES
        )


def threeway(base: State, ours: State, theirs: State) -> State:
    """What a merge gives, tensor by tensor."""
    return tuple(b if a == o else a for o, a, b in zip(base, ours, theirs, strict=True))
