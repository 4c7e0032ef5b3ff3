import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(4, 2, 8),
        block_config(1, 1, 4, residual=True),
        block_config(2, 6, 8, residual=True),
        block_config(6, 2, 8, residual=True, mask_bits_max=3),
    ],
    ids=config_label,
)
def test_tiles_of_layers_come_in_order(config, tmp_path, seed):
    run_block("control.tile_counter", config, tmp_path, seed)
