"""Laws 6, 8, 9, 10 under real git: planted modules, strange names, rubbish, and a process that dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import save

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter.git import known, roads
from theta_jupyter.storage import snapshot
from theta_jupyter.storage.beside import machine
from theta_jupyter.storage.objects import ObjectStore

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "IPython", "plotly", "jupyter_server", "jupyter_core", "git", "matplotlib", "pandas", "anywidget")


@pytest.mark.parametrize("pythonpath", [None, "", ":/nowhere", "."])
def test_modules_planted_in_the_repository_are_not_imported(repo: Repo, pythonpath: str | None) -> None:
    """Nor where ``PYTHONPATH`` has an empty entry, as many shells have it: that means the current folder."""
    trap = f"open({str(repo.top.parent / 'sprung')!r}, 'a').write(__name__)\nraise SystemExit('sprung')\n"
    for name in ("numpy.py", "blake3.py", "sitecustomize.py", "usercustomize.py", "msgspec.py", "torch.py", "re.py"):
        (repo.top / name).write_text(trap)
    (repo.top / "theta_jupyter").mkdir()
    for name in ("__init__.py", "git.py", "drivers.py"):
        (repo.top / "theta_jupyter" / name).write_text(trap)
    if pythonpath is not None:
        repo.env["PYTHONPATH"] = pythonpath
    repo.git("switch", "--quiet", "--create", "side")
    repo.commit(safetensors(a=1))
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(b=1))
    repo.git("merge", "--quiet", "side")
    repo.check(safetensors(a=1, b=1))
    bare = Repo(repo.top.parent / "origin.git", repo.home)
    bare.top.mkdir()
    bare.git("init", "--quiet", "--bare")
    repo.git("push", "--quiet", str(bare.top), "main")
    assert not (repo.top.parent / "sprung").exists()


def test_no_shell_is_needed(repo: Repo) -> None:
    """The virtual environment is not on PATH, the locale is the oldest one, and git is run from anywhere."""
    repo.env |= {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LANG": "C"}
    folder = repo.top / "deep" / "down"
    folder.mkdir(parents=True)
    repo.write(safetensors(a=1))
    for args in (["add", "../../m.safetensors"], ["commit", "--quiet", "-m", "x"], ["status", "--porcelain"]):
        done = repo.run(*args, cwd=folder)
        assert (done.returncode, done.stderr) == (0, b"")
    repo.check(safetensors(a=1))
    done = repo.run("theta", "--help", cwd=folder)
    assert done.returncode == 0, done.stderr


NAMES = [
    "with space.pt",
    'quote".pt',
    "it's.pt",
    "ünï码.pt",
    "-f",
    "--all",
    "star*.pt",
    "[x].pt",
    "a?b.pt",
    "back\\slash.pt",
    "#hash.pt",
    "!bang.pt",
    ":(glob)*.pt",
    "new\nline.pt",
    "end\n",
    "tab\t.pt",
    "esc\x1b[31m.pt",
    " lead.pt",
    "trail ",
    "bad\udcff.pt",
    "dir.pt/-x y/$(touch pwned).pt",
    "`touch pwned`;touch pwned.pt",
    "%P %A.pt",
]
MERGED = ["-f", "new\nline.pt", "bad\udcff.pt", "`touch pwned`;touch pwned.pt", "%P %A.pt"]
"""Names the merge driver is given, too: a process each."""


def test_strange_names(bare_repo: Repo) -> None:
    repo = bare_repo
    for name in NAMES:
        repo.write(safetensors(), name)
        repo.track(name)
    # Names with wildcards must not catch others.
    (repo.top / "starry.pt").write_bytes(b"plain")
    (repo.top / "x.pt").write_bytes(b"plain")
    assert (repo.top / ".gitattributes").read_bytes().count(b"filter=theta") == len(NAMES)
    repo.commit()
    repo.git("switch", "--quiet", "--create", "side")
    for name in MERGED:
        repo.write(safetensors(a=1), name)
    repo.commit()
    repo.git("switch", "--quiet", "main")
    for name in MERGED:
        repo.write(safetensors(b=1), name)
    repo.commit()
    repo.git("merge", "--quiet", "side")
    assert repo.status() == ""
    for name in NAMES:
        assert repo.read(name) == (safetensors(a=1, b=1) if name in MERGED else safetensors()), name
        assert repo.text(f"HEAD:{name}").startswith(b"theta manifest 1\n"), name
    assert repo.text("HEAD:x.pt") == b"plain"
    with repo.environment():
        worktree = repo.worktree
        for name in NAMES:
            assert worktree.stages(name).keys() == {0}
            assert worktree.tree("HEAD", [name]).keys() == {name}
            assert known.Known(worktree, name).texts
        assert worktree.tree("HEAD", NAMES).keys() == set(NAMES)
        assert set(worktree.filters(NAMES).values()) == {"theta"}
    assert not list(repo.top.parent.rglob("pwned"))
    # Removed objects: names in warnings cannot move the cursor.
    shutil.rmtree(repo.theta / "objects")
    (repo.top / "esc\x1b[31m.pt").unlink()
    done = repo.run("checkout", "--", "esc\x1b[31m.pt")
    assert done.returncode == 0
    assert b"theta: esc\\x1b[31m.pt: " in done.stderr
    assert b"\x1b[31m" not in done.stderr


@pytest.mark.parametrize(
    "ref", ["--all", "-n1", "--output=pwned", "HEAD --all", "nowhere", "", "-", "HEAD\n", "@{upstream}"]
)
def test_refs_are_not_options(repo: Repo, ref: str) -> None:
    with repo.environment():
        with pytest.raises(Exception, match="not a commit"):
            repo.worktree.resolve(ref)
        assert repo.worktree.tree(ref, [MODEL]) == {}
    assert not list(repo.top.rglob("pwned"))


def rubbish(text: bytes) -> dict[str, bytes]:
    """What looks like a manifest, and is none."""
    return {
        "future": text.replace(b"manifest 1\n", b"manifest 2\n"),
        "truncated": text[: len(text) // 2],
        "crlf": text.replace(b"\n", b"\r\n"),
        "name only": b"theta manifest 1",
        "hash": text.replace(b'"blake3":"', b'"blake3":"0', 1),
        "other hash": text.replace(b'"shape":[8,8]', b'"shape":[4,16]', 1),
        "bytes": b"theta manifest 1\n\xff\xfe",
        "absurd": text.replace(b'"size":', b'"size":999999999999', 1),
    }


def test_smudge_passes_on_what_is_no_manifest(repo: Repo) -> None:
    """And clean takes it back as it was, or ``git status`` would report changes that are none."""
    cases = rubbish(repo.text()) | {"empty": b"", "zeros": bytes(1000), "plain": safetensors()}
    for name in cases:
        repo.track(f"{name}.pt")
    repo.commit()
    for name, data in cases.items():
        blob = repo.git("hash-object", "-w", "--stdin", "--no-filters", data=data).strip()
        repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}.pt")
    done = repo.run("checkout-index", "--all", "--force")
    assert done.returncode == 0, done.stderr
    for name, data in cases.items():
        if name not in {"other hash", "empty"}:
            assert repo.read(f"{name}.pt") == data, name
    repo.git("commit", "--quiet", "-m", "rubbish")
    for name in cases:
        (repo.top / f"{name}.pt").touch()
    assert repo.git("check-attr", "filter", "truncated.pt").endswith(": theta\n")
    modified = {line[3:].strip('"') for line in repo.status().split("\n") if line.startswith(" M")}
    # What was committed without a filter becomes a manifest when it is added again; that is not hidden.
    assert modified == {"plain.pt", "zeros.pt", "empty.pt"}


def test_clean_of_manifests(repo: Repo) -> None:
    text = repo.text()
    assert repo.text(repo.git("hash-object", "-w", "--stdin", f"--path={MODEL}", data=text).strip()) == text
    future = rubbish(text)["future"]
    assert repo.text(repo.git("hash-object", "-w", "--stdin", f"--path={MODEL}", data=future).strip()) == future
    torn = text.replace(b"\na\n", b"\n<<<<<<< ours\na\n", 1)
    repo.write(torn)
    said = repo.fails("add", MODEL)
    assert "conflict markers" in said
    assert "git theta checkout --ours" in said
    assert "Traceback" not in said
    assert repo.text(f":{MODEL}") == text


def test_objects_that_are_missing(repo: Repo) -> None:
    text = repo.text()
    shutil.rmtree(repo.theta / "objects")
    (repo.top / MODEL).unlink()
    done = repo.run("checkout", "--", MODEL)
    assert done.returncode == 0
    assert b"no remote to fetch them from" in done.stderr
    repo.check(text)


def test_damaged_objects_never_reach_the_file(repo: Repo) -> None:
    text = repo.text()
    for name in repo.objects:
        path = repo.worktree.store.path(name)
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        (repo.top / MODEL).unlink()
        done = repo.run("checkout", "--", MODEL)
        assert done.returncode == 0
        assert b"theta: m.safetensors: " in done.stderr
        repo.check(text)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (repo.top / MODEL).unlink()
    repo.git("checkout", "--", MODEL)
    repo.check(safetensors())
    assert list((repo.theta / "tmp").iterdir()) == []


def test_killed_in_the_middle(repo: Repo) -> None:
    """Law 6: the index is as it was, the next add works, and what was left behind is swept away."""
    big = save({f"l{i}": np.random.default_rng(i).standard_normal(1 << 19).astype(np.float32) for i in range(12)})
    repo.write(big)
    before = repo.text(f":{MODEL}")
    killed = False
    for attempt in range(6):
        process = subprocess.Popen(
            ["git", "add", MODEL], cwd=repo.top, env=repo.env, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        store, deadline = ObjectStore(repo.theta), time.monotonic() + 30
        count = len(list(store))
        while time.monotonic() < deadline and process.poll() is None and len(list(store)) < count + 1 + attempt % 2:
            time.sleep(0.001)
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
            killed = True
        assert process.communicate(timeout=60)[1] is not None
        if process.returncode:
            break
    assert killed
    assert process.returncode
    assert repo.text(f":{MODEL}") == before
    assert not (repo.top / ".git/index.lock").exists()
    (repo.theta / "tmp" / f"{machine()}.999999999.{'0' * 16}").write_bytes(b"left behind")
    repo.git("add", MODEL)
    repo.git("commit", "--quiet", "-m", "big")
    repo.check(big)
    # A process that is dead and not yet buried still has its number, and so its files.
    left = {int(path.name.split(".")[-2]) for path in (repo.theta / "tmp").iterdir()}
    assert all(psutil.pid_exists(pid) for pid in left)
    assert 999999999 not in left


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)] if psutil.pid_exists(pid) else []


def test_full_disk(bare_repo: Repo) -> None:
    """Law 6: a full disk fails an add, clearly, and leaves a checkout with the manifest."""
    repo = bare_repo
    repo.track()
    repo.theta.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(repo.theta)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        data = save({"w": np.random.default_rng(0).standard_normal(1 << 18).astype(np.float32)})
        repo.write(data)
        said = repo.fails("add", "--all")
        assert "No space left" in said
        assert "Traceback" not in said
        small = safetensors()
        repo.write(small)
        repo.git("add", "--all")
        repo.git("commit", "--quiet", "-m", "small")
        repo.check(small)
        # No room for the file that smudge builds.
        (repo.theta / "filler").write_bytes(bytes(max(0, _free(repo.theta) - 40_000)))
        (repo.top / MODEL).unlink()
        done = repo.run("checkout", "--", MODEL)
        assert done.returncode == 0
        assert b"theta: m.safetensors: " in done.stderr
        assert repo.read() == repo.text()
        (repo.theta / "filler").unlink()
        (repo.top / MODEL).unlink()
        repo.git("checkout", "--", MODEL)
        repo.check(small)
    finally:
        subprocess.run(["umount", str(repo.theta)], check=True)


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def test_a_file_that_changes_meanwhile_is_refused(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the manifest of one content would be remembered for another."""
    from blake3 import blake3

    data = bytearray(safetensors(a=1))
    digest = blake3(bytes(data)).hexdigest()
    take = snapshot.take

    def disturbed(view: memoryview, *args: Any) -> object:
        data[-4:] = b"\1\2\3\4"
        return take(view, *args)

    monkeypatch.setattr(snapshot, "take", disturbed)
    with repo.environment():
        worktree = repo.worktree
        with pytest.raises(Exception, match="changed while"):
            roads.store(worktree, known.Known(worktree, MODEL), memoryview(data), digest)
        assert worktree.cache.content(digest) is None


def test_the_filter_starts_light(repo: Repo) -> None:
    """Law 10, seen from inside a filter process after each step."""
    code = f"""
import io, sys
from theta_jupyter.drivers import filter_process as f
from theta_jupyter.drivers.pktline import *
def ask(*requests):
    out, source = io.BytesIO(), io.BytesIO()
    write_list(source, ["git-filter-client", "version=2"]); write_list(source, ["capability=clean"])
    for data in requests:
        write_list(source, ["command=clean", "pathname={MODEL}"]); write_data(source, memoryview(data))
    source.seek(0)
    try: f.serve(source, out)
    except EOFError: pass
    return out.getvalue()
ask()
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
data = open({MODEL!r}, "rb").read()
assert b"theta manifest 1" in ask(data)
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
assert b"theta manifest 1" in ask(data[:-4] + b"abcd")
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    shake, cached, cleaned = (set(line.split()) for line in repo.python(code).split("\n")[:3])
    assert not {"numpy", "blake3", "msgspec", "sqlite3", *HEAVY} & shake
    assert not {"numpy", "ml_dtypes", "zstandard", *HEAVY} & cached
    assert "numpy" in cleaned
    assert not {*HEAVY} & cleaned
    assert not [name for name in cleaned if name.startswith(("jupyter", "ipy"))]


def test_the_other_drivers_start_light(repo: Repo) -> None:
    for module in ("merge", "hooks"):
        code = f"import sys; import theta_jupyter.drivers.{module}; print(*sys.modules)"
        found = {name.partition(".")[0] for name in repo.python(code).split()}
        assert not {*HEAVY} & found
        assert module == "merge" or "numpy" not in found


def test_git_theta_uses_this_interpreter(repo: Repo) -> None:
    assert repo.git("config", "filter.theta.process").startswith(sys.executable)
