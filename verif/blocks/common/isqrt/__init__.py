from kestrel.hw.common.isqrt import Isqrt
from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS
from kestrel.hw.spec.engine_config import EngineConfig


def make(_config: EngineConfig) -> Isqrt:
    return Isqrt(DESCRIPTOR_SQUARES_BITS)
