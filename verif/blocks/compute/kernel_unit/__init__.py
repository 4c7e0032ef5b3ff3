from kestrel.hw.compute.kernel_unit import KernelUnit
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> KernelUnit:
    return KernelUnit(config)
