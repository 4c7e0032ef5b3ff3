"""Each bench is handed a block with a fault that it must see."""

from dataclasses import replace

import pytest

from kestrel.verif.blocks.planted.generated import Fault, run_with
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.build.verilator import BenchFailed

CONFIG = block_config(3, 3, 5)
STREAM = replace(block_config(3, 3, 5, max_width=8), stream_bytes=2)
SEVERAL = replace(block_config(2, 2, 8, max_width=8), descriptor_maps=3)
ROOMY = replace(
    block_config(4, 2, 8, load_kernels=2, max_width=8),
    feature_words=(1024, 1024), weight_words=2048, table_words=1024,
)  # fmt: skip

# The fields of ``Fault`` by what is wrong.
FAULTS = {
    "a tap takes its neighbour's activation": (
        "compute.kernel_unit", CONFIG, "kernel_unit", r"magnitude_0 \^", "magnitude_1 ^", "product: item"
    ),
    "no saturation": (
        "compute.requantise_lane", CONFIG, "requantise_lane",
        r"(wire above_y) = [^;]+;", r"\1 = 1'h0;", "y: item"
    ),
    "nothing ever comes out": (
        "compute.accumulator", CONFIG, "accumulator", r"pixel_1_valid & pixel_1_emit\};", "1'h0};",
        "acc_ahead: item",
    ),
    "after a strip of odd height the next one begins in an odd row": (
        "compute.pool", CONFIG, "pool", r"if \(pixel_1_last\)", "if (1'h0)", "result: item"
    ),
    "a picture ends with the first visit": (
        "memory.image_input", STREAM, "image_input",
        r"(wire image_end = .*& )ends_image;", r"\1ends_strip;",
        "(ending|error): item",
    ),
    "the rest of a picture that is too long stays in the stream": (
        "memory.image_input", STREAM, "image_input", r"assign tready = [^;]+;", "assign tready = taking;",
        "tready: item",
    ),
    "the rows of a picture do not go round in their region": (
        "memory.image_input", STREAM, "raster", r"\(advanced == strip_end\)", "1'h0", "write: item"
    ),
    "a beat that waits is overwritten": (
        "memory.feature_output", CONFIG, "feature_output", r"wire move = [^;]+;", "wire move = 1'h1;",
        "(read_en|tvalid|tdata|tlast|tkeep): item",
    ),
    "a visit to the output ends before its last beat": (
        "memory.feature_output", CONFIG, "feature_output",
        r"& ~reading & ~fetched;", "& ~reading;", "ending: item"
    ),
    "the output ends with every visit": (
        "memory.feature_output", CONFIG, "raster",
        r"(assign ends_image = .*)& of_image;", r"\1;", "tlast: item"
    ),
    "the next layer does not wait for the pipeline": (
        "control.sequencer", ROOMY, "sequencer", r"(if \(active\) begin\s+\S+ <= )4'h\w+;", r"\g<1>4'h1;",
        "(adopt|starved): item",
    ),
    "the layer record is one word short": (
        "control.sequencer", ROOMY, "sequencer", r"word == 5'hb\)", "word == 5'ha)",
        "(adopt|go|starved|load_start): item",
    ),
    "a word's sums go on from the last one's": (
        "descriptor.squares", CONFIG, "descriptor_squares",
        r"starts_3 \? 32'h0 : squares", "squares", "map .*, not "
    ),
    "a reciprocal is a digit short": (
        "descriptor.reciprocal", CONFIG, "descriptor_reciprocal", r"steps > 6'h11", "steps > 6'h10",
        "(reciprocal|amount): item",
    ),
    "the root of a pass that copied is taken for the next one's": (
        "descriptor.vectors", CONFIG, "descriptor_vectors", r"squares_it \? stage_3", "squares_it ? stage_2",
        "SQUARE|sums|best",
    ),
    "the rows of a pair are not added up": (
        "descriptor.whitening", CONFIG, "descriptor_whitening",
        r"pairs & in_word\[0\]", "1'h0 & in_word[0]", "matrix"
    ),
    "a descriptor's sums end a byte early": (
        "descriptor.output", CONFIG, "descriptor_output", r"part == 2'h3", "part == 2'h2", "vector"
    ),
    "a header of another map is taken": (
        "descriptor.header", CONFIG, "descriptor_header", r"rom_data\[15:0\] != \{6'h0, channels\}", "1'h0",
        "bad_map",
    ),
    "a crop of another rotation continues the sum": (
        "descriptor.unit", CONFIG, "descriptor_unit",
        r"command_first_rotation == begun_first", "1'h1", "not error 4"
    ),
    "a packet ends with every map": (
        "descriptor.unit", SEVERAL, "descriptor_unit", r"output__tlast & ~more", "output__tlast",
        "bytes, last True",
    ),
    "the sums of one map are those of another": (
        "descriptor.vectors", SEVERAL, "descriptor_vectors",
        r"\{map, busy \? near_index : read_index\}", "{2'h0, busy ? near_index : read_index}", "sums: "
    ),
    "a frame with a wrong CRC is carried out": (
        "board.host_bridge", CONFIG, "frame_receiver", r"crc == 32'hdebb20e3", "1'h1",
        "answers|resets|registers"
    ),
    "bytes of an image that were accepted are accepted once more": (
        "board.host_bridge", CONFIG, "image_ring", r"\(where == accepted\)", "1'h1",
        "answers: item|image: (item|the chip)"
    ),
    "a layer has one input group too many": (
        "control.sequencer", ROOMY, "sequencer",
        r"in_group\} \+ 17'h2\)", "in_group} + 17'h1)", "(tile|load_start): item"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_bench_sees_a_fault(name, tmp_path, seed):
    fault = Fault(*FAULTS[name])
    with pytest.raises(BenchFailed, match=fault.message):
        run_with(fault, tmp_path, seed)
