from kestrel.hw.control.sequencer import Sequencer
from kestrel.hw.spec.engine_config import EngineConfig


def make(config: EngineConfig) -> Sequencer:
    return Sequencer(config)
