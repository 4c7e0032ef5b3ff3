import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 4), block_config(1, 1, 8), block_config(1, 1, 5, residual=True)],
    ids=config_label,
)
def test_pool_lane_equals_its_model(config, tmp_path, seed):
    run_block("compute.pool_lane", config, tmp_path, seed)


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=3),
        block_config(3, 3, 5, max_width=5),
        block_config(2, 4, 8),
        block_config(3, 6, 8, row_groups=True),
        block_config(1, 1, 4, max_width=3, residual=True),
        block_config(2, 4, 8, residual=True),
        block_config(3, 3, 5, max_width=9, row_groups=True, residual=True),
    ],
    ids=config_label,
)
def test_pool_equals_its_model(config, tmp_path, seed):
    run_block("compute.pool", config, tmp_path, seed)
