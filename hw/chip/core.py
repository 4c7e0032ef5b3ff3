"""The chip's core: the engine with its ROMs outside, and the descriptor unit beside the feature output."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import place
from kestrel.hw.descriptor.unit import DESCRIPTOR_COMMAND, DescriptorUnit
from kestrel.hw.engine import NO_OUTPUT, Engine, OtherOutput
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DESCRIPTOR_ERROR_BASE
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.status import ERROR_BITS
from kestrel.hw.spec.widths import bits_for

BYTE = 8


class Core(Engine):
    """Members beyond the engine's
    table_en, table_addr : Out, table_data : In        the schedule table, one cycle latency
    weights_en, weights_addr : Out, weights_data : In   the weight ROM, likewise

    and, with a descriptor unit:
    descriptor_en, descriptor_addr : Out, descriptor_data : In   its ROM, likewise
    describe : In(1), command : In(DESCRIPTOR_COMMAND)   the frame ends in the descriptor unit; constant
                                                               while busy
    d_tdata, d_tlast, d_tvalid : Out, d_tready : In   the descriptor, a byte a beat
    """

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        super().__init__(chip.engine)

    def _ports(self) -> dict[str, Any]:
        config, descriptor = self.chip.engine, self.chip.descriptor
        ports = super()._ports() | {
            "table_en": Out(1),
            "table_addr": Out(bits_for(config.table_words - 1)),
            "table_data": In(TABLE_WORD_BITS),
            "weights_en": Out(1),
            "weights_addr": Out(bits_for(config.weight_words - 1)),
            "weights_data": In(config.rom_word_bits),
        }
        if descriptor:
            ports |= {
                "descriptor_en": Out(1),
                "descriptor_addr": Out(bits_for(descriptor.rom_words - 1)),
                "descriptor_data": In(descriptor.word_bits),
                "describe": In(1),
                "command": In(DESCRIPTOR_COMMAND),
                "d_tdata": Out(BYTE),
                "d_tlast": Out(1),
                "d_tvalid": Out(1),
                "d_tready": In(1),
            }
        return ports

    def read_table(self, m: Module, en: Any, addr: Any) -> Any:
        m.d.comb += [self.table_en.eq(en), self.table_addr.eq(addr)]
        return self.table_data

    def read_weights(self, m: Module, en: Any, addr: Any) -> Any:
        m.d.comb += [self.weights_en.eq(en), self.weights_addr.eq(addr)]
        return self.weights_data

    def other_output(self, m: Module, go: Any, visit: Any, layer: Any, banks: Any) -> OtherOutput:
        if self.chip.descriptor is None:
            return NO_OUTPUT
        unit = DescriptorUnit(self.chip.engine, self.chip.descriptor)
        place(m, "descriptor", unit)
        error = Signal(ERROR_BITS)
        with m.If(unit.error != 0):
            m.d.comb += error.eq(unit.error + DESCRIPTOR_ERROR_BASE)
        m.d.comb += [
            unit.go.eq(go & self.describe),
            unit.visit.eq(visit),
            unit.layer.eq(layer),
            unit.command.eq(self.command),
            unit.banks.eq(banks),
            self.descriptor_en.eq(unit.rom_en),
            self.descriptor_addr.eq(unit.rom_addr),
            unit.rom_data.eq(self.descriptor_data),
            self.d_tdata.eq(unit.tdata),
            self.d_tlast.eq(unit.tlast),
            self.d_tvalid.eq(unit.tvalid),
            unit.tready.eq(self.d_tready),
        ]
        return OtherOutput(self.describe, unit.active, unit.ending, error, unit.read_en, unit.address)
