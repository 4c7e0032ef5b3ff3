from kestrel.hw.compute.window import Window
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Window:
    return Window(config)
