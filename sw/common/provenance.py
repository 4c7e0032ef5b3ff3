"""Where a page of results comes from, so that it can be told from another and made again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

DISTRIBUTION = "kestrel-engine"
"""The name under which kestrel is installed."""


@dataclass(frozen=True)
class Provenance:
    """network_hash: SHA-256 of the network's integers (kestrel.sw.model.digest), "" of a name without
    weights; dataset: folder of the retrieval figures, "" without; version: of kestrel; command: the command
    line, "" where none was given; date: UTC."""

    network: str
    network_hash: str
    dataset: str
    version: str
    command: str
    date: str

    @property
    def lines(self) -> dict[str, str]:
        """For a page: texts by their titles."""
        return {"Dataset": self.dataset, "Network": self.network, "Network's SHA-256": self.network_hash,
                "Version": f"kestrel {self.version}", "Command": self.command or "from Python",
                "Date": self.date}


def provenance_now(network: str, network_hash: str, dataset: str, command: str) -> Provenance:
    """Of what is made now, by this version."""
    return Provenance(network, network_hash, dataset, version(DISTRIBUTION), command,
                      datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
