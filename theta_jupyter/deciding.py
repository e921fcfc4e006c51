"""A file in several versions, and what a plan makes of it: what settled, what is to be computed, what is left.

Nothing is read here but manifests. The merge in progress, a merge of many branches, and a candidate that is tried all
decide in this one place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from theta_jupyter import blending
from theta_jupyter.blending import Task
from theta_jupyter.errors import RequestError
from theta_jupyter.merges.base import find
from theta_jupyter.merges.plan import depths
from theta_jupyter.merges.structure import assemble, same
from theta_jupyter.merges.threeway import STRUCTURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.conflicts import Conflict
    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merges.blend import Part
    from theta_jupyter.merges.plan import Plan
    from theta_jupyter.merges.threeway import Side
    from theta_jupyter.storage.manifest import Manifest, Record

__all__ = ["Decided", "Versions", "assembled", "decide", "of_conflict"]


@dataclass(frozen=True)
class Versions:
    """A file in any number of versions.

    Parameters
    ----------
    path
        From the top.
    base
        The common ancestor, if there is one.
    models
        Ours first.
    labels
        What to call the models.
    tensors
        The parts of each tensor by its name in the result: one for every model, None where it has none; then the
        base's.
    conflicts
        Names that did not settle by themselves; None if that is to be found out by what the versions have.
    whole
        Whether nothing can be mixed: the file is that of the first model or the last.
    """

    path: str
    base: Manifest | None
    models: tuple[Manifest, ...]
    labels: tuple[str, ...]
    tensors: Mapping[str, tuple[tuple[Part | None, ...], Part | None]]
    conflicts: frozenset[str] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Decided:
    """What a plan makes of a file.

    Parameters
    ----------
    records
        Of the tensors that settled, or are taken from a version.
    tasks
        Those to be computed.
    left
        Names that nothing was decided for, and why.
    prefer
        The side whose structure is taken where that is in conflict; empty if no rule says which.
    """

    records: Mapping[str, Record]
    tasks: tuple[Task, ...]
    left: Mapping[str, str]
    prefer: Side | Literal[""] = ""


def of_conflict(conflict: Conflict, labels: Sequence[str]) -> Versions | None:
    """A file in conflict; None if a side has no such model."""
    if conflict.ours is None or conflict.theirs is None or conflict.merged is None:
        return None
    tensors = {}
    for name in conflict.merged.versions:
        parts = conflict.parts(name)
        tensors[name] = (
            (_labelled(parts.get("ours"), labels[0]), _labelled(parts.get("theirs"), labels[1])),
            parts.get("base"),
        )
    models, undecided = (conflict.ours, conflict.theirs), frozenset(conflict.undecided)
    return Versions(conflict.path, conflict.base, models, tuple(labels), tensors, undecided, conflict.whole)


def decide(versions: Versions, plan: Plan) -> Decided:
    """Let a plan decide what is in conflict, or with ``all`` whatever differs."""
    rule = plan.rule_for(STRUCTURE, versions.path)
    takes = find(plan.rules[rule].strategy).takes if rule is not None else ""
    prefer: Side | Literal[""] = "" if rule is None else "theirs" if takes == "theirs" else "ours"
    if versions.whole:
        if takes not in {"ours", "theirs"}:
            return Decided({}, (), {STRUCTURE: "nothing can be mixed here: take ours or theirs"})
        return Decided(versions.models[-1 if takes == "theirs" else 0].records, (), {}, prefer)
    records: dict[str, Record] = {}
    tasks: list[Task] = []
    left: dict[str, str] = {}
    deep = depths(versions.tensors)
    for name in versions.tensors:
        found = _decided(versions, name, plan, deep[name])
        if isinstance(found, Task):
            tasks.append(found)
        elif isinstance(found, str):
            left[name] = found
        elif found is not None:
            records[name] = found
    return Decided(records, tuple(tasks), left, prefer)


def _decided(versions: Versions, name: str, plan: Plan, depth: float) -> Record | Task | str | None:
    """What becomes of a tensor: a version of it, None to leave it out, something to compute, or why nobody knows."""
    parts, base = versions.tensors[name]
    found = [part.record if part else None for part in parts]
    ground = base.record if base else None
    changed = [index for index, record in enumerate(found) if not same(record, ground)]
    if versions.conflicts is None:
        settled = not changed or all(same(found[index], found[changed[0]]) for index in changed)
    else:
        settled = name not in versions.conflicts
    # Of a file that no plug-in understood, nothing can be computed.
    computed = plan.all and changed and all(found) and not any(model.opaque for model in versions.models)
    index = plan.rule_for(name, versions.path)
    if settled and (not computed or index is None):
        return found[changed[0] if changed else 0]
    if index is None:
        return "no rule speaks of it"
    strategy = find(plan.rules[index].strategy)
    every = strategy.takes or len(parts) == 2 or (plan.all and all(found))
    taking = range(len(parts)) if every else changed
    reason = blending.refusal(strategy, [found[i] for i in taking], ground)
    if reason:
        return f"{strategy.name}: {reason}"
    if strategy.takes:
        return {"ours": found[0], "theirs": found[-1], "base": ground}[strategy.takes]
    values = _for_these(plan.rules[index].values(depth, len(parts)), strategy.name, taking)
    models = tuple(part for i in taking if (part := parts[i]) is not None)
    return Task(name, models, base, strategy.name, values)


def assembled(worktree: Worktree, versions: Versions, decided: Decided, made: Mapping[str, Record]) -> Manifest:
    """Put what settled and what was made into a file.

    Raises
    ------
    RequestError
        If it fits into none, or nobody said whose structure is to be taken.
    """
    records = {**decided.records, **made}
    ours, *others = versions.models
    for other in others:
        found = assemble(records, versions.base, ours, other, decided.prefer or "ours", worktree.store)
        if found and found.undecided and not decided.prefer:
            raise RequestError(f"{versions.path}: {STRUCTURE} cannot be decided: no rule speaks of it")
        if found:
            return found.manifest
    raise RequestError(
        f"{versions.path}: the merged tensors fit into no file that either side has",
        hint=f"take the shapes of one side, and its structure: resolve '{STRUCTURE}' with ours or theirs",
    )


def _labelled(part: Part | None, label: str) -> Part | None:
    return part and replace(part, label=label)


def _for_these(values: Mapping[str, Any], strategy: str, taking: Sequence[int]) -> dict[str, Any]:
    """Parameters for some of the models: what is given for each goes with its model."""
    kinds = {parameter.name: parameter.kind for parameter in find(strategy).parameters}
    return {
        name: tuple(value[index] for index in taking)
        if kinds[name] in {"weights", "checkpoints"} and isinstance(value, tuple)
        else value
        for name, value in values.items()
    }
