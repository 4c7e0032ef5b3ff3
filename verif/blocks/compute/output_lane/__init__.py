from kestrel.hw.compute.output_lane import OutputLane
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> OutputLane:
    return OutputLane(config)
