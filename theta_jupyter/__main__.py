"""``python -m theta_jupyter``: the command line, as Git's alias starts it."""

from __future__ import annotations

import os
import sys

from theta_jupyter.cli import main

# An alias starts at the top of the work tree, and Git says where the user was.
prefix = os.environ.pop("GIT_PREFIX", "")
if prefix:
    os.chdir(prefix)
sys.exit(main())
