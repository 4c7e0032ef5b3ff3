"""The chip's core: the engine with its ROMs outside, and the descriptor unit beside the feature output."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import place
from kestrel.hw.descriptor.unit import NIP_COMMAND, Nip
from kestrel.hw.engine import NO_OUTPUT, Engine, OtherOutput
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import NIP_ERROR_BASE
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
    describe : In(1), command : In(NIP_COMMAND)   the frame ends in the descriptor unit; constant while busy
    d_tdata, d_tlast, d_tvalid : Out, d_tready : In   the descriptor, a byte a beat
    """

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        super().__init__(chip.engine)

    def _ports(self) -> dict[str, Any]:
        config, nip = self.chip.engine, self.chip.nip
        ports = super()._ports() | {
            "table_en": Out(1),
            "table_addr": Out(bits_for(config.table_words - 1)),
            "table_data": In(TABLE_WORD_BITS),
            "weights_en": Out(1),
            "weights_addr": Out(bits_for(config.weight_words - 1)),
            "weights_data": In(config.rom_word_bits),
        }
        if nip:
            ports |= {
                "descriptor_en": Out(1),
                "descriptor_addr": Out(bits_for(nip.rom_words - 1)),
                "descriptor_data": In(nip.word_bits),
                "describe": In(1),
                "command": In(NIP_COMMAND),
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
        if self.chip.nip is None:
            return NO_OUTPUT
        nip = Nip(self.chip.engine, self.chip.nip)
        place(m, "nip", nip)
        error = Signal(ERROR_BITS)
        with m.If(nip.error != 0):
            m.d.comb += error.eq(nip.error + NIP_ERROR_BASE)
        m.d.comb += [
            nip.go.eq(go & self.describe),
            nip.visit.eq(visit),
            nip.layer.eq(layer),
            nip.command.eq(self.command),
            nip.banks.eq(banks),
            self.descriptor_en.eq(nip.rom_en),
            self.descriptor_addr.eq(nip.rom_addr),
            nip.rom_data.eq(self.descriptor_data),
            self.d_tdata.eq(nip.tdata),
            self.d_tlast.eq(nip.tlast),
            self.d_tvalid.eq(nip.tvalid),
            nip.tready.eq(self.d_tready),
        ]
        return OtherOutput(self.describe, nip.active, nip.ending, error, nip.read_en, nip.address)
