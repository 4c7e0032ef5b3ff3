from kestrel.hw.chip.byte_packer import BytePacker
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> BytePacker:
    return BytePacker(config)
