import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=4),
        block_config(2, 6, 8, max_width=16),
        block_config(4, 4, 5, row_groups=True),
        block_config(1, 1, 4, max_width=4, residual=True),
        block_config(2, 6, 8, residual=True),
        block_config(2, 2, 8, batch=True),
        block_config(6, 3, 5, load_kernels=3, residual=True, row_groups=True, batch=True),
    ],
    ids=config_label,
)
def test_reader_presents_the_columns_of_the_model(config, tmp_path, seed):
    run_block("memory.reader", config, tmp_path, seed)
