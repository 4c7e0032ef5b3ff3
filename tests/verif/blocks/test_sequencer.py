from dataclasses import replace

import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=8),
        block_config(2, 6, 6, max_width=8, mask_bits_max=3),
        block_config(4, 2, 8, load_kernels=2, max_width=8),
        block_config(4, 4, 8, max_width=8, row_groups=True),
        block_config(1, 1, 4, residual=True),
        block_config(2, 4, 8, residual=True),
        block_config(6, 3, 5, residual=True, row_groups=True, mask_bits_max=3),
        block_config(4, 4, 8, max_width=8, row_groups=True, scalar_tables=True),
        block_config(2, 4, 8, residual=True, scalar_tables=True),
    ],
    ids=config_label,
)
def test_sequencer_hands_over_as_planned(config, tmp_path, seed):
    roomy = replace(config, feature_words=(1024, 1024), weight_words=2048, table_words=1024)
    run_block("control.sequencer", roomy, tmp_path, seed)
