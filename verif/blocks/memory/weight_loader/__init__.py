from kestrel.hw.memory.weight_loader import WeightLoader
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> WeightLoader:
    return WeightLoader(config)
