from dataclasses import replace

import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        replace(block_config(1, 1, 4), feature_words=(2, 9)),
        block_config(2, 6, 5),
        block_config(3, 6, 5, row_groups=True),
        block_config(2, 2, 5, residual=True),
    ],
    ids=config_label,
)
def test_feature_memory_equals_its_model(config, tmp_path, seed):
    run_block("memory.feature_memory", config, tmp_path, seed)
