from dataclasses import replace

import pytest

from kestrel.verif.blocks.support.run import block_config, run_block

CONFIG = replace(block_config(1, 1, 5, max_width=7, residual=True), feature_words=(1024, 1024))
# In a word all channels; one or two sets; parts of sets; a colour. A pair of the stream takes 2 to 6 beats.
CONFIGS = {
    "32 lanes, 4 bytes": replace(CONFIG, input_lanes=32, output_lanes=32, stream_bytes=4),
    "16 lanes, 2 bytes": replace(CONFIG, input_lanes=16, output_lanes=8, stream_bytes=2, activation_bits=8),
    "9 lanes, 1 byte": replace(CONFIG, input_lanes=3, output_lanes=9, row_groups=True),
    "4 lanes, 4 bytes": replace(CONFIG, input_lanes=4, output_lanes=2, stream_bytes=4),
    "4 lanes, 4 bytes, batch": replace(CONFIG, input_lanes=4, output_lanes=2, stream_bytes=4, batch=True),
    "1 lane, 1 byte": CONFIG,
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_block_input_writes_the_map_of_the_picture(config, tmp_path, seed):
    run_block("memory.block_input", config, tmp_path, seed)
