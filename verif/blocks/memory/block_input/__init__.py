from kestrel.hw.memory.block_input import BlockInput
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> BlockInput:
    return BlockInput(config)
