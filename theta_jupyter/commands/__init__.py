"""Every command once: arguments, a call of the API, a result. ``git theta X`` and ``%theta X`` are the same object."""

from theta_jupyter.commands.base import Session, explain, theta

from theta_jupyter.commands import setup, recording, history, moving, merging, sharing, upkeep  # isort: skip  # in the order of a day; they register themselves

__all__ = ["Session", "explain", "history", "merging", "moving", "recording", "setup", "sharing", "theta", "upkeep"]
