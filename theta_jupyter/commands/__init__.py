"""Every command once: arguments, a call of the API, a result. ``git theta X`` and ``%theta X`` are the same object."""

from theta_jupyter.commands.base import Session, theta

from theta_jupyter.commands import history, moving, recording, setup, sharing  # isort: skip  # they register themselves

__all__ = ["Session", "history", "moving", "recording", "setup", "sharing", "theta"]
