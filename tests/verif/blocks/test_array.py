import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 8),
        block_config(2, 4, 4, 2),
        block_config(4, 2, 5, 2),
        block_config(3, 3, 8),
        block_config(4, 4, 8, 2, row_groups=True),
        block_config(12, 3, 5, 3, row_groups=True),
        block_config(2, 2, 8, mask_bits_max=2),
        block_config(4, 2, 5, 2, mask_bits_max=1),
    ],
    ids=config_label,
)
def test_array_equals_its_model(config, tmp_path, seed):
    run_block("compute.array", config, tmp_path, seed)
