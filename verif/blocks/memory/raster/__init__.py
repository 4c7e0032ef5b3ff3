from kestrel.hw.memory.raster import Raster
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Raster:
    return Raster(config)
