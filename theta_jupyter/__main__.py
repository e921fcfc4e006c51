"""``python -m theta_jupyter``: the command line, as Git's alias starts it."""

from __future__ import annotations

import sys

from theta_jupyter.cli import main

sys.exit(main())
