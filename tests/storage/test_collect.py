"""Only what is old and needed by nobody is deleted, whatever others do at the same time, and wherever it stops."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theta_jupyter.errors import MissingObjectError
from theta_jupyter.storage.collect import collect
from theta_jupyter.storage.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

OLD = 1_000_000_000


def stored(store: ObjectStore, data: bytes = b"data") -> str:
    """Store an object, long ago."""
    object_id = store.write(data)
    os.utime(store.path(object_id), (OLD, OLD))
    return object_id


def run(store: ObjectStore, *ids: str, meanwhile: Callable[[], object] = lambda: None) -> tuple[int, int, int]:
    """Collect these; ``meanwhile`` runs when they are set aside, and before they are looked at again."""

    def needed() -> set[str]:
        meanwhile()
        return set()

    return collect(store, ids, time.time() - 1000, needed)


def files(store: ObjectStore) -> set[str]:
    return {path.name for path in store.root.rglob("*") if path.is_file()}


def test_what_is_old_is_deleted(store: ObjectStore) -> None:
    one, two, kept = stored(store, b"one"), stored(store, b"three"), stored(store, b"kept")
    assert run(store, one, two) == (2, 8, 0)
    assert files(store) == {kept}
    assert run(store) == (0, 0, 0)


def test_what_was_freshened_before_it_was_set_aside_stays(store: ObjectStore) -> None:
    object_id = stored(store)
    inode = store.path(object_id).stat().st_ino
    store.freshen([object_id])
    assert run(store, object_id) == (0, 0, 1)
    assert files(store) == {object_id}
    assert store.path(object_id).stat().st_ino == inode


def test_what_comes_to_be_needed_meanwhile_stays(store: ObjectStore) -> None:
    object_id, other = stored(store), stored(store, b"other")
    assert collect(store, [object_id, other], time.time(), lambda: {object_id}) == (1, 5, 1)
    assert files(store) == {object_id}


def test_what_is_set_aside_is_missing_to_everybody(store: ObjectStore) -> None:
    object_id = stored(store)

    def look() -> None:
        assert store.missing({object_id: 4}) == {object_id: 4}
        with pytest.raises(MissingObjectError):
            store.freshen([object_id])
        with pytest.raises(MissingObjectError):
            store.read(object_id)

    assert run(store, object_id, meanwhile=look) == (1, 4, 0)


def test_what_is_stored_anew_meanwhile_stays(store: ObjectStore) -> None:
    object_id = stored(store)
    assert run(store, object_id, meanwhile=lambda: store.write(b"data")) == (1, 4, 0)
    assert files(store) == {object_id}
    assert bytes(store.read(object_id)) == b"data"


def test_what_is_put_back_does_not_replace_what_was_stored_anew(store: ObjectStore) -> None:
    object_id = stored(store, b"data")
    store.path(object_id).chmod(0o644)
    store.path(object_id).write_bytes(b"dama")
    with pytest.raises(ValueError, match="no idea"):
        run(store, object_id, meanwhile=lambda: no_idea(store.write(b"data")))
    assert files(store) == {object_id}
    assert bytes(store.read(object_id)) == b"data"


def no_idea(_: object = None) -> None:
    message = "no idea"
    raise ValueError(message)


@pytest.mark.parametrize("links", [True, False])
def test_all_is_as_it_was_if_it_is_not_known_what_is_needed(
    links: bool, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    ids = [stored(store, b"%d" % number) for number in range(3)]
    if not links:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(ValueError, match="no idea"):
        run(store, *ids, meanwhile=no_idea)
    assert files(store) == set(ids)
    assert {store.path(name).stat().st_mtime for name in ids} == {OLD}


def test_a_touch_that_takes_effect_too_late_is_noticed(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is found by its name, then set aside, looked at and deleted, and only then touched."""
    object_id = stored(store)
    utime = os.utime

    def late(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            assert run(store, object_id) == (1, 4, 0)
            utime(descriptor)
        finally:
            os.close(descriptor)

    monkeypatch.setattr(os, "utime", late)
    with pytest.raises(MissingObjectError):
        store.freshen([object_id])
    monkeypatch.undo()
    stored(store)
    monkeypatch.setattr(os, "utime", late)
    assert store.write(b"data") == object_id
    assert bytes(store.read(object_id)) == b"data"


def test_what_cannot_be_moved_stays(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    object_id = stored(store)
    monkeypatch.setattr(Path, "rename", refused)
    assert run(store, object_id, "0" * 64) == (0, 0, 0)
    assert files(store) == {object_id}


KILLED = """
import os, signal, sys
from pathlib import Path
from theta_jupyter.storage.collect import collect
from theta_jupyter.storage.objects import ObjectStore
store = ObjectStore(Path(sys.argv[1]))
collect(store, sys.argv[2:], 2**31, lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_what_a_killed_one_has_set_aside_is_put_back(store: ObjectStore) -> None:
    ids = [stored(store, b"%d" % number) for number in range(3)]
    kept = stored(store, b"kept")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store.root), *ids], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert set(store) == {kept}
    assert len(files(store)) == 4
    # One is stored anew before it is put back.
    store.write(b"1")
    assert store.sweep() == 0
    assert files(store) == {*ids, kept}
    assert {bytes(store.read(name)) for name in ids} == {b"0", b"1", b"2"}


def test_sweeping_spares_what_a_living_one_has_set_aside(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = store.set_aside(stored(store))
    assert aside is not None
    far = aside.with_name(f"elsewhere.1.0123456789abcdef.{stored(store, b'far')}")
    store.path(far.name[-64:]).rename(far)
    store.sweep()
    assert files(store) == {aside.name, far.name}
    # Both are old, but have not lain there for long. Later on:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 24 * 3600)
    store.sweep()
    assert files(store) == {aside.name[-64:], far.name[-64:]}


def test_what_only_looks_like_an_object_that_was_set_aside_is_not_put_back(store: ObjectStore) -> None:
    stored(store)
    part = store.root / "tmp" / ("a" * 64)
    other = store.root / "tmp" / f"x.{'a' * 64}"
    for path in (part, other):
        path.write_bytes(b"half")
        os.utime(path, (OLD, OLD))
    assert store.sweep() == 8
    assert "a" * 64 not in set(store)


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from(["", "before", "touched", "written", "needed"])),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=60)
def test_just_what_nobody_uses_goes(objects: list[tuple[bool, bool, str]]) -> None:
    """Of objects that are asked for or not, old or not, and used by somebody before or while that happens."""
    with TemporaryDirectory() as folder:
        store = ObjectStore(Path(folder) / "theta")
        ids = [stored(store, b"%d" % number) for number in range(len(objects))]
        uses = dict(zip(ids, objects, strict=True))
        for name, (_, old, use) in uses.items():
            if not old or use == "before":
                store.freshen([name])
        gone: set[str] = set()

        def needed() -> set[str]:
            for number, (name, (_, _, use)) in enumerate(uses.items()):
                if use == "written":
                    store.write(b"%d" % number)
                elif use == "touched":
                    try:
                        store.freshen([name])
                    except MissingObjectError:
                        gone.add(name)
            return {name for name, (_, _, use) in uses.items() if use == "needed"}

        collect(store, [name for name, (asked, _, _) in uses.items() if asked], time.time() - 1000, needed)
        expected = {
            name for name, (asked, old, use) in uses.items() if not asked or not old or use not in {"", "touched"}
        }
        touched = {name for name, (_, _, use) in uses.items() if use == "touched"}
        # Whoever was told that it is not there stores it anew; whoever was told that it is there finds it there.
        assert expected | (touched - gone) <= set(store) <= expected | touched
        assert all(bytes(store.read(name)) == b"%d" % ids.index(name) for name in store)
        assert not list(store.root.glob("tmp/*"))
