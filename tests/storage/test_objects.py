"""An object appears whole or not at all, is never changed by a name, and heals when it is stored again."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from theta_jupyter.errors import IntegrityError, MissingObjectError, ThetaError
from theta_jupyter.storage.beside import machine
from theta_jupyter.storage.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable


def files(store: ObjectStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


def test_what_is_stored_can_be_read(store: ObjectStore) -> None:
    data = bytes(range(256)) * 10
    object_id = store.write(data)
    assert object_id == hashlib.sha256(data).hexdigest()
    assert store.path(object_id) == store.root / "objects" / object_id[:2] / object_id[2:4] / object_id
    assert store.read(object_id) == data
    assert store.read(object_id, 10, 20) == data[10:30]
    assert store.read(object_id, 2550) == data[2550:]
    assert not store.read(object_id, 2560, 0)
    assert list(store) == [object_id]
    assert store.write(b"") == hashlib.sha256(b"").hexdigest()
    assert bytes(store.read(store.write(memoryview(b"seen")))) == b"seen"


def test_nothing_is_left_beside_it_and_nobody_can_write(store: ObjectStore) -> None:
    before = os.umask(0o027)
    try:
        path = store.path(store.write(b"data"))
    finally:
        os.umask(before)
    assert files(store) == [path]
    assert path.stat().st_mode & 0o777 == 0o440


def test_storing_again_only_freshens(store: ObjectStore) -> None:
    path = store.path(store.write(b"data"))
    os.utime(path, (1000, 1000))
    inode = path.stat().st_ino
    store.write(b"data")
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > 1000


@pytest.mark.parametrize("damaged", [b"dato", b"dat", b"data!", b""])
def test_storing_again_heals(damaged: bytes, store: ObjectStore) -> None:
    object_id = store.write(b"data")
    store.path(object_id).chmod(0o644)
    store.path(object_id).write_bytes(damaged)
    assert not store.sound(object_id)
    assert store.write(b"data") == object_id
    assert bytes(store.read(object_id)) == b"data"
    assert store.sound(object_id)


def test_missing_objects(store: ObjectStore) -> None:
    object_id, absent = store.write(b"data"), "0" * 64
    assert store.missing({object_id: 4}) == {}
    assert store.missing({object_id: 5, absent: 4}) == {object_id: 5, absent: 4}
    assert not store.sound(absent)
    with pytest.raises(MissingObjectError, match="000000000000 is not in this repository"):
        store.read(absent)
    with pytest.raises(MissingObjectError):
        store.freshen([object_id, absent])


def test_freshening(store: ObjectStore) -> None:
    path = store.path(store.write(b"data"))
    os.utime(path, (1000, 1000))
    store.freshen([path.name])
    assert path.stat().st_mtime > 1000


def test_another_user_s_object_cannot_be_freshened(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    object_id = store.write(b"data")
    monkeypatch.setattr(os, "utime", raising(PermissionError(errno.EPERM, "not yours")))
    store.freshen([object_id])
    assert store.write(b"data") == object_id
    assert bytes(store.read(object_id)) == b"data"


@pytest.mark.parametrize(("offset", "length"), [(0, 5), (4, 1), (5, None), (1 << 61, 1), (0, 1 << 61), (0, -1)])
def test_a_part_outside_an_object_is_refused(offset: int, length: int | None, store: ObjectStore) -> None:
    object_id = store.write(b"data")
    with pytest.raises(IntegrityError, match="too short"):
        store.read(object_id, offset, length)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../" * 20 + "etc/passwd",
        "/" + "0" * 63,
        "0" * 32 + "/" + "0" * 31,
        "0" * 63,
        "0" * 65,
        "0" * 64 + "\n",
        "A" * 64,
        "-" * 64,
        "\0" * 64,
        "\N{ARABIC-INDIC DIGIT THREE}" * 64,
    ],
)
def test_only_ids_are_ids(name: str, store: ObjectStore) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: store.path(name),
        lambda: store.read(name),
        lambda: store.missing({name: 0}),
        lambda: store.freshen([name]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not an object id"):
            call()


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("step", ["fsync", "mkdir", "replace", "open"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("no reason")])
def test_a_full_disk_leaves_nothing(
    step: str, error: OSError, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.write(b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(Path if step in {"mkdir", "replace"} else os, step, raising(error))
        with pytest.raises(ThetaError, match=r"cannot store an object of 4 bytes .*(No space|no reason)") as caught:
            store.write(b"data")
    assert "nothing was changed" in caught.value.hint
    assert [path.name for path in files(store)] == [kept]
    assert bytes(store.read(store.write(b"data"))) == b"data"


def test_an_interrupt_leaves_nothing(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.write(b"data")
    assert files(store) == []


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "theta").write_bytes(b"")
    store = ObjectStore(tmp_path / "theta")
    with pytest.raises(ThetaError, match="cannot store"):
        store.write(b"data")
    assert store.missing({"0" * 64: 1}) == {"0" * 64: 1}
    with pytest.raises(ThetaError, match="cannot read"):
        store.read("0" * 64)


def test_an_object_is_synced_before_it_has_its_name(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 4
        steps.append("sync")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    store.write(b"data")
    assert steps == ["sync", "rename"]


# Other processes.

WRITER = """
import sys
from pathlib import Path
from theta_jupyter.storage.objects import ObjectStore
store = ObjectStore(Path(sys.argv[1]))
print("begun", flush=True)
for number in range(int(sys.argv[2])):
    store.write(b"%d " % number * 100_000)
"""


def writer(store: ObjectStore, count: int) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(store.root), str(count)], stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"begun\n"
    return child


def check_whole(store: ObjectStore) -> int:
    found = list(store)
    assert all(hashlib.sha256(store.read(name)).hexdigest() == name for name in found)
    return len(found)


def test_a_killed_process_leaves_whole_objects_and_is_swept(store: ObjectStore) -> None:
    left = 0
    for _ in range(6):
        child = writer(store, 1_000_000)
        deadline = time.monotonic() + 30
        # Kill it in the midst of things, best while it has a temporary file.
        while time.monotonic() < deadline:
            if list(store.root.glob("objects/??/??/*")) and list(store.root.glob("tmp/*")):
                break
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.stdout
        child.stdout.close()
        assert check_whole(store) > 0
        left += len(list(store.root.glob("tmp/*")))
        store.sweep()
        assert list(store.root.glob("tmp/*")) == []
    assert left > 0
    check_whole(store)


def test_two_processes_may_write_the_same(store: ObjectStore) -> None:
    children = [writer(store, 40) for _ in range(3)]
    for child in children:
        assert child.wait() == 0
        assert child.stdout
        child.stdout.close()
    assert check_whole(store) == 40
    assert list(store.root.glob("tmp/*")) == []


def test_sweeping_spares_the_living_and_the_far(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    own = store.temporary()
    far = own.with_name("elsewhere.example.org.1.0123456789abcdef")
    dead = own.with_name(f"{machine()}.{1 << 29}.0123456789abcdef")
    odd = own.with_name("odd")
    for path in (own, far, dead, odd):
        path.write_bytes(b"")
    store.sweep()
    assert sorted(path.name for path in files(store)) == sorted(path.name for path in (own, far, odd))
    for path in (far, odd):
        os.utime(path, (1000, 1000))
    store.sweep()
    assert files(store) == [own]
    monkeypatch.setattr(Path, "unlink", raising(PermissionError(errno.EPERM, "not yours")))
    os.utime(own, (1000, 1000))
    store.sweep()


def test_sweeping_an_empty_store(store: ObjectStore) -> None:
    store.sweep()
    assert list(store) == []
    assert not store.root.exists()
