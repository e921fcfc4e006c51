"""Guesses at a tensor from others: see :mod:`theta_jupyter.updates.base`."""
