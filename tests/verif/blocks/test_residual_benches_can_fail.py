"""Each bench of what residual networks need is handed a block with a fault that it must see."""

from dataclasses import replace

import pytest

from kestrel.verif.blocks.planted.generated import Fault, run_with
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.build.verilator import BenchFailed

RESIDUAL = replace(
    block_config(2, 4, 8, 2, max_width=7, residual=True),
    feature_words=(1024, 1024), weight_words=2048, stream_bytes=2,
)  # fmt: skip
MORE_IN = replace(block_config(6, 2, 8, residual=True), feature_words=(1024, 1024))
ROOMY = replace(
    block_config(2, 4, 8, residual=True), feature_words=(1024, 1024), weight_words=2048, table_words=1024
)

# The fields of ``Fault`` by what is wrong.
FAULTS = {
    "a layer of stride 2 goes on to the next row": (
        "memory.reader", RESIDUAL, "reader",
        r"(wire choice_5 = )tile_2\[18\] \? layer_shortcut_stride : layer_stride;", r"\g<1>1'h0;",
        "(addresses|top_bank|pixel|ending|edges|active): item",
    ),
    "a shortcut's pass takes the layer's steps": (
        "memory.reader", RESIDUAL, "reader",
        r"(wire choice_5 = )tile_2\[18\] \? layer_shortcut_stride : layer_stride;", r"\1layer_stride;",
        "(addresses|top_bank|pixel|ending|edges|active): item",
    ),
    "columns between the pixels of stride 2 count as pixels": (
        "memory.reader", RESIDUAL, "reader", r"active & ~\(condition_2 & column\[0\]\)\}", "active}",
        "pixel: item",
    ),
    "a row of stride 2 ends with its last column": (
        "memory.reader", RESIDUAL, "reader",
        r"ends_row <= \{1'b0, column_plus_1\} == choice_8;",
        "ends_row <= {1'b0, column_plus_1} == ({1'b0, choice_7} - 5'h1);", "pixel: item"
    ),
    "1x1 kernels of stride 2 see columns without pixels": (
        "memory.reader", RESIDUAL, "reader", r"choice_5 & \(tile_2\[18\] \| layer_centre\)",
        "choice_5 & tile_2[18]", "(pixel|addresses|ending): item"
    ),
    "the rows of a shortcut go round in the layer's own region": (
        "memory.reader", RESIDUAL, "reader", r"tile_2\[18\] \? layer_shortcut_end : layer_read_end",
        "layer_read_end", "addresses: item"
    ),
    "a shortcut is read from the part of the layer's own map": (
        "memory.reader", RESIDUAL, "reader", r"assign part = [^;]+;", "assign part = layer_read_part;",
        "part: item",
    ),
    "a shortcut's pass begins in the bank of the layer's own map": (
        "memory.reader", RESIDUAL, "reader",
        r"top_bank <= tile_shortcut \? visit_shortcut_bank :", "top_bank <= 1'h0 ? visit_shortcut_bank :",
        "(addresses|top_bank): item",
    ),
    "a shortcut's pass begins in the slot of the layer's own map": (
        "memory.reader", RESIDUAL, "reader", r" slot <= choice;", " slot <= visit_read_slot;",
        "addresses: item",
    ),
    "the lanes of a shortcut's last group are the layer's": (
        "memory.reader", RESIDUAL, "reader",
        r"tile_2\[18\] \? \(tile_2\[19\] \? layer\[\d+:\d+\] : 2'h2\) :", "", "lanes: item"
    ),
    "the pooling is told the wrong rows": (
        "memory.reader", RESIDUAL, "reader", r"assign pixel = \{row\[0\],", "assign pixel = {row[1],",
        "pixel: item",
    ),
    "a shortcut's pass reads rows that are still being written": (
        "control.sequencer", ROOMY, "sequencer",
        r"\(not_active_and_drain_left_is_0 \| ~reads_written\)", "1'h1", "(go|load_start): item"
    ),
    "every shortcut's pass waits, wherever its map lies": (
        "control.sequencer", ROOMY, "sequencer",
        r"(wire reads_written = \(fsm_state == 4'h7\) & \(visit_kind == 2'h2\) & in_shortcut &"
        r" first_of_shortcut)[^;]*;", r"\1;", "(go|starved|load_start): item",
    ),
    "weights are waited for while the pipeline drains before a shortcut": (
        "control.sequencer", ROOMY, "sequencer", r"~\(condition \| reads_written\)", "~condition",
        "starved: item",
    ),
    "a pass of a shortcut is repeated for the digits of the masks": (
        "control.sequencer", ROOMY, "sequencer", r"~last_digit & ~in_shortcut", "~last_digit",
        "(load_rewind|tile): item",
    ),
    "a projection goes on in its map from one output group to the next": (
        "control.tile_counter", RESIDUAL, "tile_counter_alone",
        r"(if \(condition_2\) begin\s+)shortcut_offset <= 11'h0;", r"\1;", "tile: item"
    ),
    "the convolution after a shortcut begins a sum of its own": (
        "control.tile_counter", RESIDUAL, "tile_counter_alone",
        r"& \(layer_in\[162:161\] == 2'h0\)", "", "tile: item"
    ),
    "an identity reads beyond the channels of its output group": (
        "control.tile_counter", RESIDUAL, "tile_counter_alone",
        r"last_of_shortcut <= condition \| [^;]+;", "last_of_shortcut <= condition;",
        "(tile|shortcut): item",
    ),
    "the sum of a shortcut is not shifted": (
        "control.tile_counter", RESIDUAL, "tile_counter_alone",
        r"tile_of\[13:12\] = layer_in\[168:167\];", "", "tile: item"
    ),
    "output groups of one word share the lanes of an identity": (
        "control.tile_counter", MORE_IN, "tile_counter_alone",
        r"shortcut_part_of_word <= condition \? [^;]+;", "shortcut_part_of_word <= 2'h0;", "tile: item"
    ),
    "an identity stays at the first word of its map": (
        "control.tile_counter", MORE_IN, "tile_counter_alone",
        r"(wire condition = \(layer_shortcut == 2'h1\)) & [^;]+;", r"\1;", "(tile|shortcut): item"
    ),
    "1x1 kernels take the bits of masks": (
        "memory.weight_loader:residual_bench", RESIDUAL, "weight_loader",
        r"unit_of = 6'h9;", "unit_of = 6'h11;", "(ready is|registers: item)"
    ),
    "the tap of a 1x1 kernel is always 1": (
        "compute.kernel_decoder", RESIDUAL, "kernel_decoder", r"tap_in \+ 2'h1\}", "2'h1}", "kernel: item"
    ),
    "a 1x1 kernel keeps the taps of its bits": (
        "compute.kernel_decoder", RESIDUAL, "kernel_decoder",
        r"(kernel_of\[10:8\] = tap_0_value_in;\s+if \()centre_in", r"\g<1>1'h0", "kernel: item"
    ),
    "a strip of a 3x3 pooling forgets the row above": (
        "compute.pool", RESIDUAL, "pool", r"pool_and_pool_3x3 & ~pixel_1_top;", "1'h0;", "data: item"
    ),
    "a 3x3 pooling drops an odd last row": (
        "compute.pool", RESIDUAL, "pool", r"pixel_1_odd \| \(pool_and_pool_3x3 & pixel_1_bottom\)",
        "pixel_1_odd", "result: item"
    ),
    "a 3x3 pooling drops an odd last column": (
        "compute.pool", RESIDUAL, "pool", r"column\[0\] \| \(pool_and_pool_3x3 & pixel_1_row_end\)",
        "column[0]", "result: item"
    ),
    "the last row of an image in blocks is written beyond the map": (
        "memory.block_input", RESIDUAL, "block_input", r"below <= odd & ~in_last_row;", "below <= odd;",
        "(write|ending|tready): item",
    ),
    "an odd row of the image is written into the words of the even ones": (
        "memory.block_input", RESIDUAL, "block_input",
        r" address <= slot \+ \{7'h0, layer_out_width, 1'b0\};", " address <= slot;", "write: item"
    ),
    "a diagonal tile keeps kernels of the tile before": (
        "memory.weight_loader:residual_bench", RESIDUAL, "weight_loader",
        r"wire clear_phase = [^;]+;", "wire clear_phase = 1'h0;", "registers: item"
    ),
    "a diagonal tile's kernels stay in one input lane": (
        "memory.weight_loader:residual_bench", RESIDUAL, "weight_loader",
        r"here = 2'h1 << cut_lane_1;", "here = 2'h1;", "registers: item"
    ),
    "a word of the pooling line is read while it is written": (
        "compute.pool", RESIDUAL, "pool", r"wire meets = [^;]+;", "wire meets = 1'h0;", "data: item"
    ),
    "output groups share a word of the pooling line": (
        "compute.pool", RESIDUAL, "pool", r"next_base = [^;]+;", "next_base = base;", "data: item"
    ),
    "a pair is overwritten before its words are written": (
        "memory.block_input", RESIDUAL, "block_input",
        r"assign tready = [^;]+;", "assign tready = taking | flushing;", "tready: item"
    ),
    "what lies outside a picture in blocks is taken from within": (
        "memory.block_input", RESIDUAL, "block_input", r"pads <= [^;]+;", "pads <= 3'h0;", "write: item"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_bench_sees_a_fault(name, tmp_path, seed):
    fault = Fault(*FAULTS[name])
    with pytest.raises(BenchFailed, match=fault.message):
        run_with(fault, tmp_path, seed)
