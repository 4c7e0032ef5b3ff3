import pytest

from kestrel.cli.main import LazyCommand, commands


@pytest.fixture(scope="session")
def leaf_commands():
    """Every command that does something, loaded: sub-commands under both names, as ``index add``."""
    def loaded(command):
        return command.load() if isinstance(command, LazyCommand) else command

    found = {}
    for entry in commands():
        command = LazyCommand(entry).load()
        inner = getattr(command, "commands", None)
        found |= {entry.name: command} if inner is None else {f"{entry.name} {name}": loaded(sub)
                                                               for name, sub in inner.items()}
    return found
