from kestrel.hw.control.counters import Counters
from kestrel.hw.spec.engine_config import EngineConfig


def make(_config: EngineConfig) -> Counters:
    return Counters()
