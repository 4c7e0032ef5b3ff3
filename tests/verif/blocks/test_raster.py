import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config", [block_config(1, 1, 4, max_width=8), block_config(3, 3, 5, row_groups=True)], ids=config_label
)
def test_raster_walks_every_strip(config, tmp_path, seed):
    run_block("memory.raster", config, tmp_path, seed)
