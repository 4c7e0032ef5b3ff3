from kestrel.hw.memory.feature_memory import FeatureMemory
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> FeatureMemory:
    return FeatureMemory(config)
