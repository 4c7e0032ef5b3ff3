import pytest
from rich.console import Console

from kestrel.cli import output
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


@pytest.fixture(scope="session")
def cluster_address():
    """An address of a scheduler with two workers, for all tests of this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1",
                                  dashboard_address="127.0.0.1:0") as found:
        yield found.scheduler_address


class _WholeConsole(Console):
    """A console that refuses what does not fit: rich ends a text that it cuts with an ellipsis."""

    def print(self, *objects, **settings):
        with self.capture() as printed:
            super().print(*objects, **settings)
        assert "…" not in printed.get(), f"cut at {self.width} columns:\n{printed.get()}"
        self.file.write(printed.get())


@pytest.fixture(autouse=True)
def nothing_is_cut(monkeypatch):
    """What commands print is whole in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(output, "Console", _WholeConsole)
