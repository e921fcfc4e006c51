"""``.gitattributes`` stays tidy, and other people's lines stay theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter.errors import RequestError
from theta_jupyter.git import attributes

if TYPE_CHECKING:
    from pathlib import Path

OURS = b" filter=theta diff=theta merge=theta -text\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    home = tmp_path / "home"
    home.mkdir()
    return Repo(tmp_path / "work", home).init()


def track(repo: Repo, path: str = "", pattern: str = "") -> bool:
    with repo.environment():
        return attributes.track(repo.worktree, path=path, pattern=pattern)


def untrack(repo: Repo, pattern: str) -> bool:
    with repo.environment():
        return attributes.untrack(repo.worktree, pattern)


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"*.txt text\n",
        b"*.txt text",
        b"# a comment\r\n*.txt text\r\n\r\n",
        b"# \xff \x0c \xe2\x80\xa8 one line\n[attr]mine text\n\n\n*.c mine   \n",
    ],
)
def test_there_and_back(repo: Repo, before: bytes) -> None:
    file = repo.top / ".gitattributes"
    if before:
        file.write_bytes(before)
    assert track(repo, MODEL)
    assert not track(repo, MODEL)
    assert track(repo, pattern="*.pt")
    assert not track(repo, pattern="*.pt")
    end = b"" if before.endswith(b"\n") or not before else b"\n"
    assert file.read_bytes() == before + end + b"/m.safetensors" + OURS + b"*.pt" + OURS
    assert attributes.patterns(repo.worktree) == ["/m.safetensors", "*.pt"]
    assert untrack(repo, "*.pt")
    assert not untrack(repo, "*.pt")
    assert untrack(repo, MODEL)
    assert not untrack(repo, "*.txt")
    assert file.exists() == bool(before)
    if before:
        assert file.read_bytes() == before + end


@pytest.mark.parametrize("where", ["top", "nested", "account"])
@pytest.mark.parametrize("how", ["path", "pattern"])
def test_a_filter_of_others_is_respected(repo: Repo, where: str, how: str) -> None:
    name = "sub/x.pt"
    repo.write(b"x", name)
    lines = b"*.pt filter=lfs diff=lfs merge=lfs -text"
    file = repo.top / ".gitattributes"
    if where == "account":
        (repo.top.parent / "attributes").write_bytes(lines)
        repo.git("config", "core.attributesFile", str(repo.top.parent / "attributes"))
    else:
        (file if where == "top" else repo.top / "sub" / ".gitattributes").write_bytes(lines)
    before = file.read_bytes() if file.exists() else None
    if where == "nested" and how == "pattern":
        # The nearer file wins, so nothing is taken from it.
        assert track(repo, pattern="*.pt")
        return
    with pytest.raises(RequestError, match="lfs") as caught:
        track(repo, **{how: name if how == "path" else "*.pt"})
    assert "git lfs untrack" in caught.value.hint
    assert (file.read_bytes() if file.exists() else None) == before


def test_another_line_that_takes_precedence(repo: Repo) -> None:
    repo.write(b"x", "sub/x.pt")
    (repo.top / "sub" / ".gitattributes").write_bytes(b"*.pt -filter\n")
    with pytest.raises(RequestError, match="precedence"):
        track(repo, "sub/x.pt")
    assert not (repo.top / ".gitattributes").exists()


@pytest.mark.parametrize("pattern", ["", "  ", "!x", "a\0b"])
def test_no_patterns(repo: Repo, pattern: str) -> None:
    with pytest.raises(RequestError, match="not a pattern"):
        track(repo, pattern=pattern)


def test_tracked_files_are_stored_as_manifests(repo: Repo) -> None:
    track(repo, pattern="models/**/*.pt")
    repo.commit(safetensors(), path="models/a b/c.pt")
    assert repo.text("HEAD:models/a b/c.pt").startswith(b"theta manifest")
