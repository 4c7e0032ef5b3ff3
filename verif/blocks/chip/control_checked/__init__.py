"""The control of a chip that checks its ROMs after every reset."""

from kestrel.hw.chip.control import Control
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Control:
    return Control(ChipConfig(config, startup_check=True))
