"""What is fixed of a chip when its Verilog is generated."""

from dataclasses import dataclass

from hw.spec import EngineConfig
from hw.spec.descriptor import NipConfig


@dataclass(frozen=True)
class ChipConfig:
    """``nip``: the descriptor unit, if any. ``startup_check``: a self-check follows every reset, and no frame
    runs before it has ended well."""

    engine: EngineConfig
    nip: NipConfig | None = None
    startup_check: bool = False
