import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 4), block_config(16, 1, 8), block_config(4, 1, 8, mask_bits_max=3)],
    ids=config_label,
)
def test_accumulator_lane_equals_its_model(config, tmp_path, seed):
    run_block("compute.accumulator_lane", config, tmp_path, seed)


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, partial_depth=4, max_width=4),
        block_config(1, 2, 4, partial_depth=5, max_width=5),  # one more than a power of two
        block_config(2, 4, 8),
        block_config(3, 3, 5, mask_bits_max=1),
        block_config(2, 2, 5, residual=True),
    ],
    ids=config_label,
)
def test_accumulator_equals_its_model(config, tmp_path, seed):
    run_block("compute.accumulator", config, tmp_path, seed)
