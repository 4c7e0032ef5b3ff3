from kestrel.hw.compute.kernel_decoder import KernelDecoder
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> KernelDecoder:
    return KernelDecoder(config)
