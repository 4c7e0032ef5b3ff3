import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 4), block_config(1, 1, 8), block_config(3, 1, 4, row_groups=True),
     block_config(16, 1, 8, row_groups=True)],
    ids=config_label,
)  # fmt: skip
def test_requantise_lane_equals_its_model(config, tmp_path, seed):
    run_block("compute.requantise_lane", config, tmp_path, seed)


@pytest.mark.parametrize(
    "config",
    # In 4x2 with four kernels a cycle there are more biases on the bus than lanes.
    [
        block_config(1, 1, 8),
        block_config(3, 3, 5),
        block_config(4, 2, 4, 4),
        block_config(2, 4, 8, 2),
        block_config(6, 3, 8, 2, row_groups=True),
        block_config(2, 2, 5, residual=True),
    ],
    ids=config_label,
)
def test_requantise_equals_its_model(config, tmp_path, seed):
    run_block("compute.requantise", config, tmp_path, seed)
