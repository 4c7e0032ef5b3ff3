"""Each bench of what batches need is handed a block with a fault that it must see."""

from dataclasses import replace

import pytest

from kestrel.verif.blocks.planted.generated import Fault, run_with
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.build.verilator import BenchFailed

BATCH = replace(
    block_config(2, 4, 8, 2, max_width=7, residual=True, batch=True),
    feature_words=(1024, 1024), weight_words=2048, stream_bytes=2,
)  # fmt: skip
COLUMN = "(addresses|top_bank|pixel|edges): item"

# The fields of ``Fault`` by what is wrong.
FAULTS = {
    "rows are counted through all images": (
        "memory.reader", BATCH, "reader", r"(if \(ends_image\) begin\s+)row <= 16'h0;", r"\1;", COLUMN,
    ),
    "a row that is left over between two images is read": (
        "memory.reader", BATCH, "reader", r"ends_image \? \([^)]+\) : choice_\d", "choice_5", COLUMN,
    ),
    "a shortcut's map has the gaps of the layer's own": (
        "memory.reader", BATCH, "reader", r"layer_shortcut_gap : layer_read_gap",
        "layer_read_gap : layer_read_gap", COLUMN,
    ),
    "only the first image has an end": (
        "memory.reader", BATCH, "reader", r"image_rows_left <= image_rows;", ";", COLUMN,
    ),
    "a strip is taken to begin with an image": (
        "memory.reader", BATCH, "reader", r"image_rows_left <= visit_image_rows_left;",
        "image_rows_left <= visit_image_rows;", COLUMN,
    ),
    "only the first image in blocks has an upper edge": (
        "memory.block_input", BATCH, "block_input", r"top <= 1'b1;", ";",
        "(write|ending|tready): item",
    ),
    "only the first image in blocks has a last row": (
        "memory.block_input", BATCH, "block_input", r"rows_left <= layer_height;", ";",
        "(write|ending|tready): item",
    ),
    "an image begins in the last row of blocks of an odd one": (
        "memory.block_input", BATCH, "block_input", r"(wire odd_or_in_last_row = odd) \| in_last_row;",
        r"\1;", "(write|ending|tready|active|error): item",
    ),
    "every visit must end the frame": (
        "memory.block_input", BATCH, "block_input", r"(wire image_end = [^;]+) & ends_frame;", r"\1;",
        "(error|tready|ending|active): item",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_bench_sees_a_fault(name, tmp_path, seed):
    fault = Fault(*FAULTS[name])
    with pytest.raises(BenchFailed, match=fault.message):
        run_with(fault, tmp_path, seed)
