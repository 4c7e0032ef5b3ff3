from kestrel.hw.compute.requantise import RequantiseLane, requantise_lane
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> RequantiseLane:
    return requantise_lane(config)
