from kestrel.hw.descriptor.reciprocal import DescriptorReciprocal
from kestrel.hw.spec.engine_config import EngineConfig


def make(_config: EngineConfig) -> DescriptorReciprocal:
    return DescriptorReciprocal()
