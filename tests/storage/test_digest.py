"""Files are hashed by all processors, and by one in a process that was forked."""

from __future__ import annotations

import subprocess
import sys

from blake3 import blake3

from theta_jupyter.storage.digest import hashed

FORKED = """
import os, sys
from theta_jupyter.storage.digest import hashed
data = bytes(10_000_000)
first = hashed(data)
child = os.fork()
if not child:
    os._exit(0 if hashed(data) == first else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_it_is_the_hash() -> None:
    for size in (0, 1, 100_000, 3_000_000):
        assert hashed(memoryview(bytes(size))) == blake3(bytes(size)).hexdigest()


def test_in_a_process_that_was_forked() -> None:
    """Threads do not survive a fork; whoever waited for them would wait for ever."""
    subprocess.run([sys.executable, "-P", "-c", FORKED], timeout=60, check=True)
