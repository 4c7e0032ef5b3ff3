from kestrel.hw.chip.stream_output import StreamOutput
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> StreamOutput:
    return StreamOutput(config)
