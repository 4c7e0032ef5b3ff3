"""The test bench that goes with a chip: the picture, and what the reference gives for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.wrapper import rom_names
from kestrel.hw.emit.rom_parameters import file_parameter
from kestrel.hw.emit.verilog import VerilogFile
from kestrel.hw.spec.chip_config import ChipConfig

BENCH = "tb"
"""Without the prefix."""

PLACEHOLDER = "//ROM_PARAMETERS"


@dataclass(frozen=True)
class BenchFrame:
    """A picture of height x width pixels and what the chip must give for it.

    ``picture``: a byte a channel, row by row, pixel by pixel, channels innermost, in the network's order;
    ``features``: the bytes of the output stream; ``description``: those of a descriptor of this picture
    alone, none for a chip without a descriptor unit; ``network_crc``: the network's, as the chip shows it;
    ``patience``: clock cycles after which something must have moved.
    """

    height: int
    width: int
    picture: bytes
    features: bytes
    description: bytes
    network_crc: int
    patience: int

    @property
    def channels(self) -> int:
        return len(self.picture) // (self.height * self.width)


def bench_data(frame: BenchFrame, names: Names) -> tuple[VerilogFile, ...]:
    """What the bench reads: a byte a line, in hexadecimal."""
    contents = {"picture": frame.picture, "features": frame.features, "description": frame.description}
    return tuple(
        VerilogFile(names.data(f"{name}.mem"), "".join(f"{byte:02x}\n" for byte in data))
        for name, data in contents.items() if data
    )  # fmt: skip


def bench(chip: ChipConfig, frame: BenchFrame, names: Names) -> VerilogFile:
    """The bench as module ``kestrel_tb``, with the frame's and the chip's sizes."""
    text = (resources.files("kestrel.hw.emit.packaging") / "kestrel_tb.v").read_text(encoding="utf-8")
    values = {
        "HEIGHT": frame.height,
        "WIDTH": frame.width,
        "CHANNELS": frame.channels,
        "FEATURE_BYTES": len(frame.features),
        "DESCRIPTOR_BYTES": len(frame.description),
        "STREAM_BYTES": chip.engine.stream_bytes,
        "WORD_LANES": chip.engine.word_lanes,
        "NETWORK_CRC": f"32'h{frame.network_crc:08x}",
        "PATIENCE": frame.patience,
    }
    handed_on = ", ".join(f".{file_parameter(rom)}({file_parameter(rom)})" for rom in rom_names(chip))
    text = _with_defaults(text, values).replace(PLACEHOLDER, handed_on)
    return names.renamed(VerilogFile("kestrel_tb.v", text))


def _with_defaults(text: str, values: Mapping[str, object]) -> str:
    """The module's text with other defaults of some parameters."""
    for name, value in values.items():
        text, found = re.subn(rf"(parameter (?:\[31:0\] )?{name} =) [^,\s]+", rf"\1 {value}", text)
        assert found == 1, name
    return text
