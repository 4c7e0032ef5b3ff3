"""Each bench of a block of the chip, of the counters and of the raster is handed a fault that it must see."""

import pytest

from kestrel.verif.blocks.planted.source import SourceFault, changed_module, run_changed
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.build.verilator import BenchFailed

ANY = block_config(1, 1, 4)
WIDE = block_config(3, 3, 5)

FAULTS = {
    "an answer is overwritten by the next write's": (
        "chip.axi_lite", ANY, "has_data & ~answering & ~self.s_axil_bvalid", "has_data & ~answering",
        "(write|bresp|bvalid|awready|wready): item",
    ),
    "a byte that is not strobed is written": (
        "chip.register_file", ANY, "written & enable | value[f.name] & ~enable", "written", ": item",
    ),
    "a frame that was aborted counts as failed": (
        "chip.control", ANY, "was_busy.eq(self.core_busy & ~self.core_abort)", "was_busy.eq(self.core_busy)",
        "(causes|core_abort|interrupts): item",
    ),
    "frames run before the first self-check": (
        "chip.control_checked", ANY, "(~self.check_good if self.chip.startup_check else 0)", "0",
        "(causes|core_start|interrupts|busy): item",
    ),
    "a ROM is checked a word short": (
        "chip.rom_check", ANY, "with m.If(address == words):", "with m.If(address + 1 == words):",
        "check: item",
    ),
    "the last word of the table counts as beyond it": (
        "chip.table_watch", ANY, "address >= self.words", "address + 1 >= self.words", "inconsistent: item",
    ),
    "what is thrown away ends a beat late": (
        "chip.stream_input", WIDE, "with m.Elif(valid & last):", "with m.Elif(valid & last & ~inside):",
        ": item",
    ),
    "a packet that was cut short is not closed": (
        "chip.stream_output", WIDE, "m.d.sync += unclosed.eq(inside_next)", "m.d.sync += unclosed.eq(0)",
        ": item",
    ),
    "bytes of the last packet show": (
        "chip.byte_packer", WIDE, "[self.o_tdata.eq(0), self.o_tkeep.eq(0)]", "[self.o_tkeep.eq(0)]",
        "o_tdata: item",
    ),
    "a record that streams twice has the cycles of its last time": (
        "control.counters", ANY, "previous.eq(Mux(seen.bit_select(self.record, 1), stored, 0))",
        "previous.eq(0)", "value: item",
    ),
    "the slots do not go round": (
        "memory.raster", ANY, "Mux(advanced == self.strip.end, self.strip.base, advanced)", "advanced",
        "address: item",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_bench_sees_a_fault(name, tmp_path, seed):
    fault = SourceFault(*FAULTS[name])
    with pytest.raises(BenchFailed, match=fault.message):
        run_changed(fault, tmp_path, seed)


def test_a_change_is_in_one_place():
    with pytest.raises(ValueError, match="0 times"):
        changed_module("kestrel.hw.chip.byte_packer", "no such text", "")
