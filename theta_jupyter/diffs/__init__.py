"""Two versions side by side: what changed, where, and how much."""
