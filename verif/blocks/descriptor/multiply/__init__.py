from kestrel.hw.descriptor.multiply import DescriptorMultiply
from kestrel.hw.spec.engine_config import EngineConfig


def make(_config: EngineConfig) -> DescriptorMultiply:
    return DescriptorMultiply()
