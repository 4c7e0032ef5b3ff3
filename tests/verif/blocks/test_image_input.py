from dataclasses import replace

import pytest

from kestrel.verif.blocks.support.run import block_config, run_block

ROWS = block_config(6, 2, 6, max_width=8, row_groups=True)
CONFIGS = {
    "1 lane, 1 byte": block_config(1, 1, 4, max_width=4),
    "4 lanes, 3 bytes": replace(block_config(4, 2, 8, max_width=8), stream_bytes=3),
    "6 lanes, 4 bytes": replace(block_config(2, 6, 6, max_width=8), stream_bytes=4),
    "6 lanes, 2 bytes, row groups": replace(ROWS, stream_bytes=2),
    "4 lanes, 3 bytes, residual": replace(block_config(4, 2, 8, max_width=8, residual=True), stream_bytes=3),
    "12 lanes, 4 bytes, row groups": replace(ROWS, input_lanes=12, output_lanes=12, stream_bytes=4),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_image_input_writes_the_picture(config, tmp_path, seed):
    run_block("memory.image_input", config, tmp_path, seed)
