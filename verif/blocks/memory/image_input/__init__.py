from kestrel.hw.memory.image_input import ImageInput
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> ImageInput:
    return ImageInput(config)
