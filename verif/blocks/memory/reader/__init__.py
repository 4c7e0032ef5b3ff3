from kestrel.hw.memory.reader import Reader
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Reader:
    return Reader(config)
