"""The protocol, in process: what Git may send, and what it gets."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter.drivers import pktline
from theta_jupyter.drivers.filter_process import serve

if TYPE_CHECKING:
    from pathlib import Path

text = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=50)


@given(st.lists(text))
def test_lists_come_back(lines: list[str]) -> None:
    stream = io.BytesIO()
    pktline.write_list(stream, lines)
    stream.seek(0)
    assert pktline.read_list(stream) == lines
    assert stream.read() == b""


@given(st.binary(max_size=200), st.integers(0, 3))
def test_data_comes_back(piece: bytes, times: int) -> None:
    data = piece * (1 + times * 400)
    stream = io.BytesIO()
    pktline.write_data(stream, memoryview(data))
    stream.seek(0)
    packets = list(pktline.read_packets(stream))
    assert b"".join(packets) == data
    assert all(0 < len(packet) <= pktline.LARGEST for packet in packets)


@pytest.mark.parametrize("size", [0, 1, 65515, 65516, 65517, 131032, 131033])
def test_sizes_at_the_edge(size: int) -> None:
    data = os.urandom(size)
    stream = io.BytesIO()
    pktline.write_data(stream, memoryview(data))
    assert len(stream.getvalue()) == size + 4 * -(-size // 65516) + 4
    stream.seek(0)
    assert b"".join(pktline.read_packets(stream)) == data


def test_only_one_line_feed_ends_a_line() -> None:
    stream = io.BytesIO(b"0010pathname=x\n\n0010pathname=\xff\xe9\n0000")
    stream = io.BytesIO(b"0010pathname=x\n\n" + b"0010pathname=\xffy\n" + b"0000")
    assert [os.fsencode(line) for line in pktline.read_list(stream)] == [b"pathname=x\n", b"pathname=\xffy"]


@pytest.mark.parametrize(
    "head", [b"0001", b"0002", b"0003", b"ffff", b"fff5", b"-001", b" 00f", b"+00f", b"0x1f", b"zzzz"]
)
def test_malformed_lengths(head: bytes) -> None:
    with pytest.raises(ValueError, match="length"):
        list(pktline.read_packets(io.BytesIO(head + bytes(70_000))))


@pytest.mark.parametrize("data", [b"", b"00", b"0008abc", b"0008abcd", b"0008abcd00"])
def test_ends_in_the_middle(data: bytes) -> None:
    with pytest.raises(EOFError):
        list(pktline.read_packets(io.BytesIO(data)))


@given(st.binary(max_size=300))
def test_rubbish_is_refused_not_obeyed(data: bytes) -> None:
    with pytest.raises((EOFError, ValueError)):
        serve(io.BytesIO(data), io.BytesIO())


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    home = tmp_path / "home"
    home.mkdir()
    repo = Repo(tmp_path / "work", home).init()
    monkeypatch.chdir(repo.top)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in repo.env.items():
        monkeypatch.setenv(name, value)
    return repo


class Talk:
    """A conversation with the filter, as Git holds it."""

    def __init__(self) -> None:
        self.source = io.BytesIO()
        pktline.write_list(self.source, ["git-filter-client", "version=2"])
        pktline.write_list(self.source, ["capability=clean", "capability=smudge", "capability=delay"])

    def ask(self, command: str, data: bytes, path: str = MODEL, *more: str) -> None:
        pktline.write_list(self.source, [f"command={command}", f"pathname={path}", *more])
        pktline.write_data(self.source, memoryview(data))

    def answers(self) -> list[bytes | None]:
        """What came back for each request; None for an error."""
        sink = io.BytesIO()
        self.source.seek(0)
        with pytest.raises(EOFError):
            serve(self.source, sink)
        sink.seek(0)
        assert pktline.read_list(sink) == ["git-filter-server", "version=2"]
        assert pktline.read_list(sink) == ["capability=clean", "capability=smudge"]
        found: list[bytes | None] = []
        while sink.tell() < len(sink.getvalue()):
            status = pktline.read_list(sink)
            if status == ["status=success"]:
                found.append(b"".join(pktline.read_packets(sink)))
                assert pktline.read_list(sink) == []
            else:
                assert status == ["status=error"]
                found.append(None)
        return found


def test_several_files_in_one_process(repo: Repo, capfd: pytest.CaptureFixture[str]) -> None:
    files = [safetensors(), b"", os.urandom(65516), safetensors(a=1), b"theta manifest 1\n", safetensors()]
    talk = Talk()
    for number, data in enumerate(files):
        talk.ask("clean", data, f"{number}.pt")
    manifests = talk.answers()
    assert all(text and text.startswith(b"theta manifest 1\n") for text in manifests)
    assert manifests[0] == manifests[5]
    talk = Talk()
    for number, manifest in enumerate(manifests):
        talk.ask("smudge", manifest or b"", f"{number}.pt", "ref=refs/heads/main", f"treeish={'0' * 40}")
    assert talk.answers() == files
    assert list((repo.theta / "tmp").iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("repo")
def test_an_unknown_command_is_an_error_and_the_next_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    talk = Talk()
    talk.ask("list_available\x1b[2Jblobs", b"data")
    talk.ask("", b"")
    talk.ask("clean", b"<<<<<<<")
    talk.ask("clean", b"theta manifest 1\n<<<<<<< ours\n")
    talk.ask("smudge", b"whatever")
    first, second, third, fourth, fifth = talk.answers()
    assert (first, second, fourth) == (None, None, None)
    assert (third or b"").startswith(b"theta manifest 1\n")
    assert fifth == b"whatever"
    said = capfd.readouterr().err
    assert "conflict markers" in said
    assert "\x1b" not in said


def test_git_hangs_up_in_the_middle(repo: Repo) -> None:
    talk = Talk()
    talk.ask("clean", safetensors())
    whole = talk.source.getvalue()
    for end in (len(whole) - 1, len(whole) - 5, len(whole) - 5000, 100):
        sink = io.BytesIO()
        with pytest.raises(EOFError):
            serve(io.BytesIO(whole[:end]), sink)
        assert b"status=success" not in sink.getvalue()
    assert repo.objects == set()
