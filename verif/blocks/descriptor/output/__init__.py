from kestrel.hw.descriptor.output import DescriptorOutput
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorOutput:
    return DescriptorOutput(descriptor_unit(config))
