from kestrel.hw.chip.table_watch import TableWatch
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> TableWatch:
    return TableWatch(config)
