"""New tensors straight into the store, without a file around them: what a merge computes.

Each is encoded as if it had been cut from a file, may rest on the versions it came from, and gets the record that the
clean filter would give it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from theta_jupyter.storage.pool import Progress, each, silent
from theta_jupyter.storage.snapshot import Bundler, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor

    from theta_jupyter.checkpoints.base import View
    from theta_jupyter.storage.manifest import Record
    from theta_jupyter.storage.objects import ObjectStore
    from theta_jupyter.storage.tensors import Chain

__all__ = ["Made", "compose"]

T = TypeVar("T")


class Made(NamedTuple):
    """A tensor that was made.

    Parameters
    ----------
    view
        Its name and type, and where it lies in its storage, whose number is not looked at.
    data
        The bytes of the storage.
    bases
        What it may rest on.
    remark
        What to say of it.
    """

    view: View
    data: memoryview
    bases: Sequence[Chain] = ()
    remark: str = ""


def compose(
    what: str,
    make: Callable[[T], Made],
    items: Iterable[T],
    size: Callable[[T], int],
    store: ObjectStore,
    progress: Progress = silent,
    *,
    copies: int = 4,
    executor: Executor | None = None,
) -> dict[str, tuple[Record, str]]:
    """Make tensors and store them, several at once.

    Parameters
    ----------
    what
        The work, in a word, for the progress.
    make
        Makes one.
    size, copies
        Bytes of an item, and how many times that is needed in memory while it is made.
    executor
        Where to; None for threads of this process.

    Returns
    -------
    dict
        Record and remark of each, by name.
    """
    bundler = Bundler(store)
    found: dict[str, tuple[Record, str]] = {}

    ordered = sorted(items, key=lambda item: -size(item))  # The longest first, so that no thread is left with it.
    work = partial(_composed, make, store)
    for name, record, payload, remark in each(what, work, ordered, size, progress, copies=copies, executor=executor):
        found[name] = record, remark
        if payload:
            bundler.add(name, payload)
    for name, place in bundler.finish().items():
        record, remark = found[name]
        *bases, last = record.nodes
        nodes = (*bases, msgspec.structs.replace(last, place=place))
        found[name] = msgspec.structs.replace(record, nodes=nodes), remark
    return found


def _composed(make: Callable[[T], Made], store: ObjectStore, item: T) -> tuple[str, Record, bytes, str]:
    made = make(item)
    stored = put(made.view, made.data, made.bases, store)
    store.nearby.keep(stored.record.blake3, made.data)
    return made.view.name, stored.record, stored.payload, made.remark
