"""The version, in the one place that the wheel, the package and its tests read it from."""

__version__ = "0.1.0"
