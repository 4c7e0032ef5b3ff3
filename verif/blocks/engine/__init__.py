from kestrel.hw.engine import Engine
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Engine:
    return Engine(config)
