from kestrel.hw.board.host_bridge import HostBridge
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.link import LinkConfig

LINK = LinkConfig(clock=16_000_000, baud=3_000_000)
"""Of the bench: five and a third cycles a bit, which no counter of whole cycles gives."""


def make(config: EngineConfig) -> HostBridge:
    return HostBridge(config, LINK)
