"""The server's addresses: a real Jupyter server, asked over HTTP, by those who may and those who may not."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.e2e.repo import MODEL, Repo, safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 60


@dataclass
class Client:
    """Somebody who asks a server."""

    url: str
    root: Path
    token: str

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Send one request; with the token, unless other headers are given."""
        options.setdefault("headers", {"Authorization": f"token {self.token}"})
        return requests.request(method, f"{self.url}/theta/{path}", json=body, timeout=TIMEOUT, **options)

    def post(self, path: str, body: object) -> Any:
        """Ask, wait however long it takes, and return the result."""
        answer = self.send("POST", path, body)
        while answer.status_code == 202:
            answer = self.send("GET", f"tasks/{answer.json()['task']}")
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def ask(
        self, repo: str, question: str, /, view: str = "panel", of: dict[str, str] | None = None, **told: Any
    ) -> Any:
        """Ask about a repository."""
        return self.post(f"ask/{view}/{question}", {"repository": repo, "told": told, **({"of": of} if of else {})})

    def refused(self, repo: str, question: str, /, view: str = "panel", **told: Any) -> tuple[int, str]:
        """Ask what is refused: the status, and the message."""
        answer = self.send("POST", f"ask/{view}/{question}", {"repository": repo, "told": told})
        while answer.status_code == 202:
            answer = self.send("GET", f"tasks/{answer.json()['task']}")
        assert answer.status_code >= 400, answer.text
        assert answer.json().keys() >= {"message", "hint"}
        return answer.status_code, answer.json()["message"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("server")
    root = home / "root"
    root.mkdir()
    token = secrets.token_hex(16)
    folders = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser"]
    options = {
        "ServerApp.root_dir": root,
        "ServerApp.port": 0,
        "IdentityProvider.token": token,
        "ServerApp.shutdown_no_activity_timeout": 600,
        "ServerApp.base_url": "/some/where/",
    }
    settings = {"HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "config", "--global", "init.defaultBranch", "main"], check=True, env=os.environ | settings)
    with (home / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env=os.environ | folders | settings,
            stdout=log,
            stderr=log,
        )
    info = home / "JUPYTER_RUNTIME_DIR" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + TIMEOUT
    while not info.exists():
        assert server.poll() is None, (home / "log.txt").read_text()
        assert time.monotonic() < deadline, (home / "log.txt").read_text()
        time.sleep(0.05)
    port = json.loads(info.read_text())["port"]
    yield Client(f"http://localhost:{port}/some/where", root, token)
    server.terminate()
    server.wait(TIMEOUT)


@pytest.fixture
def place(client: Client, tmp_path: Path) -> Repo:
    """A repository with one commit, below the server's root."""
    name = f"r{secrets.token_hex(4)}"
    repo = Repo(client.root / name, tmp_path / "home")
    repo.top.mkdir()
    client.post("init", {"path": name})
    client.ask(name, "identify", name="Tester", email="tester@example.org")
    change(repo)
    client.ask(name, "track", paths=[MODEL])
    client.ask(name, "commit", message="first")
    return repo


@pytest.fixture
def name(place: Repo) -> str:
    """What it is called there."""
    return place.top.name


def change(place: Repo, **changed: int) -> None:
    (place.top / MODEL).write_bytes(safetensors(**changed))


# Who may.

EVERYTHING = [
    ("POST", "find", {"path": ""}),
    ("POST", "init", {"path": "somewhere"}),
    ("POST", "ask/panel/status", {"repository": ""}),
    ("POST", "ask/panel/commit", {"repository": "", "told": {"message": "x"}}),
    ("GET", "tasks/abc", None),
    ("DELETE", "tasks/abc", None),
]


@pytest.mark.parametrize(("method", "path", "body"), EVERYTHING)
def test_strangers_are_refused(method: str, path: str, body: Any, client: Client) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": f"token {client.token[:-1]}"}):
        assert client.send(method, path, body, headers=headers, allow_redirects=False).status_code == 403


@pytest.mark.parametrize(("method", "path", "body"), [one for one in EVERYTHING if one[0] != "GET"])
def test_a_cookie_alone_changes_nothing(method: str, path: str, body: Any, client: Client) -> None:
    """A page of somebody else's may send a request with the cookie, but not with the header."""
    session = requests.Session()
    session.get(f"{client.url}/api/status?token={client.token}", timeout=TIMEOUT)
    session.get(f"{client.url}/tree?token={client.token}", timeout=TIMEOUT)
    assert session.get(f"{client.url}/api/status", timeout=TIMEOUT).status_code == 200  # It is logged in.
    sent = session.request(method, f"{client.url}/theta/{path}", json=body, timeout=TIMEOUT)
    assert (sent.status_code, "XSRF" in sent.text or "_xsrf" in sent.text) == (403, True)


def test_with_the_header_a_cookie_will_do(client: Client) -> None:
    session = requests.Session()
    session.get(f"{client.url}/tree?token={client.token}", timeout=TIMEOUT)
    session.get(f"{client.url}/api/status?token={client.token}", timeout=TIMEOUT)
    xsrf = next((cookie.value for cookie in session.cookies if cookie.name == "_xsrf"), None)
    if xsrf is None:
        session.get(f"{client.url}/login", timeout=TIMEOUT)
        xsrf = next(cookie.value for cookie in session.cookies if cookie.name == "_xsrf")
    headers = {"X-XSRFToken": str(xsrf)}
    sent = session.post(f"{client.url}/theta/find", json={"path": ""}, headers=headers, timeout=TIMEOUT)
    assert sent.status_code == 200


# Where.


def test_finding_a_repository(client: Client, place: Repo, name: str) -> None:
    (place.top / "deep" / "er").mkdir(parents=True)
    wanted = {"repository": name, "name": name, "ready": True, "reason": ""}
    for path in (name, f"{name}/deep/er", f"{name}/{MODEL}", f"{name}/not/there.pt", f"/{name}/"):
        assert client.post("find", {"path": path}) == wanted
    nothing = client.post("find", {"path": ""})
    assert (nothing["repository"], nothing["reason"]) == (None, "")


def test_nothing_outside_the_root_is_touched(client: Client, place: Repo, name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(place.top, outside)
    link = client.root / f"link-{name}"
    link.symlink_to(outside)
    up = "/".join([".."] * 12)
    for path in (f"link-{name}", f"{up}{outside}", f"{name}/../../{outside.name}", "..", f"{name}\0"):
        for sent in (client.send("POST", "find", {"path": path}), client.send("POST", "init", {"path": path})):
            assert sent.status_code in {400, 404, 409}, sent.text
        assert client.refused(path, "status")[0] in {400, 404, 409}
    before = sorted(path for path in outside.rglob("*") if ".git/" not in str(path))
    for told in (
        ["../x"],
        [f"../{name}/{MODEL}"],
        [str(outside / MODEL)],
        [".git/config"],
        [""],
        ["a//b"],
        ["./a"],
        [],
    ):
        for question in ("track", "stage", "unstage", "discard"):
            assert client.refused(name, question, paths=told)[0] == 409
    assert sorted(path for path in outside.rglob("*") if ".git/" not in str(path)) == before
    for path in ("/etc/passwd", "../x", ".git/config", f"../{name}/{MODEL}", "a\0"):
        assert client.send("POST", "ask/diff/diff", {"repository": name, "of": {"path": path}}).status_code == 409
        assert client.refused(name, "model", path=path)[0] == 409
    # A folder inside that leads out is no way either.
    (place.top / "way").symlink_to(outside)
    assert client.send("POST", "ask/diff/diff", {"repository": name, "of": {"path": "way/m"}}).status_code == 409


def test_a_repository_around_the_root_is_told_of_and_not_shown(client: Client) -> None:
    subprocess.run(["git", "init", "--quiet", str(client.root.parent)], check=True)
    try:
        (client.root / "inner").mkdir(exist_ok=True)
        found = client.post("find", {"path": "inner"})
        assert found["repository"] is None
        assert "start JupyterLab there" in found["reason"]
        assert client.send("POST", "init", {"path": "inner"}).status_code == 409
        assert client.refused("", "status")[0] == 404
        assert client.refused("inner", "status")[0] == 404
    finally:
        shutil.rmtree(client.root.parent / ".git")


# What is not asked rightly.


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"repository": 1}',
        b'{"repository": "", "more": 1}',
        b'{"repository": "", "told": []}',
    ],
)
def test_what_is_no_question(body: bytes, client: Client) -> None:
    headers = {"Authorization": f"token {client.token}"}
    sent = requests.post(f"{client.url}/theta/ask/panel/status", data=body, headers=headers, timeout=TIMEOUT)
    assert sent.status_code == 400
    assert sent.json()["message"]


def test_unknown_things(client: Client, name: str) -> None:
    assert client.refused(name, "status", view="nothing")[0] == 404
    assert client.refused(name, "no_such")[0] == 404
    assert client.refused(name, "changing")[0] == 404
    assert client.refused("nowhere", "status")[0] == 404
    assert client.refused(f"{name}/.git", "status")[0] == 404
    assert client.send("GET", "tasks/nothing").status_code == 404


def test_what_questions_are_told_is_checked(client: Client, name: str) -> None:
    for question, told in (
        ("status", {"extra": 1}),
        ("commit", {}),
        ("commit", {"message": 5}),
        ("stage", {"paths": "model.pt"}),
        ("stage", {"paths": [1]}),
        ("history", {"limit": "many"}),
        ("history", {"limit": 0}),
        ("history", {"skip": -1}),
        ("commit", {"message": "  "}),
    ):
        assert client.refused(name, question, **told)[0] == 409, question


NO_NAMES = [
    "--help",
    "-f",
    "",
    "a..b",
    "a b",
    "a\nb",
    "x:y",
    "a\x1bb",
    "a\x7fb",
    "a\x9bb",
    "@",
    "a@{1}",
    "/a",
    "a//b",
    "a/",
]
NO_NAMES += [".a", "a/.b", "a.lock", "a.lock/b", "a.", "a~1", "a^", "a?", "a*", "a[", "a\\b"]


@pytest.mark.parametrize("ref", NO_NAMES)
def test_what_names_a_branch_is_no_option(ref: str, client: Client, place: Repo, name: str) -> None:
    for question, told in (
        ("switch", {"branch": ref}),
        ("create_branch", {"name": ref}),
        ("delete_branch", {"name": ref}),
        ("merge", {"branch": ref}),
        ("restore", {"ref": ref, "path": MODEL}),
    ):
        assert client.refused(name, question, **told) == (409, f"{ref!r} is no name of a branch or a commit")
    sent = client.send("POST", "ask/diff/diff", {"repository": name, "of": {"old": "--output=x"}})
    assert sent.status_code == 409
    assert not (place.top / "x").exists()


ODD_NAMES = ["a\u202egnp", "\u200b", "a\u2028b", "a\u00a0b", "\u00e9/\U0001f600", "a.b/c-", "a@b{", "<b>$(x)'\"&;|`"]


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_what_git_calls_a_branch_may_be_named(odd: str, client: Client, place: Repo, name: str) -> None:
    place.git("check-ref-format", "--branch", odd)
    client.ask(name, "create_branch", name=odd)
    change(place, a=1)
    client.ask(name, "commit", message="odd")
    assert client.ask(name, "status")["branch"] == odd
    assert client.ask(name, "history")["commits"][0]["refs"] == [{"name": odd, "kind": "branch", "current": True}]
    client.ask(name, "switch", branch="main")
    assert {one["name"] for one in client.ask(name, "branches")["branches"]} == {"main", odd}
    client.ask(name, "create_branch", name="next", start=odd)
    client.ask(name, "switch", branch="main")
    client.ask(name, "restore", ref=odd, path=MODEL)
    assert place.read() == safetensors(a=1)
    client.ask(name, "discard", paths=[MODEL])
    of = {"old": "main", "new": odd, "path": MODEL}
    assert [file["path"] for file in client.ask(name, "diff", view="diff", of=of)["files"]] == [MODEL]
    client.ask(name, "merge", branch=odd)
    assert place.read() == safetensors(a=1)
    client.ask(name, "delete_branch", name=odd)
    assert {one["name"] for one in client.ask(name, "branches")["branches"]} == {"main", "next"}


# Everything a newcomer does.


def test_from_nothing_to_a_commit(client: Client, tmp_path: Path) -> None:
    folder = f"new{secrets.token_hex(4)}"
    place = Repo(client.root / folder, tmp_path / "home")
    place.top.mkdir()
    assert client.post("find", {"path": folder})["repository"] is None
    assert "new Git repository" in client.post("init", {"path": folder})["message"]
    assert client.post("find", {"path": folder}) == {"repository": folder, "name": folder, "ready": True, "reason": ""}
    change(place)
    status = client.ask(folder, "status")
    assert (status["commits"], status["identity"], status["branch"]) == (False, False, "main")
    assert [(one["path"], one["letter"]) for one in status["changes"]] == [(MODEL, "?")]
    client.ask(folder, "track", paths=[MODEL])
    assert [(one["letter"], one["staged"]) for one in client.ask(folder, "status")["changes"]] == [("A", False)]
    client.ask(folder, "identify", name="Ann Onymous", email="ann@example.org")
    assert client.ask(folder, "status")["identity"]
    client.ask(folder, "commit", message="base")
    assert client.ask(folder, "status")["changes"] == []


def test_from_a_branch_to_a_merge(client: Client, place: Repo) -> None:
    folder = place.top.name
    client.ask(folder, "create_branch", name="rte")
    change(place, a=1, b=1)
    (changed,) = client.ask(folder, "status")["changes"]
    assert (changed["letter"], changed["tensors"], changed["changed"]) == ("M", 5, 2)
    assert len(changed["miniature"]["values"]) == len(changed["miniature"]["blocks"])
    client.ask(folder, "stage", paths=[MODEL])
    assert client.ask(folder, "status")["changes"][0]["staged"]
    client.ask(folder, "unstage", paths=[MODEL])
    assert not client.ask(folder, "status")["changes"][0]["staged"]
    client.ask(folder, "commit", message="on rte")
    client.ask(folder, "switch", branch="main")
    change(place, b=2)
    client.ask(folder, "discard", paths=[MODEL])
    assert client.ask(folder, "status")["changes"] == []
    change(place, b=2)
    client.ask(folder, "commit", message="on main")
    done = client.ask(folder, "merge", branch="rte")
    assert "1 of 1 conflict left" in done["message"]
    merge = client.ask(folder, "status")["merge"]
    assert (merge["kind"], merge["ours"], merge["theirs"]) == ("merge", "main", "rte")
    assert merge["files"] == [{"path": MODEL, "conflicts": 1, "left": 1}]
    assert client.ask(folder, "merge", view="merge")["left"] == 1
    rows = client.ask(folder, "file", view="merge", path=MODEL)["rows"]
    assert [row["name"] for row in rows] == ["b"]
    assert client.refused(folder, "finish", view="merge", message="")[0] == 409
    rule = {"tensors": "b", "strategy": "linear", "parameters": {}, "file": ""}
    assert client.ask(folder, "choose", view="merge", rules=[rule])["state"]["left"] == 0
    client.ask(folder, "finish", view="merge", message="merged")
    page = client.ask(folder, "history")
    assert page["commits"][0]["subject"] == "merged"
    assert len(page["commits"][0]["parents"]) == 2
    assert page["commits"][0]["merged_by"]
    assert {commit["subject"] for commit in page["commits"]} == {"merged", "on main", "on rte", "first"}
    assert (page["head"], page["more"]) == (page["commits"][0]["id"], False)
    assert client.ask(folder, "status")["merge"] is None
    assert client.refused(folder, "delete_branch", name="main")[0] == 409
    client.ask(folder, "delete_branch", name="rte")
    assert [one["name"] for one in client.ask(folder, "branches")["branches"]] == ["main"]


def test_pages_of_history(client: Client, place: Repo, name: str) -> None:
    for number in range(1, 5):
        change(place, a=number)
        client.ask(name, "commit", message=f"commit {number}")
    first = client.ask(name, "history", limit=3)
    rest = client.ask(name, "history", limit=3, skip=3)
    subjects = [[commit["subject"] for commit in page["commits"]] for page in (first, rest)]
    assert subjects == [["commit 4", "commit 3", "commit 2"], ["commit 1", "first"]]
    assert (first["more"], rest["more"]) == (True, False)
    assert first["commits"][0]["parents"] == [first["commits"][1]["id"]]
    assert first["commits"][0]["refs"] == [{"name": "main", "kind": "branch", "current": True}]
    assert [c["subject"] for c in client.ask(name, "history", path="nothing.pt")["commits"]] == []


def test_a_model_in_a_version(client: Client, place: Repo, name: str) -> None:
    change(place, b=1)
    client.ask(name, "commit", message="second")
    model = client.ask(name, "model", path=MODEL, ref="HEAD~1".replace("~1", ""))
    assert (model["format"], len(model["tensors"]), model["opaque"]) == ("safetensors", 5, False)
    assert [commit["subject"] for commit in model["commits"]] == ["second", "first"]
    assert [one["shape"] for one in model["tensors"] if one["name"] == "wide"] == [[160, 128]]
    namespace: dict[str, Any] = {}
    with contextlib.chdir(place.top), place.environment():
        exec(model["code"], namespace)  # noqa: S102 - what is put into a notebook must work
    assert len(namespace["tensors"]) == 5
    assert client.refused(name, "model", path="nothing.pt")[0] == 409


def test_the_history_of_a_model_is_that_of_its_version(client: Client, place: Repo, name: str) -> None:
    client.ask(name, "create_branch", name="rte")
    change(place, b=1)
    client.ask(name, "commit", message="on rte")
    client.ask(name, "switch", branch="main")
    change(place, b=2)
    client.ask(name, "commit", message="on main")

    def subjects(ref: str = "") -> list[str]:
        return [commit["subject"] for commit in client.ask(name, "model", path=MODEL, ref=ref)["commits"]]

    assert subjects() == ["on main", "first"]
    assert subjects(ref=place.head("rte")) == ["on rte", "first"]
    # The panel's own history has all.
    assert {commit["subject"] for commit in client.ask(name, "history")["commits"]} == {"on main", "on rte", "first"}


def test_a_diff_is_looked_at_and_measured(client: Client, place: Repo, name: str) -> None:
    change(place, b=1, wide=1)
    of = {"old": "HEAD", "new": "", "path": MODEL}
    overview = client.ask(name, "diff", view="diff", of=of)
    assert [file["path"] for file in overview["files"]] == [MODEL]
    tensors = client.ask(name, "file", view="diff", of=of, path=MODEL)["tensors"]
    assert {one["name"] for one in tensors if one["status"] == "M"} == {"b", "wide"}
    (measured,) = client.ask(name, "measure", view="diff", of=of, path=MODEL, names=["wide"])["tensors"]
    assert measured["cosine"] is not None
    again = client.ask(name, "file", view="diff", of=of, path=MODEL)["tensors"]
    assert next(one for one in again if one["name"] == "wide")["cosine"] == measured["cosine"]
    # Asked from the start it is looked at anew.
    change(place, a=2)
    client.ask(name, "diff", view="diff", of=of)
    tensors = client.ask(name, "file", view="diff", of=of, path=MODEL)["tensors"]
    assert {one["name"] for one in tensors if one["status"] == "M"} == {"a"}
    root = client.ask(name, "history")["commits"][-1]["id"]
    first = client.ask(name, "diff", view="diff", of={"old": "", "new": root})
    assert [file["status"] for file in first["files"]] == ["A"]


def test_the_pulse_says_when_to_ask_again(client: Client, place: Repo, name: str) -> None:
    keys = [client.ask(name, "pulse")["key"]]
    assert client.ask(name, "pulse")["key"] == keys[0]
    assert client.ask(name, "status")["key"] == keys[0]

    def moved() -> bool:
        keys.append(client.ask(name, "pulse")["key"])
        return keys[-1] not in keys[:-1]

    change(place, a=5)
    assert moved()
    client.ask(name, "stage", paths=[MODEL])
    assert moved()
    client.ask(name, "commit", message="next")
    assert moved()
    place.git("branch", "elsewhere")
    assert moved()
    (place.top / "another.safetensors").write_bytes(b"")
    assert moved()
    (place.top / "notes.txt").write_text("no model")
    assert not moved()


def test_sharing_with_a_remote(client: Client, place: Repo, name: str, tmp_path: Path) -> None:
    assert "no remote" in client.refused(name, "push")[1]
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "bare")], check=True)
    place.git("remote", "add", "origin", str(tmp_path / "bare"))
    client.ask(name, "push")
    change(place, a=1)
    client.ask(name, "commit", message="ahead")
    status = client.ask(name, "status")
    assert status["upstream"] == {"name": "origin/main", "ahead": 1, "behind": 0}
    client.ask(name, "push")
    assert client.ask(name, "status")["upstream"]["ahead"] == 0
    place.git("reset", "--quiet", "--hard", "HEAD~1")
    client.ask(name, "fetch")
    assert client.ask(name, "status")["upstream"]["behind"] == 1
    client.ask(name, "pull")
    assert client.ask(name, "status")["upstream"] == {"name": "origin/main", "ahead": 0, "behind": 0}
    remote = [one for one in client.ask(name, "branches")["branches"] if one["remote"]]
    assert [one["name"] for one in remote] == ["origin/main"]


# Long work, and two at once.


@pytest.fixture
def gate(place: Repo) -> Iterator[Path]:
    """Commits stop until this file is there."""
    gate = place.top.parent / f"gate-{place.top.name}"
    hook = place.top / ".git" / "hooks" / "commit-msg"
    hook.write_text(f"#!/bin/sh\nwhile [ ! -e '{gate}' ]; do sleep 0.02; done\n")
    hook.chmod(0o755)
    yield gate
    gate.touch()


def begin(client: Client, repo: str, question: str, /, **told: Any) -> str:
    sent = client.send("POST", f"ask/panel/{question}", {"repository": repo, "told": told})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["task"])


def wait_for(client: Client, task: str, condition: Any) -> requests.Response:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        answer = client.send("GET", f"tasks/{task}")
        if condition(answer):
            return answer
    raise AssertionError(answer.text)


def test_long_work_freezes_nobody(client: Client, place: Repo, name: str, gate: Path) -> None:
    change(place, a=1)
    task = begin(client, name, "commit", message="slow")
    # Another client, meanwhile: looking works at once, changing waits for its turn and can be given up.
    assert client.ask(name, "pulse")["key"]
    assert client.ask(name, "history")["commits"][0]["subject"] == "first"
    waiting = begin(client, name, "create_branch", name="late")
    answer = wait_for(client, waiting, lambda a: a.json().get("progress"))
    assert "waiting" in answer.json()["progress"]["what"]
    assert client.send("DELETE", f"tasks/{waiting}").status_code == 204
    answer = wait_for(client, waiting, lambda a: a.status_code != 202)
    assert (answer.status_code, answer.json()["message"]) == (409, "interrupted")
    assert client.send("GET", f"tasks/{task}").status_code == 202
    gate.touch()
    answer = wait_for(client, task, lambda a: a.status_code != 202)
    assert answer.status_code == 200
    assert client.send("GET", f"tasks/{task}").status_code == 404  # Told once, it is forgotten.
    assert client.ask(name, "history")["commits"][0]["subject"] == "slow"
    assert [one["name"] for one in client.ask(name, "branches")["branches"]] == ["main"]


def test_two_clients_at_once(client: Client, place: Repo, name: str) -> None:
    """Each change is whole, whoever makes it."""
    change(place, a=1)
    start = threading.Barrier(2)

    def both(number: int) -> int:
        start.wait()
        sent = client.send("POST", "ask/panel/commit", {"repository": name, "told": {"message": f"by {number}"}})
        while sent.status_code == 202:
            sent = client.send("GET", f"tasks/{sent.json()['task']}")
        return sent.status_code

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(both, range(2)))
    assert statuses == [200, 409]  # There was just one thing to commit.
    assert len(client.ask(name, "history")["commits"]) == 2
    place.git("fsck", "--strict")
