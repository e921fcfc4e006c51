"""The merge in progress: what is in conflict, what was chosen, what it would give, and how it ends.

It is read from Git each time it is asked for, so it does not matter who began it, nor how: ``git merge`` in a terminal,
a rebase, a notebook whose kernel has died. To choose writes a rule into a plan and computes nothing; a preview computes
one tensor and writes nothing; only the end computes what was chosen, stages it, and commits.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from theta_jupyter import blending, byhand, changes, staging
from theta_jupyter.blending import Statistics, Task
from theta_jupyter.choices import Choices
from theta_jupyter.conflicts import Conflict, Situation, conflicts, situation
from theta_jupyter.deciding import assembled, decide, of_conflict
from theta_jupyter.errors import GitError, ManifestError, RequestError
from theta_jupyter.git.worktree import shown
from theta_jupyter.merge_state import Conflicts, FileState, MergeState
from theta_jupyter.merges.base import find, installed
from theta_jupyter.merges.plan import TRAILER, Plan, Rule, depths
from theta_jupyter.merges.preview import Preview, Row, Standing, estimated, measured, preview
from theta_jupyter.merges.threeway import CONFLICTS, STRUCTURE, Merged
from theta_jupyter.results import Message
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merges.base import Strategy
    from theta_jupyter.merges.blend import Part
    from theta_jupyter.storage.manifest import Manifest, Record

__all__ = ["Merge"]

QUICK = 2000
"""Tensors without a sketch that are read at once to say how their changes stand to each other."""
SMALL = 1 << 20


_LISTED = re.compile(r"\n\S+ Conflicts:\n(\S+\t.*\n?)*\s*\Z")


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
        # What is true of a tensor in conflict whatever is chosen; of ten thousand it takes a while to find out.
        self._standings: dict[tuple[str, ...], Standing] = {}
        self._refused: dict[tuple[str, ...], dict[str, str]] = {}
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
            return (self._row(conflict, STRUCTURE, plan, 1.0),)
        names = _names(conflict.merged, settled=settled)
        self._measure_small(conflict, names)
        deep = depths(conflict.merged.classes)
        return tuple(self._row(conflict, name, plan, deep.get(name, 1.0)) for name in names)

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
        row = self._row(conflict, name, plan, depths(conflict.merged.classes).get(name, 1.0))
        if row.kind not in CONFLICTS:
            row = replace(row, strategy="", parameters=())
        parts = conflict.parts(name)
        blending.fetch(self.worktree, [Task(name, tuple(parts.values()), None, "ours")])
        versions = {side: blending.version(self.worktree, part) for side, part in parts.items()}
        standing = row.standing
        if {"ours", "theirs"} <= versions.keys() and len({v.shape for v in versions.values()}) == 1:
            standing = measured(versions.get("base"), versions["ours"], versions["theirs"])
            with self._lock:
                self._standings[_key(conflict, name)] = standing
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
            left = [row.name for row in self._undecided(conflict, plan)]
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
        for conflict in found.values():
            self._refuse_changed(conflict)
        resolved = self.resolve(progress)
        if {path: c.key for path, c in self.conflicts().items()} != {path: c.key for path, c in found.items()}:
            raise RequestError(
                "the merge was changed meanwhile, elsewhere; nothing is staged", hint="git theta merge --status"
            )
        staging.put(
            self.worktree,
            {path: (found[path].mode, manifest) for path, manifest in resolved.items() if manifest},
            progress or self.progress,
        )
        gone = [path for path, manifest in resolved.items() if manifest is None]
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
        self._note(now, message if now.kind == "merge" else "", plan)
        self._choices.clear()
        outcome = self._go_on(now)
        files = f" ({', '.join(map(shown, staged))})" if staged else ""
        after = self.state(f"{outcome}{files}")
        return replace(after, stopped=bool(after.files or after.others), remarks=tuple(self._remarks))

    def abort(self) -> MergeState:
        """Give up, and go back to where it began.

        Raises
        ------
        RequestError
            If there is nothing to go back from.
        """
        now = self._situation()
        if now.kind == "stash":
            raise RequestError(
                "Git keeps no way back from a stash; the stash itself is still there",
                hint="git checkout HEAD -- PATH takes the files back",
            )
        self.worktree.git(now.kind, "--abort")
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
        rows = ((c.path, tuple(row for row in self.rows(c.path) if _is_called(row.name, globs))) for c in files)
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
            there = changes.stored(self.worktree, conflict.path, self.progress)
        except ManifestError:
            return  # Git merged it as text: nobody will miss that.
        if there is not None and not any(_alike(there, manifest) for manifest in known):
            name = shlex.quote(conflict.path)
            raise RequestError(
                f"{shown(conflict.path)} was changed since the merge stopped, and would be lost",
                hint=f"take it as the result: git theta resolve --import {name} --file {name}; "
                f"or drop it: git checkout --ours -- {name}",
            )

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
        refusals = [self._refusals(conflict, name).get(strategy.name, "") for conflict, name in matched]
        if all(refusals):
            raise RequestError(f"{strategy.name} cannot merge {matched[0][1]!r}: {refusals[0]}")
        Statistics(self.worktree).check(checked.values(0.0, 2), strategy)

    def _refusal(
        self, strategy: Strategy, conflict: Conflict, name: str, of: Mapping[str, Record] | None = None
    ) -> str:
        if name == STRUCTURE:
            if strategy.takes in {"ours", "theirs"} or (not conflict.whole and not strategy.takes):
                return ""
            return "nothing can be mixed here: take ours or theirs" if conflict.whole else "take ours or theirs"
        of = of or _records(conflict, name)
        return blending.refusal(strategy, (of.get("ours"), of.get("theirs")), of.get("base"))

    def _file_state(self, conflict: Conflict, plan: Plan) -> FileState:
        merged = conflict.merged
        total = len(conflict.undecided)
        left = len(list(self._undecided(conflict, plan)))
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

    def _undecided(self, conflict: Conflict, plan: Plan) -> Iterable[Row]:
        for name in conflict.undecided:
            index = plan.rule_for(name, conflict.path)
            if index is None or plan.rules[index].strategy in self._refusals(conflict, name):
                yield Row(name, conflict.kind(name), rule=index)

    def _task(self, conflict: Conflict, name: str, strategy: str, values: Mapping[str, Any]) -> Task:
        parts = conflict.parts(name)
        return Task(name, (parts["ours"], parts["theirs"]), parts.get("base"), strategy, values)

    def _row(self, conflict: Conflict, name: str, plan: Plan, depth: float) -> Row:
        kind = conflict.kind(name)
        index = plan.rule_for(name, conflict.path) if kind in CONFLICTS else None
        rule = plan.rules[index] if index is not None else None
        refusals = self._refusals(conflict, name) if kind in CONFLICTS else {}
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

    def _refusals(self, conflict: Conflict, name: str) -> dict[str, str]:
        """Why strategies do not apply to a tensor, by strategy."""
        key = _key(conflict, name)
        if key not in self._refused:
            of = _records(conflict, name)
            found = ((each, self._refusal(strategy, conflict, name, of)) for each, strategy in installed().items())
            self._refused[key] = {each: reason for each, reason in found if reason}
        return self._refused[key]

    def _standing(self, conflict: Conflict, name: str, parts: Mapping[str, Part]) -> Standing:
        key = _key(conflict, name)
        if key not in self._standings:
            of = {side: part.record for side, part in parts.items()}
            self._standings[key] = estimated(of.get("base"), of.get("ours"), of.get("theirs"))
        return self._standings[key]

    def _measure_small(self, conflict: Conflict, names: Sequence[str]) -> None:
        """Read tensors that are too small for a sketch, where they are here: it costs no more than looking."""
        store, count = self.worktree.store, 0
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
            versions = {side: blending.version(self.worktree, part) for side, part in parts.items()}
            self._standings[key] = measured(versions.get("base"), versions["ours"], versions["theirs"])
            count += 1

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

    def _go_on(self, now: Situation) -> str:
        """Let Git end what stopped, or go on with it."""
        git = self.worktree.git
        if now.kind == "stash":
            drop = "; drop the stash with: git stash drop" if now.theirs.name == "stash" else ""
            return f"{now.theirs.name}: applied and staged{drop}"
        # What turned out to change nothing is skipped, as Git itself would. Not in a rebase, which goes on by itself:
        # to skip there is to reset whatever is not committed.
        skips = now.kind in {"cherry-pick", "revert"} and not git("diff", "--cached", "--name-only")
        step = "--skip" if skips else "--continue"
        go: list[str] = ["-c", "commit.cleanup=strip", now.kind, step]
        if now.kind == "merge":
            go = ["commit", "--quiet", "--no-edit", "--cleanup=whitespace"]
        try:
            git(*go, env={"GIT_EDITOR": "true"})
        except GitError as error:
            again = situation(self.worktree)
            if not conflicts(self.worktree):
                raise GitError(
                    f"Git does not go on: {error.message}",
                    hint="all is merged and staged; then again: git theta merge --continue   (or --abort)",
                ) from error
            return f"{now.theirs.subject}: done; the next one, {again.theirs.subject}, is in conflict"
        if now.kind == "merge":
            return f"merged {now.theirs.name} into {now.ours.name}: {self.worktree.resolve('HEAD')[:7]}"
        done = {"rebase": "rebased", "cherry-pick": "picked", "revert": "reverted"}[now.kind]
        return f"{done}: {self.worktree.resolve('HEAD')[:7]}"

    def _note(self, now: Situation, message: str, plan: Plan) -> None:
        """Put a message, and the plan, where Git takes what it will commit from: it is there also if that fails."""
        for name in ("MERGE_MSG", "rebase-merge/message"):
            file = self.worktree.git_dir / name
            if not file.is_file():
                continue
            trailers = [f"{TRAILER}: {plan.line()}"] if plan.rules else []
            if now.kind == "merge":
                # Git lists conflicts at the end, behind a sign of its own; all before it is a message.
                text = file.read_text(encoding="utf-8", errors="replace")
                file.write_text(_LISTED.sub("\n", text), encoding="utf-8")
            if message:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
                trailers = trailers or [line for line in lines if line.startswith(f"{TRAILER}:")]
                file.write_text(f"{message.rstrip()}\n", encoding="utf-8")
            given = [f"--trailer={trailer}" for trailer in trailers]
            options = ("--in-place", "--no-divider", "--if-exists=addIfDifferent")
            self.worktree.git("interpret-trailers", *options, *given, "--", str(file))


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


def _records(conflict: Conflict, name: str) -> dict[str, Record]:
    return {side: part.record for side, part in conflict.parts(name).items()}


def _key(conflict: Conflict, name: str) -> tuple[str, ...]:
    return (*conflict.key, name)


def _is_called(name: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)
