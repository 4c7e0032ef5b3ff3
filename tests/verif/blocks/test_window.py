import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=5),
        block_config(2, 6, 8, max_width=8),
        block_config(6, 3, 5, load_kernels=3, max_width=8),
        block_config(3, 6, 5, load_kernels=3, max_width=8, row_groups=True),
        block_config(8, 4, 8, load_kernels=2, max_width=8, row_groups=True),
        block_config(2, 4, 5, max_width=8, residual=True),
        block_config(6, 3, 5, load_kernels=3, max_width=8, residual=True, row_groups=True),
    ],
    ids=config_label,
)
def test_window_equals_the_padded_map(config, tmp_path, seed):
    run_block("compute.window", config, tmp_path, seed)
