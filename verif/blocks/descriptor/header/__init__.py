from kestrel.hw.descriptor.header import DescriptorHeader
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorHeader:
    return DescriptorHeader(config, descriptor_unit(config))
