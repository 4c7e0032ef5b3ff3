from kestrel.hw.descriptor.vectors import DescriptorVectors
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorVectors:
    return DescriptorVectors(descriptor_unit(config))
