"""``python -m theta_jupyter``: the command line, as Git's alias starts it."""

from __future__ import annotations

import os
import sys

from theta_jupyter.cli import main

# An alias starts at the top of the work tree, and Git says where the user was. In a linked work tree it also names its
# folder, but not the top: then the current folder would be taken for it.
if "GIT_DIR" in os.environ and "GIT_WORK_TREE" not in os.environ and os.path.lexists(".git"):
    os.environ["GIT_DIR"] = os.path.abspath(os.environ["GIT_DIR"])  # noqa: PTH100 - a link is taken where it stands
    os.environ["GIT_WORK_TREE"] = os.getcwd()  # noqa: PTH109 - text, as the environment is
prefix = os.environ.pop("GIT_PREFIX", "")
if prefix:
    os.chdir(prefix)
sys.exit(main())
