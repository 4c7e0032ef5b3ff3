from kestrel.hw.memory.writer import Writer
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Writer:
    return Writer(config)
