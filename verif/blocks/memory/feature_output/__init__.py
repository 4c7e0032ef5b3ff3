from kestrel.hw.memory.feature_output import FeatureOutput
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> FeatureOutput:
    return FeatureOutput(config)
