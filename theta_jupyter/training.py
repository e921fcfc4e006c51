"""Versions as a model trains: a checkpoint committed every so often, from a loop, a Trainer, or Lightning.

>>> checkpointer = Checkpointer(".", "model.safetensors", every=100, message="step {step}: loss {loss:.3f}")
... # doctest: +SKIP
>>> checkpointer(model, step, loss=loss)  # doctest: +SKIP
"""

from __future__ import annotations

import os
import string
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from theta_jupyter import history, saving, staging
from theta_jupyter.api import Repository
from theta_jupyter.errors import RequestError
from theta_jupyter.states import state as state_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.answers import Commit

__all__ = ["Checkpointer"]

On = Literal["epoch", "step", "save"]


class Checkpointer:
    """Commits what is trained, every so many steps.

    Parameters
    ----------
    repository
        A repository, or a folder in one.
    path
        The file, from the current folder as it is now; its suffix chooses the format.
    every
        Commit at steps that are multiples of this.
    message
        Of the commits; ``{step}``, and any metric by name, as in ``"step {step}: loss {loss:.3f}"``. A metric that is
        not known yet is a question mark.
    derived_from
        As for :meth:`theta_jupyter.api.Repository.commit`.

    Raises
    ------
    RequestError
        If ``every`` is not positive, the message is empty or cannot be read, or nothing can be saved at ``path``.
    GitError
        If ``path`` lies outside the repository.
    """

    def __init__(
        self,
        repository: Repository | Path | str,
        path: Path | str,
        every: int = 1,
        message: str = "step {step}",
        *,
        derived_from: str = "",
    ) -> None:
        if every < 1:
            raise RequestError(f"every {every} steps is never", hint="every=1 commits at each step")
        self.repository = repository if isinstance(repository, Repository) else Repository(repository)
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - a link is taken where it stands
        self.every = every
        self.message = message
        # Like the path, it stays what it is now.
        self.derived_from = os.path.abspath(derived_from) if os.path.lexists(derived_from) else derived_from  # noqa: PTH100
        try:
            told = _Words().format(message, step=0)
        except ValueError as error:
            raise RequestError(f"the message {message!r} cannot be read: {error}") from None
        if not told.strip():
            raise RequestError("a commit needs a message", hint='for example: message="step {step}"')
        saving.checked(self.repository.worktree, self.path)

    def __call__(self, state: Any, step: int, /, *, final: bool = False, **metrics: Any) -> Commit | None:
        """Commit, if it is time.

        Parameters
        ----------
        state
            A model, or what else :meth:`theta_jupyter.api.Repository.save` takes.
        final
            Whether it is the last step, which is always committed.
        metrics
            For the message.

        Returns
        -------
        Commit or None
            None if it is not time, nothing has changed since the last commit, or this process is not the first of
            several.
        """
        return self.commit(state, step, **metrics) if final or step % self.every == 0 else None

    def commit(self, state: Any, step: int, /, **metrics: Any) -> Commit | None:
        """Commit now, and nothing else that is staged; see :meth:`__call__`.

        Where several processes train, each must call it.
        """
        # All of them, because the state of a model that is spread over processes is gathered from all of them.
        found = state_of(state)
        if _rank() != 0:
            return None
        self.repository.save(found, self.path, derived_from=self.derived_from)
        worktree, progress = self.repository.worktree, self.repository.progress
        name = worktree.relative(self.path)
        if not worktree.git("diff", "--cached", "--name-only", "--", name):
            return None
        message = _Words().vformat(self.message, (), {**metrics, "step": step})
        staging.commit(worktree, message, [name], self.derived_from, progress, only=True)
        return history.commit(worktree, "HEAD")

    def transformers(self, on: On = "epoch") -> Any:
        """A callback for the ``Trainer`` of transformers.

        Parameters
        ----------
        on
            What is counted: commit every so many epochs, steps, or times that the Trainer saves. The end of training is
            always committed.

        Returns
        -------
        transformers.TrainerCallback
            Metrics in messages are what the Trainer has logged, such as ``{loss}``, ``{eval_loss}`` and ``{epoch}``.

        Raises
        ------
        RequestError
            If transformers is not installed.
        """
        base: Any = _imported(("transformers",), "TrainerCallback", "transformers")
        checkpointer, every, saves = self, self.every, 0

        def commit(state: Any, model: Any) -> None:
            logged = {key: value for line in state.log_history for key, value in line.items()}
            checkpointer.commit(model, state.global_step, **{**logged, "epoch": state.epoch})

        class Callback(base):  # type: ignore[misc]  # known only when it runs
            def on_epoch_end(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
                if on == "epoch" and round(state.epoch) % every == 0:
                    commit(state, model)

            def on_step_end(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
                if on == "step" and state.global_step % every == 0:
                    commit(state, model)

            def on_save(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
                nonlocal saves
                saves += 1
                if on == "save" and saves % every == 0:
                    commit(state, model)

            def on_train_end(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
                commit(state, model)

        return Callback()

    def lightning(self, on: On = "epoch") -> Any:
        """A callback for the ``Trainer`` of Lightning; see :meth:`transformers`.

        Returns
        -------
        lightning.pytorch.Callback
            Of ``lightning.pytorch`` or ``pytorch_lightning``, whichever is in use. Metrics in messages are what was
            logged, such as ``{train_loss}``, and ``{epoch}``, counted from one.

        Raises
        ------
        RequestError
            If neither is installed.
        """
        base: Any = _imported(("lightning.pytorch", "pytorch_lightning"), "Callback", "lightning")
        checkpointer, every = self, self.every
        saves, last = 0, 0

        def commit(trainer: Any, epoch: int) -> None:
            # Asked of the strategy, which knows how the model is spread over processes.
            state = trainer.strategy.lightning_module_state_dict()
            checkpointer.commit(state, trainer.global_step, **{**trainer.callback_metrics, "epoch": epoch})

        class Callback(base):  # type: ignore[misc]  # known only when it runs
            def on_train_epoch_end(self, trainer: Any, _module: Any) -> None:
                if on == "epoch" and (trainer.current_epoch + 1) % every == 0:
                    commit(trainer, trainer.current_epoch + 1)

            def on_train_batch_end(self, trainer: Any, _module: Any, *_: Any) -> None:
                nonlocal last
                # Several batches may make one step.
                if on == "step" and trainer.global_step != last and trainer.global_step % every == 0:
                    commit(trainer, trainer.current_epoch + 1)
                last = trainer.global_step

            def on_save_checkpoint(self, trainer: Any, _module: Any, _checkpoint: Any) -> None:
                nonlocal saves
                saves += 1
                if on == "save" and saves % every == 0:
                    commit(trainer, trainer.current_epoch + 1)

            def on_train_end(self, trainer: Any, _module: Any) -> None:
                commit(trainer, trainer.current_epoch)

        return Callback()


class _Words(string.Formatter):
    """Formats a message whatever is known: hours of training are not lost for a word."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        try:
            return super().get_field(field_name, args, kwargs)
        except (LookupError, AttributeError, TypeError):
            return "?", field_name

    def format_field(self, value: Any, format_spec: str) -> Any:
        try:
            return super().format_field(value, format_spec)
        except (ValueError, TypeError):
            return str(value)


def _rank() -> int:
    """The number of this process among those that train together."""
    # If they do, it has been imported.
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return cast("int", distributed.get_rank())
    rank = os.environ.get("RANK", "")  # Set by torchrun.
    return int(rank) if rank.isdecimal() else 0


def _imported(modules: Sequence[str], name: str, package: str) -> Any:
    """A class of the first of these modules that is in use, or else installed."""
    for module in sorted(modules, key=lambda module: module not in sys.modules):
        try:
            return getattr(import_module(module), name)
        except ImportError:
            continue
    raise RequestError(f"{package} is not installed", hint=f"pip install {package}")
