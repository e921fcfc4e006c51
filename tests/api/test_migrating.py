"""Histories kept by other means, migrated: every version comes back byte for byte, and what was there stays."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tests.api import git_theta
from tests.e2e.repo import MODEL, Repo, safetensors, torch_file
from theta_jupyter import Repository
from theta_jupyter.cli import main
from theta_jupyter.errors import CheckpointError, GitError, IntegrityError, MissingObjectError, RequestError
from theta_jupyter.git.attributes import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

MANIFEST = b"theta manifest 1\n"
LINE = f"*.safetensors {ATTRIBUTES}\n"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Repo]:
    """An empty repository that has never heard of us; the current folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    made = Repo(tmp_path / "work", tmp_path / "home")
    made.git("init", "--quiet", "--initial-branch=main")
    with made.environment(), contextlib.chdir(made.top):
        yield made


@pytest.fixture
def lfs(plain: Repo) -> Repo:
    """The same, with Git LFS for safetensors."""
    plain.git("lfs", "install", "--local")
    plain.git("lfs", "track", "*.safetensors")
    return plain


def state(repo: Repo) -> tuple[str, ...]:
    """All that is to stay: references, HEAD, index, and what lies in the work tree."""
    files = [path for path in sorted(repo.top.rglob("*")) if path.is_file() and ".git" not in path.parts]
    listed = [f"{path} {path.stat().st_mtime_ns} {path.read_bytes().hex()}" for path in files]
    return (
        repo.git("for-each-ref", "refs"),
        repo.git("symbolic-ref", "HEAD"),
        (repo.top / ".git/index").read_bytes().hex(),
        *listed,
    )


def blobs(repo: Repo, branch: str, path: str = MODEL) -> list[bytes]:
    """What Git has of a file in each commit of a branch, the oldest first; empty where there is no such file."""
    commits = repo.git("rev-list", "--reverse", "--topo-order", branch).split()
    return [repo.run("cat-file", "blob", f"{commit}:{path}").stdout for commit in commits]


def versions(repo: Repo, branch: str, *paths: str) -> list[list[bytes]]:
    """What each commit of a branch checks out, the oldest first, at each of these paths."""
    found: list[list[bytes]] = [[] for _ in paths]
    for commit in repo.git("rev-list", "--reverse", "--topo-order", branch).split():
        Repository().checkout(commit)
        assert repo.status() == ""
        for path, of in zip(paths, found, strict=True):
            of.append(repo.read(path) if (repo.top / path).exists() else b"")
    return found


def heads(repo: Repo, branch: str) -> list[str]:
    """Who, when, and what was said in each commit; with the number of its parents."""
    out = repo.git("log", "--topo-order", "--format=%an|%ae|%ad|%cn|%ce|%cd|%P|%B%x00", "--date=raw", branch)
    lines = [line.split("|") for line in out.split("\0")[:-1]]
    return ["|".join([*of[:6], str(len(of[6].split())), *of[7:]]) for of in lines]


def new(before: tuple[str, ...], after: tuple[str, ...]) -> set[str]:
    """References that are new; all else must be as it was."""
    assert after[1:] == before[1:]
    was, now = before[0].splitlines(), after[0].splitlines()
    assert set(was) <= set(now)
    return set(now) - set(was)


def objects_of(repo: Repo, spec: str) -> set[str]:
    return set(repo.manifest(spec).places())


def test_a_plain_history_with_merge_and_rename(plain: Repo) -> None:
    first = plain.commit(b"# a model\n", "nothing yet", "README.md")
    plain.commit(safetensors(), "first")
    plain.git("tag", "v1")
    plain.git("switch", "--quiet", "--create", "side")
    plain.commit(safetensors(a=1), "side")
    plain.git("switch", "--quiet", "main")
    plain.commit(safetensors(wide=2), "ours")
    plain.git("merge", "--quiet", "--no-commit", "--strategy=ours", "side")
    plain.commit(safetensors(a=1, wide=2), "merged")
    plain.git("mv", MODEL, "best.safetensors")
    plain.commit(safetensors(a=1, b=3, wide=2), "renamed", "best.safetensors")
    env = {"GIT_AUTHOR_NAME": "Zoë", "GIT_AUTHOR_DATE": "1234567890 +0530", "GIT_COMMITTER_DATE": "1234567999 -0800"}
    plain.write(b"## more\n", "README.md")
    plain.git("commit", "--quiet", "-am", "text alone\n\nwith a body\n", env=env)
    expected = [blobs(plain, "main"), blobs(plain, "main", "best.safetensors")]
    told: list[tuple[str, int, int]] = []
    before = state(plain)
    found = Repository(progress=lambda *what: told.append(what)).migrate()
    # One branch is new. Other branches, tags, the index and the work tree are as they were.
    assert new(before, state(plain)) == {f"{found.commit} commit\trefs/heads/theta/main"}
    assert (found.source, found.branch, found.commits, found.rewritten) == ("main", "theta/main", 7, 6)
    assert told[-1] == ("migrating", found.before, found.before)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert heads(plain, "theta/main") == heads(plain, "main")
    # Before the first model, commits are what they were.
    assert plain.git("rev-list", "--max-parents=0", "theta/main").split() == [first]
    for commit in plain.git("rev-list", "theta/main", f"^{first}").split():
        assert plain.git("show", f"{commit}:.gitattributes") == LINE
        assert all(text[:17] in {b"", MANIFEST} for text in blobs(plain, commit))
    assert [(file.path, file.kinds, file.versions) for file in found.files] == [
        ("best.safetensors", ("git",), 1),
        (MODEL, ("git",), 4),
    ]
    assert found.before == sum(len(data) for data in {*expected[0], *expected[1]})
    needed = {name for ref in ("theta/main~4", "theta/main^^^2") for name in objects_of(plain, f"{ref}:{MODEL}")}
    needed |= objects_of(plain, f"theta/main~2:{MODEL}") | objects_of(plain, "theta/main:best.safetensors")
    assert found.after == sum(plain.worktree.store.path(name).stat().st_size for name in needed)
    assert found.after < found.before / 2
    text = found.text()
    assert "migrated 5 versions of 2 files in 6 of 7 commits of main to the new branch theta/main" in text
    assert text.endswith("next: git theta init, then git theta switch theta/main")
    Repository.init()
    assert versions(plain, "theta/main", MODEL, "best.safetensors") == expected
    # And it goes on from there.
    Repository().switch("theta/main")
    plain.commit(safetensors(a=1, b=4, wide=2), "trained", "best.safetensors")
    wide = plain.manifest("HEAD:best.safetensors").records["wide"]
    assert wide == plain.manifest("HEAD~1:best.safetensors").records["wide"]


def test_what_another_line_of_the_history_has_is_not_rested_on(plain: Repo) -> None:
    """The same file is made on two branches, on one of them from a version that the other does not have."""
    start = plain.commit(b"", "start", "README.md")
    plain.commit(safetensors(), "base")
    plain.commit(safetensors(b=1), "on main")
    plain.git("switch", "--quiet", "--create", "side", start)
    plain.commit(safetensors(b=1), "on the side")
    plain.git("switch", "--quiet", "main")
    plain.git("merge", "--quiet", "-m", "both", "side")
    Repository().migrate()
    merge = plain.head("theta/main")
    alone, base = objects_of(plain, f"{merge}^2:{MODEL}"), objects_of(plain, f"{merge}^~1:{MODEL}")
    # What is an object by itself, and equal in both, may be shared.
    manifest = plain.manifest(f"{merge}^2:{MODEL}")
    equal = {manifest.header.skeleton.object, *(place.object for place in manifest.records["wide"].objects)}
    assert alone & base == equal
    assert objects_of(plain, f"{merge}^:{MODEL}") & base > equal
    assert plain.text(f"{merge}:{MODEL}") == plain.text(f"{merge}^:{MODEL}") != plain.text(f"{merge}^2:{MODEL}")
    # Seen from the other side, a merge has what its own first parent has.
    other = plain.git("commit-tree", "main^{tree}", "-p", "side", "-p", "main", "-m", "the other way").strip()
    shutil.rmtree(plain.theta / "cache")
    Repository().migrate(branch=other, onto="other")
    assert plain.text(f"other:{MODEL}") == plain.text(f"other^:{MODEL}") != plain.text(f"other^2:{MODEL}")


def test_a_version_rests_on_the_one_before(plain: Repo) -> None:
    """Also where the file was given another name at the same time, and a second file is made of it."""
    rng = np.random.default_rng(0)

    def near(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return value + np.float32(1e-5) * rng.standard_normal(value.shape).astype(np.float32)

    # One that can be found by its like, and one that is too small for that.
    wide, small = (rng.standard_normal(shape).astype(np.float32) for shape in ((160, 128), (63, 64)))
    paths = [MODEL, MODEL, "best.safetensors"]
    for path in paths:
        plain.git("rm", "--quiet", "--ignore-unmatch", "--", "*.safetensors", env={"GIT_LITERAL_PATHSPECS": "0"})
        plain.commit(save({"wide": wide, "small": small}), f"at {path}", path)
        wide, small = near(wide), near(small)
    plain.commit(save({"long": wide}), "made of it", "other.safetensors")
    Repository().migrate()
    specs = [f"theta/main~{3 - number}:{path}" for number, path in enumerate(paths)]
    for name, last in (("small", []), ("wide", [plain.manifest("theta/main:other.safetensors").owner("long")])):
        found = [record.nodes for record in (*(plain.manifest(spec).records[name] for spec in specs), *last)]
        assert [len(nodes) for nodes in found] == [1, 2, 2, 2][: len(found)]
        assert {nodes[0] for nodes in found[1:]} <= {nodes[-1] for nodes in found}


def test_branches_that_have_a_beginning_in_common_still_have_it(plain: Repo) -> None:
    for seed in range(2):
        plain.commit(safetensors(a=seed), f"{seed}")
    plain.git("switch", "--quiet", "--create", "side")
    plain.commit(torch_file(), "a torch file, on the side", "m.pt")
    plain.git("switch", "--quiet", "main")
    plain.commit(safetensors(a=2), "on main")
    for branch in ("main", "side"):
        Repository().migrate("*.safetensors", "*.pt", branch=branch)
    common = plain.git("merge-base", "theta/main", "theta/side").strip()
    assert common == plain.head("theta/main~1") == plain.head("theta/side~1")


def test_a_version_that_comes_again_has_its_manifest(plain: Repo) -> None:
    for seed in (0, 1, 0):
        plain.commit(safetensors(a=seed), f"{seed}")
    plain.git("revert", "--no-edit", "HEAD")
    found = Repository().migrate()
    texts = blobs(plain, "theta/main")
    assert (texts[0], texts[1]) == (texts[2], texts[3])
    assert found.files[0].versions == len(set(texts)) == 2


def test_signatures_go_and_other_fields_stay(plain: Repo) -> None:
    plain.commit(safetensors(), "a model")
    raw = plain.run("cat-file", "commit", "HEAD").stdout
    head, _, _ = raw.partition(b"\n\n")
    signature = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n -----END PGP SIGNATURE-----"
    made = b"\n".join([head, b"encoding ISO-8859-1", signature, b"", b"\xfcber\n\nGr\xfc\xdfe, no end"])
    commit = plain.git("hash-object", "-t", "commit", "-w", "--stdin", data=made).strip()
    plain.git("update-ref", "refs/heads/main", commit)
    Repository().migrate()
    tree = plain.head("theta/main^{tree}").encode()
    expected = made.replace(b"\n" + signature, b"").replace(raw[5:45], tree)
    assert plain.run("cat-file", "commit", "theta/main").stdout == expected


def test_modes_links_and_other_files_stay(plain: Repo) -> None:
    plain.write(torch_file(), "sub/deep/run.ckpt")
    (plain.top / "sub/deep/run.ckpt").chmod(0o755)
    (plain.top / "sub/link.pt").symlink_to("deep/run.ckpt")
    plain.commit(b"print()\n", "files", "sub/train.py")
    Repository().migrate(onto="new")
    listed = plain.git("ls-tree", "-r", "new", "--", "sub").splitlines()
    was = plain.git("ls-tree", "-r", "main", "--", "sub").splitlines()
    assert [line for line in listed if "ckpt" not in line] == [line for line in was if "ckpt" not in line]
    assert next(line for line in listed if "ckpt" in line).startswith("100755 blob ")
    assert plain.manifest("new:sub/deep/run.ckpt").header.format == "torch"


def test_a_history_in_git_lfs(lfs: Repo) -> None:
    expected = [safetensors(), safetensors(a=1), safetensors(a=1, wide=2)]
    for number, data in enumerate(expected):
        lfs.commit(data, f"version {number}")
    lfs.commit(b"text\n", "more", "README.md")
    assert lfs.text().startswith(b"version https://git-lfs")
    before = state(lfs)
    found = Repository().migrate()
    assert len(new(before, state(lfs))) == 1
    assert [(file.path, file.kinds, file.versions) for file in found.files] == [(MODEL, ("lfs",), 3)]
    assert found.before == sum(map(len, expected))
    # The line of LFS stays, and is followed by ours.
    was = lfs.git("show", "main:.gitattributes")
    assert lfs.git("show", "theta/main~3:.gitattributes") == was + LINE
    Repository.init()
    assert versions(lfs, "theta/main", MODEL) == [[*expected, expected[-1]]]
    assert lfs.git("check-attr", "filter", "--", MODEL) == f"{MODEL}: filter: theta\n"


def test_attributes_of_a_folder_do_not_win(lfs: Repo) -> None:
    lfs.write(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", "models/.gitattributes")
    path = "models/a b.safetensors"
    lfs.commit(safetensors(), "in a folder", path)
    lfs.commit(safetensors(a=1), "again", path)
    Repository().migrate()
    assert lfs.git("show", "theta/main:models/.gitattributes").splitlines() == [
        "*.safetensors filter=lfs diff=lfs merge=lfs -text",
        f'"/a b.safetensors" {ATTRIBUTES}',
    ]
    Repository.init()
    assert versions(lfs, "theta/main", path) == [[safetensors(), safetensors(a=1)]]


def test_objects_of_lfs_that_are_not_here_are_fetched(lfs: Repo) -> None:
    bare = lfs.top.parent / "bare"
    lfs.git("init", "--quiet", "--bare", str(bare))
    lfs.git("remote", "add", "origin", str(bare))
    for seed in range(2):
        lfs.commit(safetensors(a=seed), f"{seed}")
    lfs.git("push", "--quiet", "origin", "main")
    shutil.rmtree(lfs.top / ".git/lfs/objects")
    Repository().migrate()
    Repository.init()
    assert versions(lfs, "theta/main", MODEL) == [[safetensors(a=0), safetensors(a=1)]]


def test_objects_of_lfs_that_nobody_has(lfs: Repo) -> None:
    lfs.commit(safetensors(), "here")
    gone = lfs.commit(safetensors(a=1), "gone")
    [oid] = [line[-64:] for line in lfs.text().decode().splitlines() if line.startswith("oid")]
    place = lfs.top / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid
    data = place.read_bytes()
    place.chmod(0o644)
    place.unlink()
    before = state(lfs)
    with pytest.raises(MissingObjectError, match=f"{MODEL} of commit {gone[:12]} needs object {oid}") as caught:
        Repository().migrate()
    assert caught.value.hint.endswith("git lfs fetch --all")
    # One that is damaged is not taken for what it should be.
    place.write_bytes(b"x" * len(data))
    with pytest.raises(IntegrityError, match=f"object {oid} of Git LFS, of {MODEL} in commit {gone[:12]}, is damaged"):
        Repository().migrate()
    assert state(lfs) == before
    place.write_bytes(data)
    assert Repository().migrate().rewritten == 2


def test_a_mixed_history(plain: Repo) -> None:
    """In Git itself, then in Git LFS, then ours."""
    plain.commit(safetensors(), "in Git")
    plain.git("lfs", "install", "--local")
    plain.git("lfs", "track", "*.safetensors")
    plain.git("add", "--renormalize", ".")
    plain.commit(None, "the same in LFS")
    plain.commit(safetensors(a=1), "in LFS")
    Repository.init()
    plain.git("lfs", "untrack", "*.safetensors")
    Repository().track("*.safetensors")
    plain.git("add", "--renormalize", ".")
    plain.commit(None, "the same, ours")
    last = plain.commit(safetensors(a=2), "ours")
    assert plain.text().startswith(MANIFEST)
    found = Repository().migrate()
    assert (found.files[0].kinds, found.files[0].versions) == (("git", "lfs"), 3)
    expected = [safetensors(), safetensors(), *[safetensors(a=1)] * 2, safetensors(a=2)]
    texts = blobs(plain, "theta/main")
    assert texts[0] == texts[1]
    assert texts[-1] == plain.text(f"{last}:{MODEL}")
    assert versions(plain, "theta/main", MODEL) == [expected]
    assert plain.git("show", "theta/main:.gitattributes") == plain.git("show", "main:.gitattributes")


def test_what_is_no_checkpoint_is_kept_whole(plain: Repo) -> None:
    plain.commit(b"not a model at all" * 1000, "noise", "noise.pt")
    plain.commit(b"", "nothing", "empty.npz")
    found = Repository().migrate()
    assert [file.path for file in found.files] == ["empty.npz", "noise.pt"]
    assert found.files[1].opaque == "not a format any plug-in knows"
    assert "kept whole: not a format any plug-in knows" in found.text()
    Repository.init()
    assert versions(plain, "theta/main", "noise.pt", "empty.npz") == [[b"not a model at all" * 1000] * 2, [b""] * 2]


def test_patterns(plain: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    plain.write(torch_file(), "models/w.bin")
    plain.write(torch_file(a=1), "other/w.bin")
    plain.commit(safetensors(), "all")
    assert main(["migrate", "/models/*.bin", "--onto", "new", "--branch", "main"]) == 0
    assert "next: git theta init, then git theta switch new" in capsys.readouterr().out
    assert plain.text("new:models/w.bin").startswith(MANIFEST)
    assert plain.git("rev-parse", "new:other", f"new:{MODEL}") == plain.git("rev-parse", "main:other", f"main:{MODEL}")
    assert plain.git("show", "new:.gitattributes") == f"/models/*.bin {ATTRIBUTES}\n"
    with pytest.raises(RequestError, match=r"would track \.gitattributes, which is Git's own"):
        Repository().migrate("*", onto="newer")
    for pattern in ("!*.bin", " ", ""):
        with pytest.raises(RequestError, match="not a pattern"):
            Repository().migrate(pattern, onto="newer")


def test_dry_run(plain: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    plain.commit(b"text\n", "nothing yet", "README.md")
    plain.commit(safetensors(), "first")
    plain.commit(safetensors(a=1), "second")
    before = state(plain), plain.git("count-objects")
    assert main(["migrate", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("would migrate 2 versions of 1 file in 2 of 3 commits of main, ")
    assert f"{MODEL}  Git" in said
    assert (state(plain), plain.git("count-objects")) == before
    assert not any((plain.top / ".git/theta").rglob("*.*"))
    told = Repository().migrate(dry_run=True).to_dict()
    assert (told["branch"], told["commit"], told["dry_run"]) == ("theta/main", "", True)
    done = Repository().migrate()
    assert (done.rewritten, done.before, done.commits) == (told["rewritten"], told["before"], told["commits"])


def test_nothing_to_migrate(plain: Repo, repo: Repo) -> None:
    plain.commit(b"text\n", "text", "README.md")
    with pytest.raises(RequestError, match="nothing to migrate in main"):
        Repository().migrate()
    with pytest.raises(RequestError, match="nothing to migrate in main"):
        Repository().migrate("*.bin", dry_run=True)
    # It is ours already.
    with contextlib.chdir(repo.top), pytest.raises(RequestError, match="nothing to migrate"):
        Repository().migrate()


def test_the_new_branch_is_there_or_cannot_be(plain: Repo) -> None:
    plain.commit(safetensors(), "first")
    with pytest.raises(RequestError, match="there is a branch main already") as caught:
        Repository().migrate(onto="main")
    assert "--onto" in caught.value.hint
    plain.git("branch", "theta")
    with pytest.raises(RequestError, match="there is a branch theta, beside which Git can have no theta/main"):
        Repository().migrate()
    for name in ("-x", "a..b", "a b"):
        with pytest.raises(RequestError, match="cannot be called so"):
            Repository().migrate(onto=name)
    with pytest.raises(GitError, match="not a commit"):
        Repository().migrate(branch="nowhere", onto="new")
    assert plain.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/main", "refs/heads/theta"]


def test_half_a_history_is_refused(plain: Repo) -> None:
    for seed in range(2):
        plain.commit(safetensors(a=seed), f"{seed}")
    clone = plain.clone("shallow", "--depth=1", "--no-local")
    with contextlib.chdir(clone.top), pytest.raises(RequestError, match="shallow") as caught:
        Repository().migrate()
    assert caught.value.hint == "git fetch --unshallow"


def test_interrupted(plain: Repo) -> None:
    expected = [safetensors(a=seed, wide=seed) for seed in range(3)]
    for seed, data in enumerate(expected):
        plain.commit(data, f"{seed}")
    before = state(plain)

    def stop(_: str, done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Repository(progress=stop).migrate()
    assert state(plain) == before
    assert list((plain.top / ".git/theta/tmp").iterdir()) == []
    assert not (plain.top / ".git/hooks/pre-push").exists()
    found = Repository().migrate()
    assert len(new(before, state(plain))) == 1
    assert found.rewritten == 3
    Repository.init()
    assert versions(plain, "theta/main", MODEL) == [expected]


@pytest.fixture
def theirs(plain: Repo) -> Path:
    """A history of git-theta is in the repository; the folder has the files it would check out."""
    git_theta.unpack(plain.top.parent / "theirs")
    return take_in(plain, plain.top.parent / "theirs")


def take_in(repo: Repo, folder: Path) -> Path:
    repo.git("fetch", "--quiet", str(folder / "history.bundle"), "main")
    repo.git("reset", "--quiet", "--hard", "FETCH_HEAD")
    shutil.copytree(folder / "lfs", repo.top / ".git/lfs")
    # Git has looked at the files some time ago, and with another filter.
    for path in git_theta.PATHS:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    repo.git("update-index", "-q", "--refresh")
    return folder / "expected"


def test_a_history_of_git_theta(plain: Repo, theirs: Path) -> None:
    """Its files come back as it would check them out itself."""
    before = state(plain)
    found = Repository().migrate()
    assert len(new(before, state(plain))) == 1
    assert [(file.path, file.kinds, file.versions) for file in found.files] == [
        ("m.pt", ("git-theta",), 1),
        ("m.safetensors", ("git-theta",), 5),
        ("odd.model", ("git-theta",), 1),
    ]
    assert found.before == sum(path.stat().st_size for path in (plain.top / ".git/lfs").rglob("*") if path.is_file())
    assert "its files are made anew" in found.text()
    check_theirs(plain, theirs)
    assert plain.manifest("theta/main:odd.model").header.format == "torch"
    lines = plain.git("show", "theta/main:.gitattributes").splitlines()
    assert lines[-3:] == [f"*.safetensors {ATTRIBUTES}", f"*.pt {ATTRIBUTES}", f"/odd.model {ATTRIBUTES}"]
    # An update that changed one tensor is stored as such.
    assert objects_of(plain, "theta/main:m.safetensors") & objects_of(plain, "theta/main~3:m.safetensors")


def check_theirs(repo: Repo, expected: Path) -> None:
    commits = repo.git("rev-list", "--reverse", "main").split()
    Repository.init()
    by_safetensors, *by_torch = versions(repo, "theta/main", "m.safetensors", "m.pt", "odd.model")
    for path, of in zip(("m.safetensors", "m.pt", "odd.model"), (by_safetensors, *by_torch), strict=True):
        assert [bool(data) for data in of] == [(expected / commit / path).exists() for commit in commits]
    assert by_safetensors[1:] == [(expected / commit / "m.safetensors").read_bytes() for commit in commits[1:]]
    for path, of in zip(("m.pt", "odd.model"), by_torch, strict=True):
        mine, wanted = (torch.load(file) for file in (io.BytesIO(of[-1]), expected / commits[-1] / path))
        assert list(mine) == list(wanted)
        assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_history_that_git_theta_makes_now(plain: Repo) -> None:
    venv = Path(__file__).parents[2] / "build/bench/peers/git-theta"
    if not (venv / "bin/git-theta-filter").exists():
        # It needs old versions of what we need, so it has an environment of its own, which only the benchmark makes.
        # What it once wrote is in git_theta.tar.xz, and read by the tests above on every machine.
        pytest.skip("git-theta is not installed")
    folder = plain.top.parent / "theirs"
    git_theta.record(folder, venv)
    expected = take_in(plain, folder)
    Repository().migrate()
    check_theirs(plain, expected)


def test_an_update_of_git_theta_that_is_not_known(plain: Repo, theirs: Path) -> None:
    assert theirs.exists()
    text = plain.text("HEAD:m.safetensors").replace(b'"low-rank"', b'"trimmed"')
    commit = plain.commit(text, "odd", "m.safetensors")
    message = f"m.safetensors of commit {commit[:12]}: parameter layer.1.weight has an update of an unknown type"
    with pytest.raises(CheckpointError, match=f"{message}, 'trimmed'"):
        Repository().migrate()


def test_objects_of_git_theta_that_nobody_has(plain: Repo, theirs: Path) -> None:
    assert theirs.exists()
    shutil.rmtree(plain.top / ".git/lfs/objects")
    with pytest.raises(MissingObjectError, match="of Git LFS, which is not here") as caught:
        Repository().migrate()
    assert caught.value.hint.endswith("git lfs fetch --all")
