from kestrel.hw.chip.axi_lite import AxiLite
from kestrel.hw.spec.engine_config import EngineConfig


def make(_config: EngineConfig) -> AxiLite:
    return AxiLite()
