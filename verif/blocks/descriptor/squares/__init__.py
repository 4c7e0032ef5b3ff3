from kestrel.hw.descriptor.squares import DescriptorSquares
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorSquares:
    return DescriptorSquares(config)
