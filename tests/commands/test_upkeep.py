"""``du``, ``gc`` and ``fsck`` as commands: their arguments, what they print, how they end, and how they complete."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import ShellComplete

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors
from theta_jupyter import Repository
from theta_jupyter.cli import main
from theta_jupyter.collecting import GRACE
from theta_jupyter.commands import Session, theta
from theta_jupyter.results import size_text
from theta_jupyter.upkeep import Amount, Checked, Collected, Fault, Loss, Usage, Use

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.repo import Repo

OLD = 1_000_000_000


@pytest.fixture
def two(repo: Repo) -> Repo:
    """A repository with two versions of its model, and objects that nothing needs."""
    write(b=1, wide=2)
    Repository().commit("second")
    repo.worktree.store.write(b"x" * 1000)
    for name in repo.objects:
        os.utime(repo.worktree.store.path(name), (OLD, OLD))
    return repo


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(list(arguments)) == status
    out, err = capsys.readouterr()
    assert err == ""
    return out


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) in {1, 2}
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_du(two: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "du").splitlines()
    found = Repository().du()
    ratio = 100 * (found.ratio or 0)
    assert lines[0] == (f"2 versions in {size_text(found.needed)} instead of {size_text(found.whole)} ({ratio:.0f} %)")
    assert [line.split() for line in lines[1:4]] == [
        ["commit", "subject", "models", "stored", "needed", "shared", "as", "files"],
        *(
            [
                use.name[:7],
                title,
                MODEL,
                *" ".join(map(size_text, (use.stored, use.needed, use.shared, use.whole))).split(),
            ]
            for use, title in zip(found.uses, ("second", "first"), strict=True)
        ),
    ]
    rest = "1 kB is of other versions or needed by none: git theta gc --dry-run"
    assert lines[4:] == [
        "stored: new with this version; shared: also needed by other versions of the list",
        f"on this disk: {len(two.objects)} objects, {size_text(found.disk)}; {rest}",
        f"the cache has {size_text(sum(file.stat().st_size for file in (two.theta / 'cache').iterdir()))}",
    ]
    assert said(capsys, "du", "-n1", "HEAD", "--", MODEL).splitlines()[4] == "and 1 more: -n 2"


def test_du_of_branches_and_tensors(two: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    two.git("branch", "other", "HEAD~1")
    lines = said(capsys, "du", "--branches").splitlines()
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["branch", "subject", "versions"],
        ["main", "second", "2"],
        ["other", "first", "1"],
    ]
    assert said(capsys, "du", "--branches", "other").splitlines()[2] == lines[3]
    lines = said(capsys, "du", "--tensors").splitlines()
    assert lines[2].split()[:3] == ["wide", MODEL, "2"]
    assert lines[7].split()[:2] == ["(not", "tensors)"]
    assert failed(capsys, "du", "--tensors", "--branches").startswith("error: --branches and --tensors are two lists")
    assert failed(capsys, "du", "nothing").startswith("error: 'nothing' is not a commit, branch or tag")
    assert failed(capsys, "du", "--", "nothing").startswith("error: nothing was never a model here\n  what is: ")
    assert "0 is not in the range" in failed(capsys, "du", "-n0")


def test_gc(two: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Repository().gc(dry_run=True).needed
    size = f"{size_text(kept.size):>6}"
    assert said(capsys, "gc", "--dry-run").splitlines()[:5] == [
        "would free 1 kB",
        "                 objects    size",
        "  to be deleted        1    1 kB  nothing needs them",
        f"  needed               {kept.count}  {size}",
        "nothing was deleted; do it with: git theta gc",
    ]
    two.worktree.store.freshen(two.objects)
    assert said(capsys, "gc").splitlines()[:4] == [
        "nothing to delete",
        "          objects    size",
        "  recent        1    1 kB  nothing needs them, but they were in use in the last 14 days",
        f"  needed        {kept.count}  {size}",
    ]
    for name in two.objects:
        os.utime(two.worktree.store.path(name), (OLD, OLD))
    left = two.worktree.store.temporary()
    left = left.with_name(left.name.replace(f".{os.getpid()}.", f".{1 << 29}."))
    left.write_bytes(b"x" * 5000)
    assert said(capsys, "gc", "--grace", "0").splitlines()[:5] == [
        "freed 6 kB",
        "             objects    size",
        "  deleted          1    1 kB  nothing needs them",
        f"  needed           {kept.count}  {size}",
        "  leftovers             5 kB  of commands that were killed; deleted",
    ]
    assert failed(capsys, "gc", "--grace", "-1") == "error: a grace period of -1.0 days makes no sense\n"
    two.check(safetensors(b=1, wide=2))


def test_the_default_is_git_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert theta.commands["gc"].params[1].default == GRACE
    assert main(["gc", "-h"]) == 0
    assert "14.0" in capsys.readouterr().out


def test_fsck(two: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    def looked() -> str:
        return f"{len(two.objects)} objects ({size_text(Repository().du().disk)}) checked"

    assert said(capsys, "fsck").splitlines() == [
        f"all is well: 2 versions, 7 tensors, {looked()}",
        "1 object not needed by what was checked; see: git theta gc --dry-run",
    ]
    assert said(capsys, "fsck", "--quick").startswith(f"all is well: 2 versions, {looked()}\n")
    lost = two.manifest().records["wide"].nodes[-1].place.object
    path = two.worktree.store.path(lost)
    path.unlink()
    expected = [
        f"1 version of 2 cannot be rebuilt: {looked()}",
        "  commit   model            lost  tensors  because",
        f"  {two.head()[:7]}  {MODEL}  1 of 5  wide     object {lost[:12]} is missing",
        "1 of 2 versions can be rebuilt",
        f"{MODEL}: the newest that can is of {two.head('HEAD~1')[:7]}",
        f"missing: {os.path.relpath(path)}",
        "no remote is known to have that: copy it from another clone, or from a backup",
        "1 object not needed by what was checked; see: git theta gc --dry-run",
    ]
    for options in ([], ["--quick"], ["--all"]):
        assert said(capsys, "fsck", *options, status=1).splitlines() == expected
    found = json.loads(said(capsys, "fsck", "--json", status=1))
    assert found["losses"][0]["tensors"] == ["wide"]
    assert found == Repository().fsck().to_dict()


def test_in_a_bare_repository(bare: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    os.chdir(bare.top)
    for arguments in (["du"], ["du", "main", "--", MODEL], ["du", "main"]):
        assert said(capsys, *arguments).startswith("1 version in ")
    assert said(capsys, "gc").startswith("nothing to delete\n")
    assert said(capsys, "fsck").startswith("all is well: 1 version, ")
    assert "is not in the work tree" in failed(capsys, "status")


def test_json_is_what_the_result_holds(two: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "du", "--json"))
    assert found == Repository().du().to_dict()
    assert found["ratio"] == found["needed"] / found["whole"]
    assert json.loads(said(capsys, "gc", "-n", "--json")) == Repository().gc(dry_run=True).to_dict()
    assert two.status() == ""


def test_in_a_notebook(two: Repo) -> None:
    assert [*Repository().du().to_pandas()["title"]] == ["second", "first"]
    bundle = Repository().gc(dry_run=True)._repr_mimebundle_()
    assert "do it with: %theta gc" in bundle["text/plain"]
    assert "<table>" in bundle["text/html"]
    assert two.objects


HOSTILE = "<b>\x1b[31m"


def test_hostile_text_is_shown_not_obeyed() -> None:
    results: list[Any] = [
        Usage("tensor", (Use(HOSTILE, HOSTILE, (HOSTILE,), 1, 1, 1, 0, 1),), 0, 1, 1, 1, 0, 1, 1, 0),
        Checked(
            *(1, 1, 0, 1, 0, 0, 1),
            faults=(Fault("0" * 64, "damaged", HOSTILE, True, (HOSTILE,)),),
            losses=(Loss(HOSTILE, "1" * 40, HOSTILE, (HOSTILE,), 1, HOSTILE),),
            standing={HOSTILE: "1" * 40},
            unchecked=(HOSTILE,),
        ),
    ]
    for result in results:
        assert "\x1b" not in result.text()
        assert "<b>" not in result.html()


def test_many_of_a_kind_are_counted() -> None:
    faults = tuple(Fault(f"{n:064}", "damaged", f"path-{n}", True, ("origin",)) for n in range(8))
    names = tuple(f"tensor-{n}" for n in range(8))
    found = Checked(8, 1, 0, 1, 0, 0, 1, faults, (Loss(MODEL, "1" * 40, "", names, 9, "why"),))
    text = found.text()
    assert "8 of 9" in text
    assert "tensor-4, and 3 more" in text
    assert "damaged: path-4\nand 3 more like these\norigin should have that: delete what is damaged, then: " in text
    assert "path-5" not in text


def test_what_was_spared_is_told() -> None:
    found = Collected(Amount(), 0, Amount(), Amount(), 2, 14.0, 0)
    assert found.text() == "nothing to delete\n2 more came into use meanwhile, and stay"


def test_completion(two: Repo, tmp_path: Path) -> None:
    completer = ShellComplete(theta, {"obj": Session()}, "theta", "_THETA_COMPLETE")
    assert {"main", MODEL} <= {item.value for item in completer.get_completions(["du"], "m")}
    assert [item.value for item in completer.get_completions(["fsck"], "--q")] == ["--quick"]
    assert two.top.parent == tmp_path
