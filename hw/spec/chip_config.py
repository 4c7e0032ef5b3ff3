"""What is fixed about a chip when its Verilog is generated."""

from dataclasses import dataclass

from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError


@dataclass(frozen=True)
class ChipConfig:
    """``descriptor`` is the descriptor unit, None for a chip without one. With ``startup_check`` a
    self-check follows every reset, and no frame runs before it has ended well.

    Raises InputError for a descriptor unit that was not made for the engine.
    """

    engine: EngineConfig
    descriptor: DescriptorConfig | None = None
    startup_check: bool = False

    def __post_init__(self) -> None:
        if self.descriptor is not None and self.descriptor.matrix_rows != self.engine.whitening_rows:
            raise InputError(
                f"descriptor unit: matrix_rows = {self.descriptor.matrix_rows}; allowed: "
                f"{self.engine.whitening_rows}, the whitening_rows of configuration {self.engine.name!r}"
            )
