"""A scoreboard: what each way to merge would be worth, by the user's own measure, beside what the parents are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from theta_jupyter.diffs.figures import BASE, OURS, RESULT, THEIRS, text, to_plotly
from theta_jupyter.errors import RequestError
from theta_jupyter.results import Result, Table, finite, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.figures import Spec
    from theta_jupyter.merge_state import MergeState
    from theta_jupyter.merges.plan import Plan

__all__ = ["Board", "Trial"]


@dataclass(frozen=True)
class Trial:
    """One model that was scored.

    Parameters
    ----------
    label
        A strategy with its parameters, or a version.
    kind
        Whether it is a candidate for the merge, or one of its parents.
    score
        What the function gave; None if it failed, or was not asked.
    failed
        Why there is no score.
    seconds
        To build and to score it.
    value
        Of the parameter that was swept.
    plan
        What makes it.
    """

    label: str
    kind: Literal["candidate", "parent"]
    score: float | None = None
    failed: str = ""
    seconds: float | None = None
    value: float | None = None
    plan: Plan | None = None


@dataclass(frozen=True)
class Board(Result):
    """Trials, and how to take one.

    Parameters
    ----------
    title
        What was to be merged.
    trials
        The parents first, then the candidates in the order in which they were tried.
    higher_is_better
        What the score means.
    swept
        The parameter, if one was varied.
    note
        What to know.
    apply
        Makes a plan that of the merge.
    """

    title: str
    trials: tuple[Trial, ...]
    higher_is_better: bool = True
    swept: str = ""
    note: str = ""
    apply: Callable[[Plan], MergeState] | None = field(default=None, repr=False, compare=False)

    @property
    def best(self) -> int | None:
        """Index of the best candidate; None if none has a score."""
        scored = [(trial.score, -index) for index, trial in enumerate(self.trials) if self._counts(trial)]
        if not scored:
            return None
        sign = 1 if self.higher_is_better else -1
        return -max(scored, key=lambda found: (sign * (found[0] or 0.0), found[1]))[1]

    def use(self, index: int | None = None) -> MergeState:
        """Make a candidate the plan of the merge: the best, or the one of this index.

        Returns
        -------
        MergeState
            Not finished: finish it, or look at it first.

        Raises
        ------
        RequestError
            If there is no such candidate.
        """
        chosen = self.best if index is None else index
        if chosen is None:
            why = next((f": {trial.failed}" for trial in self.trials if trial.failed), "")
            raise RequestError(f"no candidate has a score{why}")
        plan = self.trials[chosen].plan if 0 <= chosen < len(self.trials) else None
        if plan is None:
            raise RequestError("that is no candidate", hint="candidates are the rows that are no parents")
        if self.apply is None:
            raise RequestError("this scoreboard has no merge", hint="try again: %theta merge BRANCH --try ...")
        return self.apply(plan)

    def headline(self) -> str:
        """The best of them."""
        if self.best is None:
            return f"{self.title}: no candidate has a score"
        trial = self.trials[self.best]
        parents = [score for t in self._parents() if (score := t.score) is not None]
        compare = max if self.higher_is_better else min
        beside = f"   (best parent {compare(parents):.4g})" if parents else ""
        return f"{self.title}: best is {trial.label} with {trial.score:.4g}{beside}"

    def table(self) -> Table:
        """A line a trial."""
        rows = tuple(
            (
                "" if trial.kind == "parent" else str(index),
                ("★ " if index == self.best else "") + trial.label,
                "" if trial.score is None else f"{trial.score:.6g}",
                "" if trial.seconds is None else f"{trial.seconds:.1f} s",
                trial.failed,
            )
            for index, trial in enumerate(self.trials)
        )
        return Table((">", "model", ">score", ">time", ""), rows)

    def notes(self) -> tuple[str, ...]:
        """How to take one."""
        take = (
            ("make the best one the plan with: .use(), or another with .use(INDEX)",) if self.best is not None else ()
        )
        return (*((self.note,) if self.note else ()), *take)

    def spec(self) -> Spec | None:
        """Scores as a curve over the parameter that was swept, or a dot for each; the parents as lines."""
        found, parents = [t for t in self.trials if self._counts(t)], self._parents()
        if not found:
            return None
        curve = bool(self.swept) and all(t.value is not None for t in found)
        if curve:
            found.sort(key=lambda t: t.value or 0.0)
        ends: list[float | int] = [found[0].value or 0.0, found[-1].value or 0.0] if curve else [-0.5, len(found) - 0.5]
        # Dots and not bars: those would have to begin at zero, where nothing could be told apart.
        data: list[Spec] = [
            {
                "type": "scatter",
                "mode": "lines+markers" if curve else "markers",
                "x": [t.value if curve else index for index, t in enumerate(found)],
                "y": [t.score for t in found],
                "customdata": [text(t.label) for t in found],
                "name": "candidates",
                "line": {"color": RESULT, "width": 1.5},
                "marker": {"color": RESULT, "size": 8},
                "hovertemplate": "%{customdata}: %{y:.4g}<extra></extra>",
            }
        ]
        for index, (trial, dash) in enumerate(zip(parents, ["solid", "dash", *["dot"] * len(parents)], strict=False)):
            color = (OURS, THEIRS, BASE)[min(index, 2)]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": ends,
                    "y": [trial.score, trial.score],
                    "name": text(trial.label, 32),
                    "line": {"color": color, "width": 1.5, "dash": dash},
                    "hovertemplate": "%{y:.4g}<extra>" + text(trial.label, 32) + "</extra>",
                }
            )
        scores = [t.score for t in (*found, *parents) if t.score is not None]
        low, high = min(scores), max(scores)
        room = 0.15 * (high - low) or 0.05 * abs(high) or 0.5
        layout: Spec = {
            "xaxis": {"title": {"text": text(self.swept)}}
            if curve
            else {
                "tickmode": "array",
                "tickvals": list(range(len(found))),
                "ticktext": [text(t.label, 24) for t in found],
                "range": ends,
            },
            "yaxis": {"title": {"text": "score"}, "range": [low - room, high + room]},
            "margin": {"l": 56, "r": 8, "t": 8, "b": 44},
            "height": 240,
            "showlegend": bool(parents),
            "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.15},
        }
        return {"data": data, "layout": layout}

    def figure(self) -> go.Figure:
        """The scores, in plotly.

        Raises
        ------
        RequestError
            If there are none.
        """
        return to_plotly(self._spec(), plain(self.title))

    def plot(self) -> Figure:
        """The same, in matplotlib."""
        from theta_jupyter.diffs.plots import draw

        return draw([self._spec()], [], plain(self.title))

    def html(self) -> str:
        """The table and the picture."""
        if self.spec() is None:
            return super().html()
        from theta_jupyter.diffs.plots import image

        return super().html() + image(self.plot(), f"Scores: {plain(self.headline())}")

    def to_dict(self) -> dict[str, Any]:
        """The trials."""
        trials = [
            {
                **{name: getattr(t, name) for name in ("label", "kind", "score", "failed", "seconds", "value")},
                "plan": t.plan.to_dict() if t.plan else None,
            }
            for t in self.trials
        ]
        found: dict[str, Any] = finite(
            {
                "title": self.title,
                "trials": trials,
                "best": self.best,
                "higher_is_better": self.higher_is_better,
                "swept": self.swept,
                "note": self.note,
            }
        )
        return found

    def _records(self) -> tuple[Any, ...]:
        return tuple(replace(trial, plan=None) for trial in self.trials)

    def _spec(self) -> Spec:
        found = self.spec()
        if found is None:
            raise RequestError("there are no scores to draw")
        return found

    def _parents(self) -> list[Trial]:
        return [trial for trial in self.trials if self._counts(trial, "parent")]

    @staticmethod
    def _counts(trial: Trial, kind: str = "candidate") -> bool:
        return trial.kind == kind and trial.score is not None and math.isfinite(trial.score)
