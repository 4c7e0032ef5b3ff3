import pytest

from verif.blocks import block_config, config_label, run_block


@pytest.mark.parametrize("activation_bits", [4, 8])
def test_requantise_lane_equals_its_model(activation_bits, tmp_path, seed):
    run_block("requantise_lane", block_config(1, 1, activation_bits), tmp_path, seed)


@pytest.mark.parametrize(
    "config",
    # In 4x2 with four kernels a cycle there are more biases on the bus than lanes.
    [block_config(1, 1, 8), block_config(3, 3, 5), block_config(4, 2, 4, 4), block_config(2, 4, 8, 2)],
    ids=config_label,
)
def test_requantise_equals_its_model(config, tmp_path, seed):
    run_block("requantise", config, tmp_path, seed)
