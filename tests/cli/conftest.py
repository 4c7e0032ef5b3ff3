import pytest

from kestrel.cli.main import LazyCommand, commands


@pytest.fixture(scope="session")
def leaf_commands():
    """Every command that does something, loaded: sub-commands under both names, as ``index add``."""
    found = {}
    for entry in commands():
        command = LazyCommand(entry).load()
        inner = getattr(command, "commands", None)
        found |= {entry.name: command} if inner is None else {f"{entry.name} {name}": sub
                                                               for name, sub in inner.items()}
    return found
