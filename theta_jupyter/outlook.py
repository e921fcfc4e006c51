"""What is known of tensors in conflict, whatever is chosen: how two changes stand to each other, what can merge them.

Of ten thousand tensors it takes a while to find out, and a choice asks again and again: so what was found is kept, by
the blobs of the versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from theta_jupyter import blending
from theta_jupyter.merges.base import find, installed
from theta_jupyter.merges.preview import Row, Standing, estimated, measured
from theta_jupyter.merges.threeway import CONFLICTS, STRUCTURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from theta_jupyter.conflicts import Conflict
    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merges.base import Strategy
    from theta_jupyter.merges.blend import Part
    from theta_jupyter.merges.plan import Plan
    from theta_jupyter.storage.manifest import Record

__all__ = ["Outlook"]

QUICK = 2000
"""Tensors without a sketch that are read at once to say how their changes stand to each other."""
SMALL = 1 << 20


class Outlook:
    """What has been found out about tensors in conflict."""

    def __init__(self, worktree: Worktree) -> None:
        self._worktree = worktree
        self._standings: dict[tuple[str, ...], Standing] = {}
        self._refused: dict[tuple[str, ...], dict[str, str]] = {}

    def keep(self, conflict: Conflict, name: str, standing: Standing) -> None:
        """Keep what was measured."""
        self._standings[_key(conflict, name)] = standing

    def row(self, conflict: Conflict, name: str, plan: Plan, depth: float) -> Row:
        """A tensor, with what a plan makes of it.

        Parameters
        ----------
        depth
            Where in the model it lies.
        """
        kind = conflict.kind(name)
        index = plan.rule_for(name, conflict.path) if kind in CONFLICTS else None
        rule = plan.rules[index] if index is not None else None
        refusals = self.refusals(conflict, name) if kind in CONFLICTS else {}
        remark = ""
        if rule and rule.strategy in refusals:
            remark = f"not by {rule.strategy}: {refusals[rule.strategy]}"
            rule, index = None, None
        parts = conflict.parts(name)
        ours, theirs = parts.get("ours"), parts.get("theirs")
        shown_part = ours or theirs or parts.get("base")
        apart = bool(ours and theirs and ours.record.shape != theirs.record.shape)
        strategy, values = rule.strategy if rule else "", rule.values(depth, 2) if rule else {}
        if name == STRUCTURE and rule and not find(rule.strategy).takes:
            strategy, values = "ours", {}
        return Row(
            name,
            kind,
            shown_part.record.dtype if shown_part else "",
            shown_part.record.shape if shown_part else (),
            ours.record.shape if ours and apart else None,
            theirs.record.shape if theirs and apart else None,
            self._standing(conflict, name, parts),
            strategy,
            tuple(values.items()),
            index,
            tuple(refusals.items()),
            remark,
        )

    def undecided(self, conflict: Conflict, plan: Plan) -> Iterator[str]:
        """Names of what a plan does not decide."""
        for name in conflict.undecided:
            index = plan.rule_for(name, conflict.path)
            if index is None or plan.rules[index].strategy in self.refusals(conflict, name):
                yield name

    def refusals(self, conflict: Conflict, name: str) -> dict[str, str]:
        """Why strategies do not apply to a tensor, by strategy."""
        key = _key(conflict, name)
        if key not in self._refused:
            of = _records(conflict, name)
            found = ((each, self._refusal(strategy, conflict, name, of)) for each, strategy in installed().items())
            self._refused[key] = {each: reason for each, reason in found if reason}
        return self._refused[key]

    def measure(self, conflict: Conflict, names: Sequence[str]) -> None:
        """Read tensors that are too small for a sketch, where they are here: it costs no more than looking."""
        store, count = self._worktree.store, 0
        for name in names:
            key = _key(conflict, name)
            parts = conflict.parts(name)
            if key in self._standings or not {"ours", "theirs"} <= parts.keys():
                continue
            if count >= QUICK:
                return
            records = [part.record for part in parts.values()]
            if any(r.sketch or r.nbytes > SMALL for r in records) or len({(r.shape, r.nbytes) for r in records}) > 1:
                continue
            if store.missing({place.object: place.size for r in records for place in r.objects}):
                continue
            versions = {side: blending.version(self._worktree, part) for side, part in parts.items()}
            self._standings[key] = measured(versions.get("base"), versions["ours"], versions["theirs"])
            count += 1

    def _standing(self, conflict: Conflict, name: str, parts: Mapping[str, Part]) -> Standing:
        key = _key(conflict, name)
        if key not in self._standings:
            of = {side: part.record for side, part in parts.items()}
            self._standings[key] = estimated(of.get("base"), of.get("ours"), of.get("theirs"))
        return self._standings[key]

    def _refusal(
        self, strategy: Strategy, conflict: Conflict, name: str, of: Mapping[str, Record] | None = None
    ) -> str:
        if name == STRUCTURE:
            if strategy.takes in {"ours", "theirs"} or (not conflict.whole and not strategy.takes):
                return ""
            return "nothing can be mixed here: take ours or theirs" if conflict.whole else "take ours or theirs"
        of = of or _records(conflict, name)
        return blending.refusal(strategy, (of.get("ours"), of.get("theirs")), of.get("base"))


def _records(conflict: Conflict, name: str) -> dict[str, Record]:
    return {side: part.record for side, part in conflict.parts(name).items()}


def _key(conflict: Conflict, name: str) -> tuple[str, ...]:
    return (*conflict.key, name)
