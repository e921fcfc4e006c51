"""The repository, over the user's own git. Drivers use this floor, so GitPython is not imported here."""
