"""Trying ways to merge before one is taken: each candidate is built, and the user's own function says what it is worth.

A candidate is computed tensor by tensor as the function's model is filled; nothing of it is written. Only for a
function that wants a file is one made. The user's model is put back as it was.
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theta_jupyter import blending, loading
from theta_jupyter.blending import Statistics
from theta_jupyter.board import Board, Trial
from theta_jupyter.checkpoints.leaves import is_array, is_tensor
from theta_jupyter.conflicts import named, situation
from theta_jupyter.deciding import Decided, Versions, assembled, decide, of_conflict
from theta_jupyter.errors import RequestError, ThetaError
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.joining import begin, of_heads
from theta_jupyter.merges.base import find
from theta_jupyter.merges.plan import Plan, Rule, read
from theta_jupyter.merging import Merge
from theta_jupyter.storage.arrays import Checkpoint, StoredCheckpoint
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.storage.tensors import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merge_state import MergeState

__all__ = ["Measure", "plans", "try_plans"]

MOST_STEPS = 1000


@dataclass(frozen=True)
class Measure:
    """What says what a model is worth.

    Parameters
    ----------
    score
        Given a state dict, tensors by name; or ``into``, filled; or the path of a file. It returns a number.
    into
        A model, or several, as :func:`theta_jupyter.load` fills them. What is in them is put back in the end.
    as_file
        Whether the function wants a file.
    higher_is_better
        What the number means.
    """

    score: Callable[[Any], Any]
    into: Any = None
    as_file: bool = False
    higher_is_better: bool = True


def plans(
    names: Sequence[str], parameters: Mapping[str, Any], sweep: str = "", *, every: bool = False
) -> tuple[str, list[tuple[str, Plan, float | None]]]:
    """Plans to try.

    Parameters
    ----------
    names
        Of strategies, or of files with plans.
    parameters
        Each strategy gets those that it has.
    sweep
        A range of one parameter of one strategy, ``density=0.1:0.9:5``: from, to, how many.

    Returns
    -------
    name, plans
        Of the parameter that is swept; and what to call each plan, the plan, and the value.

    Raises
    ------
    RequestError
        If there is no such strategy, a parameter is of none of them, or the range is none.
    """
    if not sweep:
        return "", [(label, plan, None) for label, plan in _candidates(names, parameters, every=every)]
    name, _, values = sweep.partition("=")
    try:
        low, high, count = values.split(":")
        first, last, steps = float(low), float(high), int(count)
        if not (2 <= steps <= MOST_STEPS and math.isfinite(first) and math.isfinite(last)):
            raise ValueError
    except ValueError:
        hint = "as in --sweep density=0.1:0.9:5, from, to, how many"
        raise RequestError(f"{sweep!r} is not a range", hint=hint) from None
    if len(names) != 1:
        raise RequestError("a sweep is of one strategy", hint="--try ties --sweep density=0.1:0.9:5")
    find(names[0]).parameter(name)
    found: list[tuple[str, Plan, float | None]] = []
    for step in range(steps):
        value = float(f"{first + (last - first) * step / (steps - 1):.12g}")
        ((label, plan),) = _candidates(names, {**parameters, name: value}, every=every)
        found.append((label, plan, value))
    return name, found


def try_plans(
    worktree: Worktree,
    branches: Sequence[str],
    trying: Sequence[tuple[str, Plan, float | None]],
    measure: Measure,
    *,
    path: str = "",
    swept: str = "",
    message: str = "",
    progress: Progress = silent,
) -> Board:
    """Build each candidate, and have it scored.

    Parameters
    ----------
    branches
        To be merged into HEAD; none for the merge in progress.
    trying
        What to call each plan, the plan, and the value that is swept.
    measure
        What says what a model is worth.
    path
        Which file is scored; it need not be said if only one is merged.

    Returns
    -------
    Board
        Also when interrupted, with what was scored by then.

    Raises
    ------
    RequestError
        If there is nothing to merge, or it is not clear which file is meant.
    """
    heads = [worktree.resolve(branch) for branch in branches]
    versions = _versions(worktree, heads, branches, path)
    if not any(plan.all for _, plan, _ in trying) and not decide(versions, Plan()).left:
        hint = "git theta merge BRANCH; or every tensor by a strategy: --all"
        raise RequestError("nothing is in conflict: it merges by itself", hint=hint)
    trials: list[Trial] = []
    queue: list[tuple[Trial, Checkpoint]] = []
    for index, label in enumerate(versions.labels):
        who = "theirs" if index else "ours"
        stored = StoredCheckpoint(
            f"{versions.path} of {label}",
            versions.models[index],
            worktree.store,
            fetch=partial(fetch_objects, worktree),
        )
        queue.append((Trial(f"{who}: {label}", "parent"), stored))
    for label, plan, value in trying:
        trial = Trial(label, "candidate", value=value, plan=plan)
        try:
            checked = plan.checked(len(versions.models))
            decided = decide(versions, checked)
            _require(decided)
            queue.append((trial, _Candidate(worktree, versions, decided, label)))
        except ThetaError as error:
            queue.append((replace(trial, failed=error.message), _Nothing("", [])))
    note = ""
    with _put_back(measure.into):
        for number, (trial, checkpoint) in enumerate(queue):
            if trial.failed:
                trials.append(trial)
                continue
            began = time.perf_counter()
            try:
                progress(f"trying {number + 1} of {len(queue)}: {trial.label}", 0, 0)
                value = _scored(worktree, versions, checkpoint, measure, progress)
                trials.append(replace(trial, score=value, seconds=time.perf_counter() - began))
            except KeyboardInterrupt:
                note = f"interrupted: {len(queue) - number} were not tried"
                break
            except ThetaError as error:
                trials.append(replace(trial, failed=error.message, seconds=time.perf_counter() - began))
            except Exception as error:  # noqa: BLE001 - the user's own function
                words = f"{type(error).__name__}: {error}".splitlines()[0]
                trials.append(replace(trial, failed=words, seconds=time.perf_counter() - began))
    title = situation(worktree).title or f"Merging {', '.join(branches)} into {versions.labels[0]}"
    apply = partial(_apply, worktree, tuple(branches), message)
    return Board(title, tuple(trials), measure.higher_is_better, swept, note, apply)


class _Nothing(Checkpoint):
    """Stands for a candidate that cannot be."""


class _Candidate(Checkpoint):
    """A merged file, computed a tensor at a time, as it is read."""

    def __init__(self, worktree: Worktree, versions: Versions, decided: Decided, label: str) -> None:
        self._records = decided.records
        self._tasks = {task.name: task for task in decided.tasks}
        super().__init__(f"{versions.path} by {label}", sorted({*self._records, *self._tasks}))
        self.versions, self.decided, self._worktree = versions, decided, worktree
        self._statistics = Statistics(worktree)
        self._fetch_all()

    def _fetch_all(self) -> None:
        blending.fetch(self._worktree, self._tasks.values())
        needed = {place.object: place.size for record in self._records.values() for place in record.objects}
        if self._worktree.store.missing(needed):
            fetch_objects(self._worktree, needed)

    def _read(self, name: str) -> tuple[memoryview, Any]:
        record = self._records.get(name)
        owner = record.of if record is not None and record.of else name
        if owner in self._tasks:
            found = blending.merged(self._worktree, self._tasks[owner], self._statistics)
            return found.data, record if record is not None else blending.view_of(self._tasks[owner], found)
        held = self._records[owner]
        return decode(held, self._worktree.store, owner), record


def _candidates(names: Sequence[str], parameters: Mapping[str, Any], *, every: bool) -> list[tuple[str, Plan]]:
    found: list[tuple[str, Plan]] = []
    unused = set(parameters)
    for name in names:
        if name.endswith((".yaml", ".yml", ".json")):
            found.append((name, read(Path(name))))
            continue
        known = {key for p in find(name).parameters for key in (p.name, p.keyword)}
        given = {key: value for key, value in parameters.items() if key in known}
        unused -= given.keys()
        rule = Rule("*", name, given)
        found.append((rule.call(), Plan((rule,), every)))
    if not found:
        raise RequestError("try what?", hint="--try linear,ties,slerp")
    if unused:
        hint = "see: git theta strategies NAME"
        raise RequestError(f"no strategy that is tried has a parameter {min(unused)!r}", hint=hint)
    return found


def _versions(worktree: Worktree, heads: Sequence[str], branches: Sequence[str], path: str) -> Versions:
    if heads:
        if situation(worktree).kind:
            raise RequestError("a merge is in progress", hint="try for that one: leave the branch out")
        here = named(worktree, worktree.resolve("HEAD")).name
        found = of_heads(worktree, heads, [here, *branches], [path] if path else [])
        found = [versions for versions in found if any(m != versions.models[0] for m in versions.models)]
    else:
        now = situation(worktree)
        conflicts = Merge(worktree).conflicts().values()
        each = (of_conflict(conflict, (now.ours.name, now.theirs.name)) for conflict in conflicts)
        found = [versions for versions in each if versions and path in {"", versions.path}]
    if not found:
        raise RequestError("there is no model to merge", hint="git theta merge BRANCH --try linear --score NAME")
    if len(found) > 1:
        raise RequestError(f"which model is scored? {', '.join(v.path for v in found)}", hint="say it: --file PATH")
    return found[0]


def _require(decided: Decided) -> None:
    for name, reason in decided.left.items():
        raise RequestError(f"{name}: {reason}")


def _scored(
    worktree: Worktree, versions: Versions, checkpoint: Checkpoint, measure: Measure, progress: Progress
) -> float:
    """Hand a model over, and read what comes back as a number."""

    @contextmanager
    def file() -> Iterator[Path]:
        if isinstance(checkpoint, StoredCheckpoint):
            manifest = checkpoint.manifest
        else:
            assert isinstance(checkpoint, _Candidate)  # noqa: S101 - there are no others
            made = blending.blended(worktree, checkpoint.decided.tasks, progress)
            manifest = assembled(worktree, versions, checkpoint.decided, made)
        with loading.rebuilt(worktree, manifest, progress) as path:
            named = path.with_name(f"{path.name}{Path(versions.path).suffix}")
            path.rename(named)
            try:
                yield named
            finally:
                named.unlink(missing_ok=True)

    score, into = measure.score, measure.into
    if measure.as_file:
        with file() as path:
            return _number(score(path))
    if into is not None:
        loading.fill(into, loading.Version(versions.path, lambda names: _only(checkpoint, names), file))
        return _number(score(into))
    return _number(score(checkpoint.to_torch()))


def _only(checkpoint: Checkpoint, names: Sequence[str] | None) -> Checkpoint:
    return checkpoint if names is None else _Some(checkpoint, names)


class _Some(Checkpoint):
    """Some tensors of a checkpoint."""

    def __init__(self, whole: Checkpoint, names: Sequence[str]) -> None:
        super().__init__("some", names)
        self._whole = whole

    def _read(self, name: str) -> tuple[memoryview, Any]:
        return self._whole._read(name)  # noqa: SLF001 - of its own kind


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RequestError(f"the score is a {type(value).__name__}, not a number") from None


@contextmanager
def _put_back(into: Any) -> Iterator[None]:
    """Put live objects back as they are now, at the end."""
    restore = _kept(into)
    try:
        yield
    finally:
        restore()


def _kept(obj: Any) -> Callable[[], None]:
    """Remember what is in an object, and in those that a dict or a list of them holds; return what puts it back."""
    if callable(getattr(obj, "load_state_dict", None)):
        before = copy.deepcopy(obj.state_dict())
        return lambda: obj.load_state_dict(before)
    if isinstance(obj, dict | list | tuple):
        members = dict(obj) if isinstance(obj, dict) else list(obj)
        inner = [_kept(value) for value in (obj.values() if isinstance(obj, dict) else obj)]

        def put_back() -> None:
            for restore in inner:
                restore()
            if isinstance(obj, dict):  # Plain values in it were replaced.
                obj.update(members)

        return put_back
    if is_tensor(obj):
        values = obj.detach().clone()
        return lambda: obj.data.copy_(values)
    if is_array(obj):
        array = obj.copy()
        return lambda: obj.__setitem__(..., array)
    return lambda: None


def _apply(worktree: Worktree, branches: tuple[str, ...], message: str, plan: Plan) -> MergeState:
    """Make a plan that of the merge in progress, or begin one with it."""
    if situation(worktree).kind:
        return Merge(worktree).follow(plan)
    return begin(worktree, branches, plan, message, finish=False)
