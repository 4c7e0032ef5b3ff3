"""The bench of the weight loader with tables of scalars is handed loaders with faults that it must see."""

from dataclasses import replace

import pytest

from kestrel.verif.blocks.planted.generated import Fault, run_with
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.build.verilator import BenchFailed

BENCH = "memory.weight_loader:tables_bench"
NARROW = replace(block_config(3, 6, 8, residual=True, scalar_tables=True), weight_words=2048)
"""One kernel a cycle: a table takes several beats."""
WIDE = replace(block_config(6, 3, 8, 3, residual=True, scalar_tables=True), weight_words=2048)

# Configuration, pattern, replacement and message of ``Fault`` by what is wrong.
FAULTS = {
    "every tile begins with tables": (
        NARROW, r"begins_layer <= rebase;", "begins_layer <= 1'b1;", "(ready is|registers: item)"
    ),
    "the tables are not read again for the next digit": (
        NARROW, r"if \(rebase \| ~rewind\) begin(\s+begins_layer)", r"if (1'b1) begin\1",
        "(ready is|registers: item)",
    ),
    "a shortcut's kernels look up one entry in the layer's table": (
        NARROW, r"(wire \[7:0\] entry_1 = )shortcut \? shortcut_scalar_1 : own_scalar_1;", r"\1own_scalar_1;",
        "registers: item",
    ),
    "all beats of a table are written over its first": (
        NARROW, r"cut_beat_1 <= table_beat;", "cut_beat_1 <= 2'h0;", "registers: item"
    ),
    "a broken frame leaves a table half read": (
        NARROW, r"(if \(filled == 2'h2\) begin\s+)table_beat <= 2'h0;", r"\1", "(ready is|registers: item)"
    ),
    "the layer's own table is not read behind the shortcut's": (
        NARROW, r"own_table <= ~shortcut;", "own_table <= 1'b1;", "(ready is|registers: item)"
    ),
    "scalars of eight bits are looked up": (
        WIDE, r"(wire \[7:0\] scalar_2 = )~\(scalar_bits != 4'h8\) \? number_2 : ", r"\1", "registers: item"
    ),
    "the last scalar of a block lies behind one of another width": (
        WIDE, r"(number_2 =[^;]+scalar_bits == 4'h3 \? \{5'h0, stored_scalars)\[8:6\]", r"\1[10:8]",
        "registers: item",
    ),
    "the scalars of a smaller block lie where those of a whole one do": (
        WIDE, r"cut_masks_1 <= [^;]+;", "cut_masks_1 <= 2'h3 * mask_unit;", "registers: item"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_bench_sees_a_fault(name, tmp_path, seed):
    config, pattern, replacement, message = FAULTS[name]
    fault = Fault(BENCH, config, "weight_loader", pattern, replacement, message)
    with pytest.raises(BenchFailed, match=fault.message):
        run_with(fault, tmp_path, seed)
