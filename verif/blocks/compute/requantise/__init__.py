from kestrel.hw.compute.requantise import Requantise
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Requantise:
    return Requantise(config)
