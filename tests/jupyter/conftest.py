"""Fixtures shared by everything that works in a repository."""

from tests.api.place import bare, conflict, empty, forked, repo, templates

__all__ = ["bare", "conflict", "empty", "forked", "repo", "templates"]
