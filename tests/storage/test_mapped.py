"""A file seen as memory: nobody cuts it off, or a copy is looked at."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from theta_jupyter.errors import ThetaError
from theta_jupyter.storage import mapped
from theta_jupyter.storage.digest import hashed

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = bytes([1]) * 100_000
HOLD = """
import sys
from pathlib import Path
from theta_jupyter.storage.mapped import mapped
with mapped(Path(sys.argv[1])) as data:
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(data), flush=True)
"""
BUSY = """
import sys, threading
from pathlib import Path
from theta_jupyter.storage.mapped import hold, mapped
path = Path(sys.argv[1])

def look():
    with hold(path) as held:
        assert held.may_change
    with mapped(path) as data:
        path.open("wb").close()
        print(sum(data))

writer = path.open("r+b") if sys.argv[2] == "writer" else None
if writer:
    look()
else:
    import torch
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "model"
    found.write_bytes(OLD)
    with found.open("rb") as held:
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except (AttributeError, OSError):
            # Some file systems and systems know no leases; the code then goes without, as it says.
            pytest.skip("no file can be held here")
    return found


@pytest.fixture
def waiting(file: Path) -> Iterator[tuple[mapped.Held, threading.Thread]]:
    """A file that is held, and somebody who waits to write to it."""
    writer = threading.Thread(target=lambda: file.write_bytes(b"new"))
    with mapped.hold(file) as held:
        writer.start()
        while fcntl.fcntl(held.file, fcntl.F_GETLEASE) != fcntl.F_UNLCK:
            assert writer.is_alive()
        yield held, writer
    writer.join()
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("before", ["", "import torch\n"])
def test_nobody_cuts_a_file_off_that_is_being_read(file: Path, before: str) -> None:
    """Reading memory whose file has been cut off kills a process: a kernel, or the server."""
    reader = subprocess.Popen([sys.executable, "-c", before + HOLD, str(file)], stdin=-1, stdout=-1, text=True)
    assert reader.stdin
    assert reader.stdout
    with reader:
        assert reader.stdout.readline() == "ready\n"
        assert f" {reader.pid} " in Path("/proc/locks").read_text()
        writer = threading.Thread(target=lambda: file.write_bytes(b"new"))
        writer.start()
        while "BREAKING" not in Path("/proc/locks").read_text():
            assert writer.is_alive()
        assert file.stat().st_size == len(OLD)
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "100000\n"
        writer.join()
    assert reader.returncode == 0
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("who", ["writer", "torch in a thread"])
def test_who_cannot_be_made_to_wait_does_no_harm(file: Path, who: str) -> None:
    done = subprocess.run([sys.executable, "-c", BUSY, str(file), who], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"100000\n"


def test_a_writer_is_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = file.open("wb")

    def finished(_: float) -> None:
        writer.write(b"whole")
        writer.close()

    monkeypatch.setattr("theta_jupyter.storage.mapped.time.sleep", finished)
    with mapped.hold(file, patience=60) as held:
        assert not held.may_change
        assert held.size == 5


def test_a_writer_who_does_nothing_is_not_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_STILL", 0.0)
    with file.open("r+b"), mapped.hold(file, patience=1e9) as held:
        assert held.may_change
        assert held.digest() == hashed(OLD)


def test_whoever_has_waited_for_long_is_let_through(
    waiting: tuple[mapped.Held, threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, _ = waiting
    held.check()
    monkeypatch.setattr(mapped, "_ENOUGH", -1.0)
    with pytest.raises(ThetaError, match="has waited for long"):
        held.check()


def test_a_file_that_nobody_writes_to(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_ENOUGH", -1.0)
    with mapped.hold(file) as held:
        held.check()
        assert held.digest() == hashed(OLD)
    # Let go at the end of the block, also while somebody still looks at it.
    with mapped.mapped(file) as data:
        pass
    assert data[0] == 1
    assert str(file.stat().st_ino) not in Path("/proc/locks").read_text()


def test_without_room_for_a_copy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> Any:
        return type(usage)(usage.total, usage.total, 0)

    usage = shutil.disk_usage(file.parent)
    monkeypatch.setattr(shutil, "disk_usage", full)
    with file.open("r+b") as writer, mapped.mapped(file) as data:
        writer.write(b"\2")
        writer.flush()
        assert data[0] == 2


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with mapped.mapped(tmp_path / "empty") as data:
        assert not data
    with (tmp_path / "empty").open("r+b"), mapped.mapped(tmp_path / "empty") as data:
        assert not data
