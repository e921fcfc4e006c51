"""One thread for linear algebra, while there are several of ours.

Tensors are worked on side by side, a thread for each processor. If each of them lets the linear algebra library start
as many again, these wait for each other most of the time, and on a busy machine nearly all of it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_thread"]

_lock = threading.Lock()
_users = 0
_limits: Any = None


@functools.cache
def _controller() -> Any:
    import numpy as np  # noqa: F401 - the library must be there to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let the linear algebra library work in the thread that calls it, until the last who asked for that leaves.

    The setting is the process's; results may differ in their last bits, as between machines, so nothing that is stored
    may depend on them.
    """
    global _users, _limits  # noqa: PLW0603 - the setting is the process's, too
    with _lock:
        _users += 1
        if _users == 1:
            _limits = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limits.restore_original_limits()
                _limits = None
