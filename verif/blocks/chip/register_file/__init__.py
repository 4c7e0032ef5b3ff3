from kestrel.hw.chip.register_file import RegisterFile
from kestrel.hw.spec.engine_config import EngineConfig


def make(_config: EngineConfig) -> RegisterFile:
    return RegisterFile()
