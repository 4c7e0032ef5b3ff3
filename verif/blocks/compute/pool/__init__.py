from kestrel.hw.compute.pool import Pool
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Pool:
    return Pool(config)
