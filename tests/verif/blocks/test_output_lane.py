import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4),
        block_config(3, 1, 5, 3),
        block_config(16, 1, 8, 4),
        *(block_config(lanes, 1, 8, row_groups=True) for lanes in (3, 7, 12, 24)),
        block_config(4, 1, 8, 2, mask_bits_max=2),
        block_config(4, 1, 8, 2, mask_bits_max=1),
    ],
    ids=config_label,
)
def test_output_lane_equals_its_model(config, tmp_path, seed):
    run_block("compute.output_lane", config, tmp_path, seed)
