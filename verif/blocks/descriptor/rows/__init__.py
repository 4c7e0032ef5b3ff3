from kestrel.hw.descriptor.rows import DescriptorRows
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorRows:
    return DescriptorRows(descriptor_unit(config))
