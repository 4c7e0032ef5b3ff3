from kestrel.hw.compute.accumulator import AccumulatorLane
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> AccumulatorLane:
    return AccumulatorLane(config)
