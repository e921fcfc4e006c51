"""A history that was kept by other means becomes one of Theta's, on a branch of its own."""
