import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 4, max_width=4), block_config(6, 3, 5, max_width=8)],
    ids=config_label,
)
def test_feature_output_sends_the_map(config, tmp_path, seed):
    run_block("memory.feature_output", config, tmp_path, seed)
