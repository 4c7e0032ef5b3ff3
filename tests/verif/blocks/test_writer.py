import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=4),
        block_config(6, 2, 5, max_width=8),
        block_config(2, 4, 8, max_width=8),
        block_config(6, 2, 5, max_width=8, row_groups=True),
        block_config(3, 6, 8, max_width=8, row_groups=True),
        block_config(2, 4, 8, max_width=8, residual=True),
    ],
    ids=config_label,
)
def test_writer_puts_every_result_in_its_place(config, tmp_path, seed):
    run_block("memory.writer", config, tmp_path, seed)
