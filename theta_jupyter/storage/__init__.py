"""Bytes at rest: a file as a skeleton and tensors, a tensor as nodes, nodes as bytes in objects."""
