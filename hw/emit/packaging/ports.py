"""The ports of the wrapper: names by which tools know clock, reset and AXI."""

from dataclasses import dataclass

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.registers import ADDRESS_BITS, REGISTER_BITS
from kestrel.hw.spec.widths import PIXEL_BITS

INPUT, OUTPUT = "input", "output"

_AXI_LITE = (
    (INPUT, "awaddr", ADDRESS_BITS), (INPUT, "awprot", 3), (INPUT, "awvalid", 1), (OUTPUT, "awready", 1),
    (INPUT, "wdata", REGISTER_BITS), (INPUT, "wstrb", REGISTER_BITS // 8), (INPUT, "wvalid", 1),
    (OUTPUT, "wready", 1), (OUTPUT, "bresp", 2), (OUTPUT, "bvalid", 1), (INPUT, "bready", 1),
    (INPUT, "araddr", ADDRESS_BITS), (INPUT, "arprot", 3), (INPUT, "arvalid", 1), (OUTPUT, "arready", 1),
    (OUTPUT, "rdata", REGISTER_BITS), (OUTPUT, "rresp", 2), (OUTPUT, "rvalid", 1), (INPUT, "rready", 1),
)  # fmt: skip


@dataclass(frozen=True)
class Port:
    """A port of the wrapper: ``inner`` is that of the chip which it drives or shows, the reset inverted;
    ``interface`` the bus that it belongs to, and ``logical`` its name there."""

    way: str
    name: str
    bits: int
    inner: str
    interface: str
    logical: str


@dataclass(frozen=True)
class Interface:
    """A bus of the wrapper: its type as Vivado names it, and what Vivado should know of it."""

    name: str
    kind: str
    parameters: tuple[tuple[str, str], ...]

    @property
    def is_master(self) -> bool:
        return self.name.startswith("m_")


AXI_LITE, IMAGE, FEATURES = "s_axi", "s_axis", "m_axis"
CLOCK, RESET, INTERRUPT = "aclk", "aresetn", "irq"


def wrapper_ports(chip: ChipConfig) -> tuple[Port, ...]:
    """In the order of the module's head."""
    image, lanes = PIXEL_BITS * chip.engine.stream_bytes, chip.engine.word_lanes

    def stream(way: str, name: str, back: str, wires: tuple[tuple[str, int], ...]) -> list[Port]:
        forth = [Port(way, f"{name}_{wire}", bits, f"{name}_{wire}", name, wire) for wire, bits in wires]
        return [*forth, Port(back, f"{name}_tready", 1, f"{name}_tready", name, "tready")]

    return (
        Port(INPUT, CLOCK, 1, "clk", CLOCK, "clk"),
        Port(INPUT, RESET, 1, "rst", RESET, "rst"),
        *(Port(way, f"{AXI_LITE}_{name}", bits, f"s_axil_{name}", AXI_LITE, name)
          for way, name, bits in _AXI_LITE),
        *stream(INPUT, IMAGE, OUTPUT, (("tdata", image), ("tlast", 1), ("tvalid", 1))),
        *stream(OUTPUT, FEATURES, INPUT,
                (("tdata", 8 * lanes), ("tkeep", lanes), ("tlast", 1), ("tvalid", 1))),
        Port(OUTPUT, INTERRUPT, 1, "irq", INTERRUPT, "interrupt"),
    )  # fmt: skip


def interfaces(chip: ChipConfig) -> tuple[Interface, ...]:
    """In the order of their first ports."""
    stream = "xilinx.com:interface:axis:1.0"
    return (
        Interface(CLOCK, "xilinx.com:signal:clock:1.0", (
            ("ASSOCIATED_BUSIF", f"{AXI_LITE}:{IMAGE}:{FEATURES}"), ("ASSOCIATED_RESET", RESET))),
        Interface(RESET, "xilinx.com:signal:reset:1.0", (("POLARITY", "ACTIVE_LOW"),)),
        Interface(AXI_LITE, "xilinx.com:interface:aximm:1.0", (
            ("PROTOCOL", "AXI4LITE"), ("DATA_WIDTH", str(REGISTER_BITS)), ("ADDR_WIDTH", str(ADDRESS_BITS)))),
        Interface(IMAGE, stream, (
            ("TDATA_NUM_BYTES", str(chip.engine.stream_bytes)), ("HAS_TKEEP", "0"), ("HAS_TLAST", "1"))),
        Interface(FEATURES, stream, (
            ("TDATA_NUM_BYTES", str(chip.engine.word_lanes)), ("HAS_TKEEP", "1"), ("HAS_TLAST", "1"))),
        Interface(INTERRUPT, "xilinx.com:signal:interrupt:1.0", (("SENSITIVITY", "LEVEL_HIGH"),)),
    )  # fmt: skip
