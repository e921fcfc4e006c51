"""The package as people install it: one version, a complete wheel, a light import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from theta_jupyter import __version__

ROOT = Path(__file__).parent.parent
NOT_SOURCES = {
    ".git",
    ".venv",
    ".venv-oldest",
    "build",
    "dist",
    "labextension/lib",
    "node_modules",
    "theta_jupyter/labextension",
    "theta_jupyter/static",
}


def read_json(name: str) -> Any:
    return json.loads((ROOT / name).read_text())


def test_there_is_one_version() -> None:
    lock = read_json("package-lock.json")
    versions = {__version__, read_json("package.json")["version"], lock["version"], lock["packages"][""]["version"]}
    assert versions == {__version__}


def test_the_lock_says_what_and_not_where_from() -> None:
    packages = read_json("package-lock.json")["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []


def test_the_lock_serves_other_platforms() -> None:
    """When npm cannot find one of the packages it is asked for, it leaves out the binaries of other platforms."""
    packages = read_json("package-lock.json")["packages"]
    for platform in "darwin-arm64", "linux-arm64-gnu", "linux-x64-gnu", "win32-x64-msvc":
        assert f"node_modules/@rspack/binding-{platform}" in packages


def test_importing_the_package_imports_only_itself() -> None:
    """Every Git command on a tracked file imports it."""
    script = "import sys; before = set(sys.modules); import theta_jupyter; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    packages = {module.partition(".")[0] for module in run.stdout.split()}
    assert packages - sys.stdlib_module_names == {"theta_jupyter"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that `pip install .` makes of a clean checkout."""
    checkout = tmp_path_factory.mktemp("checkout") / "theta-jupyter"

    def not_sources(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if (Path(folder) / name).relative_to(ROOT).as_posix() in NOT_SOURCES}

    shutil.copytree(ROOT, checkout, ignore=not_sources)
    run = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"],
        cwd=checkout,
        # The lock file's packages are in npm's cache already, if `npm ci` put them there.
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "npm_config_prefer_offline": "true",
        },
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    (path,) = (checkout / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_is_complete(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())

    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "theta_jupyter").rglob("*.py")}
    assert sources <= names
    assert "theta_jupyter/py.typed" in names

    installed = f"theta_jupyter-{__version__}.data/data/share/jupyter/labextensions/theta-jupyter"
    package = json.loads(wheel.read(f"{installed}/package.json"))
    assert package["version"] == __version__
    assert f"{installed}/{package['jupyterlab']['_build']['load']}" in names
    assert f"{installed}/install.json" in names
    server = f"theta_jupyter-{__version__}.data/data/etc/jupyter/jupyter_server_config.d/theta_jupyter.json"
    assert json.loads(wheel.read(server)) == {"ServerApp": {"jpserver_extensions": {"theta_jupyter": True}}}
    # What a kernel gives to pages that have no labextension, and the loader that asks for it.
    assert wheel.getinfo("theta_jupyter/static/views.js").file_size > 100_000
    assert wheel.getinfo("theta_jupyter/jupyter/loader.js").file_size < 1024

    entry_points = ConfigParser()
    entry_points.read_string(wheel.read(f"theta_jupyter-{__version__}.dist-info/entry_points.txt").decode())
    assert dict(entry_points["console_scripts"]) == {"git-theta": "theta_jupyter.cli:main"}
    for group in "checkpoints", "updates":
        for module in entry_points[f"theta_jupyter.{group}"].values():
            assert module.replace(".", "/") + ".py" in names
