from kestrel.hw.descriptor.whitening import DescriptorWhitening
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DescriptorWhitening:
    return DescriptorWhitening(descriptor_unit(config))
