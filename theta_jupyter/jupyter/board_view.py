"""What the scoreboard in the browser asks, and the answers, ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theta_jupyter.results import finite, for_notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from theta_jupyter.board import Board
    from theta_jupyter.merge_state import MergeState

__all__ = ["BoardView"]


class BoardView:
    """A scoreboard that is being looked at."""

    long = frozenset({"use"})

    def __init__(self, board: Board) -> None:
        self.board = board
        self.state: MergeState | None = None
        self._used: int | None = None
        self._note = board.note
        self.questions: Mapping[str, Callable[..., Any]] = {"board": self.overview, "use": self.use}

    def overview(self) -> dict[str, Any]:
        """The scores."""
        board = self.board
        rows = [
            {
                "label": trial.label,
                "kind": trial.kind,
                "score": trial.score,
                "failed": trial.failed,
                "seconds": trial.seconds,
                "best": index == board.best,
                "index": index,
            }
            for index, trial in enumerate(board.trials)
        ]
        found: dict[str, Any] = finite(
            {
                "title": board.title,
                "rows": rows,
                "higher_is_better": board.higher_is_better,
                "figure": board.spec(),
                "can_use": board.apply is not None,
                "used": self._used,
                "note": self._note,
            }
        )
        return found

    def use(self, index: int, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        """Make a candidate the plan of the merge."""
        progress("merging", 0, 1)
        self.state = state = self.board.use(index)
        self._used = index
        label = self.board.trials[index].label
        if state.situation.kind:
            self._note = for_notebook(f"{label} is the plan now; finish with: git theta merge --continue")
        else:
            self._note = state.headline()
        return self.overview()
