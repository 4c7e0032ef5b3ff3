from kestrel.hw.descriptor.unit import DescriptorUnit
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorUnit:
    return DescriptorUnit(config, descriptor_unit(config))
