from kestrel.hw.compute.kernel_decoder import DigitDecoder
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> DigitDecoder:
    return DigitDecoder(config)
