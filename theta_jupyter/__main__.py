"""``python -m theta_jupyter``: the command line, as Git's alias starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from theta_jupyter.cli import main

# An alias starts at the top of the work tree, and Git says where the user was. Where `.git` is a file, as in a linked
# work tree, it also names the folder that is named there, but not the top. Without that, Git finds both from anywhere.
named, link = os.environ.get("GIT_DIR"), Path(".git")
if named and "GIT_WORK_TREE" not in os.environ and link.is_file():
    folder = Path(os.fsdecode(link.read_bytes()).removeprefix("gitdir: ").rstrip("\r\n"))
    if folder.resolve() == Path(named).resolve():
        del os.environ["GIT_DIR"]
prefix = os.environ.pop("GIT_PREFIX", "")
if prefix:
    os.chdir(prefix)
sys.exit(main())
