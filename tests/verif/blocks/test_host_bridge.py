import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize("config", [block_config(2, 2, 8), block_config(3, 1, 5)], ids=config_label)
def test_the_bridge_answers_as_its_model(config, tmp_path, seed):
    run_block("board.host_bridge", config, tmp_path, seed)
