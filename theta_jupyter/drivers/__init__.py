"""What Git calls: the filter process, the merge driver, the hooks. They start light, never ask, and never wreck."""
