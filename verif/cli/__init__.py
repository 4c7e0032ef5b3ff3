"""The commands that need more than the ``sw`` package, each in a module of its own."""
