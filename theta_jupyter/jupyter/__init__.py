"""The commands in a notebook."""
