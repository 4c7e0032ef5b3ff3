from kestrel.hw.chip.stream_input import StreamInput
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> StreamInput:
    return StreamInput(config)
