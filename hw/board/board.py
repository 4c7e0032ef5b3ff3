"""A board's design but for what is the board's own: the chip, and the bridge that joins it to a host."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.board.host_bridge import AXI, INFO_READER, HostBridge
from kestrel.hw.chip.axi_lite import AXI_LITE
from kestrel.hw.chip.top import AXIL, Top
from kestrel.hw.common.connections import feed, join, stream
from kestrel.hw.common.memories import rom
from kestrel.hw.common.place import place
from kestrel.hw.core import feature_stream
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import INFO_BYTES, LinkConfig
from kestrel.hw.spec.widths import BYTE

LEDS = 8


class Board(wiring.Component):
    """One clock; ``rst`` is synchronous, active high. Raises InputError for a chip whose image stream is
    wider than a byte, which no serial line would fill.

    Members
    -------
    rx : In(1), tx : Out(1)   The serial line to the host, see ``kestrel.hw.spec.link``.
    leds : Out(8)             Interrupt; the chip takes image bytes; it offers output; the line's two
                              directions; the rest are off.
    """

    def __init__(self, chip: ChipConfig, link: LinkConfig) -> None:
        if chip.engine.stream_bytes != 1:
            raise InputError(
                f"configuration {chip.engine.name!r}: stream_bytes = {chip.engine.stream_bytes}; "
                "allowed on a board: 1"
            )
        self.chip, self.link = chip, link
        super().__init__({"rx": In(1), "tx": Out(1), "leds": Out(LEDS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        engine = self.chip.engine
        bridge, chip = HostBridge(engine, self.link), Top(self.chip)
        place(m, "bridge", bridge)
        place(m, "chip", chip, reset=bridge.chip_reset)
        join(m, AXI_LITE, source=(bridge, AXI), sink=(chip, AXIL))
        join(m, stream(BYTE), source=(bridge, "image_"), sink=(chip, "s_axis_"))
        join(m, feature_stream(engine), source=(chip, "m_axis_"), sink=(bridge, "output_"))
        feed(m, bridge, rx=self.rx, irq=chip.irq)
        rom(
            m, "info", width=BYTE, depth=INFO_BYTES, en=bridge.info_en, addr=bridge.info_addr,
            rdata=bridge.info_data,
        )  # fmt: skip
        assert set(INFO_READER.members) == {"en", "addr", "data"}
        m.d.comb += [
            self.tx.eq(bridge.tx),
            self.leds.eq(Cat(chip.irq, chip.s_axis_tvalid, chip.m_axis_tvalid, ~self.rx, ~bridge.tx)),
        ]
        return m
