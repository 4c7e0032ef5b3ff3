from kestrel.hw.compute.accumulator import Accumulator
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Accumulator:
    return Accumulator(config)
