from kestrel.hw.compute.array import Array
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Array:
    return Array(config)
