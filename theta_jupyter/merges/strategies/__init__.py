"""The strategies that come with the package; each is an entry point, like anyone else's."""
