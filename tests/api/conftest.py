"""Fixtures shared by everything that works in a repository."""

from tests.api.place import bare, conflict, empty, repo, templates

__all__ = ["bare", "conflict", "empty", "repo", "templates"]
