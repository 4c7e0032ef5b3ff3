from kestrel.hw.compute.pool import PoolLane
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> PoolLane:
    return PoolLane(config.activation_bits, config.residual)
