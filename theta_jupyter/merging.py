"""The merge in progress: what is in conflict, what was chosen, what it would give, and how it ends.

It is read from Git each time it is asked for, so it does not matter who began it, nor how: ``git merge`` in a terminal,
a rebase, a notebook whose kernel has died. To choose writes a rule into a plan and computes nothing; a preview computes
one tensor and writes nothing; only the end computes what was chosen, stages it, and commits.
"""

from __future__ import annotations

import shlex
import threading
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from theta_jupyter import blending, byhand, changes, ending, staging
from theta_jupyter.blending import Statistics, Task
from theta_jupyter.choices import Choices
from theta_jupyter.conflicts import Conflict, Situation, conflicts, situation
from theta_jupyter.deciding import assembled, decide, of_conflict
from theta_jupyter.errors import KeptError, ManifestError, RequestError
from theta_jupyter.git.roads import at_hand, is_still, stat_of
from theta_jupyter.git.worktree import shown
from theta_jupyter.merge_state import Conflicts, FileState, MergeState
from theta_jupyter.merges.base import find
from theta_jupyter.merges.plan import Plan, Rule, depths
from theta_jupyter.merges.preview import Preview, Row, measured, preview
from theta_jupyter.merges.threeway import CONFLICTS, STRUCTURE, Merged
from theta_jupyter.outlook import Outlook
from theta_jupyter.results import Message
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["Merge"]


class Merge:
    """The merge that is in progress in a work tree.

    Parameters
    ----------
    progress
        Told how long work advances.
    """

    def __init__(self, worktree: Worktree, progress: Progress = silent) -> None:
        self.worktree, self.progress = worktree, progress
        self._choices = Choices(worktree)
        self._conflicts: dict[str, Conflict] = {}
        self._outlook = Outlook(worktree)
        self._remarks: list[str] = []
        # Questions come on any thread, one while another is answered.
        self._lock = threading.Lock()

    # What is.

    def conflicts(self) -> dict[str, Conflict]:
        """Files in conflict, as Git has them now."""
        with self._lock:
            self._conflicts = conflicts(self.worktree, self._conflicts)
            return {path: found for path, found in self._conflicts.items() if found.is_model}

    def state(self, outcome: str = "") -> MergeState:
        """Where the merge stands."""
        now = situation(self.worktree)
        models = self.conflicts()
        others = tuple(path for path in self._conflicts if path not in models)
        steps = self._choices.load(_identity(now))
        files = tuple(self._file_state(conflict, steps.plan) for conflict in models.values())
        return MergeState(now, files, others, steps.plan, steps.revision, steps.can_undo, outcome, merge=self)

    def rows(self, path: str, *, settled: bool = False) -> tuple[Row, ...]:
        """The tensors of a file that are in conflict; or those that settled by themselves.

        Raises
        ------
        RequestError
            If the file is not in conflict.
        """
        conflict = self._conflict(path)
        plan = self._plan()
        if conflict.merged is None or (conflict.merged.whole and not settled):
            return (self._outlook.row(conflict, STRUCTURE, plan, 1.0),)
        names = _names(conflict.merged, settled=settled)
        self._outlook.measure(conflict, names)
        deep = depths(conflict.merged.classes)
        return tuple(self._outlook.row(conflict, name, plan, deep.get(name, 1.0)) for name in names)

    def preview(self, path: str, name: str, strategy: str = "", parameters: Mapping[str, Any] | None = None) -> Preview:
        """Read a tensor's versions, and what a strategy makes of them; nothing is written.

        Parameters
        ----------
        strategy
            Empty for what was chosen, or nothing.

        Raises
        ------
        RequestError
            If there is no such tensor, or the strategy cannot merge it.
        """
        conflict = self._conflict(path)
        if conflict.merged is None or name not in conflict.merged.classes:
            raise RequestError(f"{path} has no tensor {name!r} to look at")
        plan = self._plan()
        if strategy:
            plan = replace(plan, rules=(*plan.rules, Rule("*", strategy, parameters or {}).checked()))
        row = self._outlook.row(conflict, name, plan, depths(conflict.merged.classes).get(name, 1.0))
        if row.kind not in CONFLICTS:
            row = replace(row, strategy="", parameters=())
        parts = conflict.parts(name)
        blending.fetch(self.worktree, [Task(name, tuple(parts.values()), None, "ours")])
        versions = {side: blending.version(self.worktree, part) for side, part in parts.items()}
        standing = row.standing
        if {"ours", "theirs"} <= versions.keys() and len({v.shape for v in versions.values()}) == 1:
            standing = measured(versions.get("base"), versions["ours"], versions["theirs"])
            self._outlook.keep(conflict, name, standing)
        row = replace(row, standing=standing)
        result, remark = None, ""
        if row.strategy:
            if row.strategy in {"ours", "theirs", "base"}:
                result = versions.get(row.strategy)
            else:
                task = self._task(conflict, name, row.strategy, dict(row.parameters))
                found = blending.merged(self.worktree, task, Statistics(self.worktree))
                result = blending.as_version(found)
                remark = found.remark
        now = situation(self.worktree)
        labels = now.ours.name, now.theirs.name, now.base.name if now.base else "base"
        return preview(replace(row, remark=remark), labels, versions, result, remark)

    # What is chosen.

    def choose(self, *rules: Rule) -> MergeState:
        """Add rules to the plan; what they decide is computed at the end.

        Raises
        ------
        RequestError
            If a rule is wrong, or speaks of nothing that is in conflict. The plan is then as it was.
        """
        now = self._situation()
        for rule in rules:
            if rule.file and not any(
                rule.matches("", path) or fnmatchcase(path, rule.file) for path in self.conflicts()
            ):
                self._conflict(rule.file)
            self._check(rule)
        plan = self._plan(now)
        # A rule of the same words as the last is that one, said again: a slider is moved in many small steps.
        kept = [old for old in plan.rules if (old.tensors, old.file) not in {(r.tensors, r.file) for r in rules}]
        return self._chosen(now, replace(plan, rules=(*kept, *(rule.checked() for rule in rules))))

    def edit(self, index: int, rule: Rule | None) -> MergeState:
        """Change a rule of the plan, or take it out.

        Raises
        ------
        RequestError
            If there is no such rule, or the new one is wrong.
        """
        now = self._situation()
        plan = self._plan(now)
        rules = list(plan.rules)
        if not 0 <= index < len(rules):
            raise RequestError(f"there is no rule {index + 1}")
        if rule is not None:
            self._check(rule)
        rules[index : index + 1] = [rule.checked()] if rule else []
        return self._chosen(now, replace(plan, rules=tuple(rules)))

    def follow(self, plan: Plan) -> MergeState:
        """Take a plan in place of what was chosen."""
        return self._chosen(self._situation(), plan.checked())

    def undo(self) -> MergeState:
        """Take the last choice back.

        Raises
        ------
        RequestError
            If there is none.
        """
        self._choices.undo(_identity(self._situation()))
        return self.state()

    def forget(self) -> None:
        """Forget all that was chosen, also in a merge like this one before."""
        self._choices.clear()

    # How it ends.

    def resolve(self, progress: Progress | None = None) -> dict[str, Manifest | None]:
        """Compute files as chosen; stored, but not staged.

        Returns
        -------
        dict
            Manifests by path; None where the deletion was chosen.

        Raises
        ------
        RequestError
            If something is still to be decided, or what was chosen does not fit into one file.
        """
        found, plan = self.conflicts(), self._plan()
        for conflict in found.values():
            left = list(self._outlook.undecided(conflict, plan))
            if left:
                more = f" and {len(left) - 1} more" if len(left) > 1 else ""
                raise RequestError(
                    f"{conflict.path}: {left[0]}{more} still to be decided",
                    hint="see what is left with: git theta merge --status",
                )
        return {path: self._resolved(conflict, plan, progress or self.progress) for path, conflict in found.items()}

    def stage(self, progress: Progress | None = None) -> list[str]:
        """Compute files as chosen, stage them, and write them into the work tree; return which."""
        found = self.conflicts()
        lain = {path: stat_of(self.worktree.top / path) for path in found}
        for conflict in found.values():
            self._refuse_changed(conflict)
        there = [(path, c.merged.manifest) for path, c in found.items() if c.merged]
        with at_hand(self.worktree, there):
            return self._stage(found, lain, progress)

    def _stage(
        self, found: Mapping[str, Conflict], lain: Mapping[str, os.stat_result | None], progress: Progress | None
    ) -> list[str]:
        resolved = self.resolve(progress)
        if {path: c.key for path, c in self.conflicts().items()} != {path: c.key for path, c in found.items()}:
            raise RequestError(
                "the merge was changed meanwhile, elsewhere; nothing is staged", hint="git theta merge --status"
            )
        files = {path: (found[path].mode, manifest) for path, manifest in resolved.items() if manifest}
        gone = [path for path, manifest in resolved.items() if manifest is None]
        for path in gone:
            if not is_still(lain[path], self.worktree.top / path):
                raise _saved(path)
        try:
            staging.put(self.worktree, files, lain, progress or self.progress)
        except KeptError as error:
            raise _saved(error.path) from None
        if gone:
            self.worktree.git("rm", "--quiet", "--force", "--", *gone)
        return list(resolved)

    def finish(self, message: str = "", progress: Progress | None = None) -> MergeState:
        """Compute what was chosen, stage it, and go on with what stopped: the merge commit, the rest of a rebase.

        Parameters
        ----------
        message
            Of a merge commit; Git's own if empty.

        Raises
        ------
        RequestError
            If something is still in conflict. Then nothing was changed.
        """
        state = self.state()
        now = state.situation
        if not now.kind:
            raise RequestError("no merge is in progress", hint="begin one with: git theta merge BRANCH")
        if state.others:
            name = shown(state.others[0])
            raise RequestError(f"{name} is still in conflict", hint=f"edit it, then: git add {shlex.quote(name)}")
        if state.plan.rules and not state.files:
            raise RequestError(
                "rules were chosen, but what was in conflict has been staged without them",
                hint="bring the conflict back: git checkout -m -- PATH; or take the rules back: git theta merge --undo",
            )
        decided = [(path, name) for path, c in self.conflicts().items() for name in _decided(c, state.plan)]
        plan = state.plan.used(decided).full()
        self._remarks = []
        staged = self.stage(progress)
        ending.note(self.worktree, now, message, plan)
        self._choices.clear()
        outcome = ending.go_on(self.worktree, now)
        files = f" ({', '.join(map(shown, staged))})" if staged else ""
        after = self.state(f"{outcome}{files}")
        return replace(after, stopped=bool(after.files or after.others), remarks=tuple(self._remarks))

    def abort(self) -> MergeState:
        """Give up, and go back to where it began.

        Raises
        ------
        RequestError
            If there is nothing to go back from, or a file in conflict was saved since.
        """
        now = self._situation()
        for conflict in self.conflicts().values():
            self._refuse_changed(conflict)
        ending.give_up(self.worktree, now)
        self._choices.clear()
        return self.state(f"{now.title}: given up; everything is as it was before")

    # By hand.

    def export(self, folder: Path, paths: Sequence[str] = ()) -> Message:
        """Write every version of the models in conflict into a folder: ``model.ours.safetensors``, and so on.

        Raises
        ------
        RequestError
            If nothing is in conflict, or a file is there already.
        """
        written = byhand.export(self.worktree, self._chosen_ones(paths), folder, self.progress)
        hint = "merge them as you like, then: git theta resolve --import FILE"
        return Message(f"wrote {len(written)} versions to {folder}", (*map(str, written), hint))

    def take(self, source: Path, path: str = "") -> MergeState:
        """Take a file that somebody merged for one in conflict, and stage it.

        Parameters
        ----------
        path
            The one in conflict; it need not be said if there is only one.

        Raises
        ------
        RequestError
            If there is no such file, or it is not clear which one it stands for.
        """
        found = self._chosen_ones([path] if path else [])
        if len(found) > 1:
            raise RequestError(f"which one is {source}?", hint=f"say it: --file {shown(found[0].path)}")
        byhand.take(self.worktree, found[0], source, self.progress)
        if not self.conflicts():
            self.forget()  # It stands in place of what was chosen.
        return self.state()

    def conflict_list(self, globs: Sequence[str] = (), path: str = "") -> Conflicts:
        """Tensors in conflict: those with such names, or all.

        Raises
        ------
        RequestError
            If there are none.
        """
        files = self._chosen_ones([path] if path else [])
        rows = ((c.path, tuple(row for row in self.rows(c.path) if changes.is_called(row.name, globs))) for c in files)
        found = tuple((name, of) for name, of in rows if of)
        if not found:
            what = f"no tensor in conflict is called {' or '.join(globs)}"
            raise RequestError(what, hint="those that are: git theta resolve")
        return Conflicts(situation(self.worktree).title, found, self)

    # In our own words.

    def _refuse_changed(self, conflict: Conflict) -> None:
        """Refuse to replace a file that somebody has saved since the merge stopped."""
        file = self.worktree.top / conflict.path
        if not file.is_file() or file.is_symlink():
            return
        known = [manifest for manifest in (conflict.base, conflict.ours, conflict.theirs) if manifest]
        known += [conflict.merged.manifest] if conflict.merged else []
        try:
            text = changes.text_of(self.worktree, conflict.path, self.progress)
        except ManifestError:
            return  # Git merged it as text: nobody will miss that.
        there = None if text is None else changes.read(text)
        if text is None or there is None or any(_alike(there, manifest) for manifest in known):
            return
        # What Git has, as a result that was written before an interruption, is not lost.
        if not self.worktree.has_blob(text):
            raise _saved(conflict.path)

    def _chosen_ones(self, paths: Sequence[str]) -> list[Conflict]:
        self._situation()
        if paths:
            return [self._conflict(path) for path in paths]
        found = list(self.conflicts().values())
        if not found:
            raise RequestError("no model is in conflict", hint="finish with: git theta merge --continue")
        return found

    def _situation(self) -> Situation:
        now = situation(self.worktree)
        if not now.kind:
            raise RequestError("no merge is in progress", hint="begin one with: git theta merge BRANCH")
        return now

    def _plan(self, now: Situation | None = None) -> Plan:
        return self._choices.load(_identity(now or situation(self.worktree))).plan

    def _chosen(self, now: Situation, plan: Plan) -> MergeState:
        self._choices.add(_identity(now), plan)
        return self.state()

    def _conflict(self, path: str) -> Conflict:
        found = self.conflicts().get(path)
        if found is None:
            raise RequestError(f"{shown(path)} is not a model in conflict", hint="what is: git theta merge --status")
        return found

    def _check(self, rule: Rule) -> None:
        """Refuse a rule that speaks of nothing, or that asks for what cannot be."""
        checked = rule.checked()
        strategy = find(checked.strategy)
        matched = [
            (conflict, name)
            for conflict in self.conflicts().values()
            for name in conflict.undecided
            if checked.matches(name, conflict.path)
        ]
        if not matched:
            raise RequestError(f"no tensor in conflict is called {rule.tensors!r}", hint="what is: git theta resolve")
        refusals = [self._outlook.refusals(conflict, name).get(strategy.name, "") for conflict, name in matched]
        if all(refusals):
            raise RequestError(f"{strategy.name} cannot merge {matched[0][1]!r}: {refusals[0]}")
        Statistics(self.worktree).check(checked.values(0.0, 2), strategy)

    def _file_state(self, conflict: Conflict, plan: Plan) -> FileState:
        merged = conflict.merged
        total = len(conflict.undecided)
        left = len(list(self._outlook.undecided(conflict, plan)))
        if conflict.ours is None and conflict.theirs is None:
            return FileState(conflict.path, total, left, (), whole=True, notes=("both sides deleted or renamed it",))
        if merged is None:
            present = "theirs" if conflict.ours is None else "ours"
            absent = "ours" if conflict.ours is None else "theirs"
            note = f"{absent} deleted the file, {present} changed it; to take {absent} deletes it"
            return FileState(conflict.path, total, left, (), whole=True, notes=(note,))
        counts = Counter(kind for kind in merged.classes.values() if kind not in CONFLICTS)
        notes = (f"only the file as a whole can be taken; of ours, {merged.without('theirs')}",) if merged.whole else ()
        return FileState(conflict.path, total, left, tuple(sorted(counts.items())), merged.whole, notes)

    def _task(self, conflict: Conflict, name: str, strategy: str, values: Mapping[str, Any]) -> Task:
        parts = conflict.parts(name)
        return Task(name, (parts["ours"], parts["theirs"]), parts.get("base"), strategy, values)

    def _resolved(self, conflict: Conflict, plan: Plan, progress: Progress) -> Manifest | None:
        """The manifest of a file as chosen; None if its deletion was."""
        versions = of_conflict(conflict, ("ours", "theirs"))
        if versions is None:
            rule = plan.rule_for(STRUCTURE, conflict.path)
            side = "" if rule is None else find(plan.rules[rule].strategy).takes
            return conflict.theirs if side == "theirs" else conflict.ours
        decided = decide(versions, plan)
        for name, reason in decided.left.items():
            raise RequestError(f"{conflict.path}: {name} cannot be decided: {reason}")
        made = blending.blended(self.worktree, decided.tasks, progress, self._remarks)
        return assembled(self.worktree, versions, decided, made)


def _saved(path: str) -> RequestError:
    name = shlex.quote(path)
    return RequestError(
        f"{shown(path)} was changed since the merge stopped, and would be lost",
        hint=f"take it as the result: git theta resolve --import {name} --file {name}; "
        f"or drop it: git checkout --ours -- {name}",
    )


def _alike(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests are of one content."""
    return one.header.blake3 == other.header.blake3 and {n: r.blake3 for n, r in one.records.items()} == {
        n: r.blake3 for n, r in other.records.items()
    }


def _decided(conflict: Conflict, plan: Plan) -> Iterable[str]:
    """The tensors that a plan speaks of."""
    return conflict.merged.versions if plan.all and conflict.merged else conflict.undecided


def _identity(now: Situation) -> str:
    return f"{now.kind} {now.ours.commit} {now.theirs.commit}"


def _names(merged: Merged, *, settled: bool) -> list[str]:
    if settled:
        return [name for name, kind in merged.classes.items() if kind not in CONFLICTS]
    return list(merged.conflicts)
