from dataclasses import replace

import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 8),
        block_config(2, 4, 8, 2),
        block_config(6, 3, 8, 3),
        block_config(2, 2, 8, 2, mask_bits_max=3),
        block_config(3, 3, 8, 3, mask_bits_max=2),
        block_config(4, 2, 8, 2, mask_bits_max=1),
        block_config(1, 1, 8, scalar_tables=True, mask_bits_max=1),
        block_config(6, 3, 8, 3, scalar_tables=True),
    ],
    ids=config_label,
)
def test_weight_loader_equals_the_stream(config, tmp_path, seed):
    run_block("memory.weight_loader", replace(config, weight_words=2048), tmp_path, seed)


@pytest.mark.parametrize("bench", ["bench", "residual_bench"])
@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 8, residual=True),
        block_config(2, 4, 8, 2, residual=True),
        block_config(6, 3, 8, 3, residual=True, mask_bits_max=3),
        block_config(3, 3, 8, 1, residual=True, mask_bits_max=2),
    ],
    ids=config_label,
)
def test_weight_loader_for_residual_networks(config, bench, tmp_path, seed):
    config = replace(config, weight_words=2048)
    run_block("memory.weight_loader", config, tmp_path, seed, bench=bench)


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 2, 8, scalar_tables=True, mask_bits_max=1),
        block_config(4, 2, 8, 4, scalar_tables=True),
        block_config(6, 3, 8, 3, residual=True, scalar_tables=True, mask_bits_max=3),
        block_config(3, 6, 8, 1, residual=True, scalar_tables=True),
    ],
    ids=config_label,
)
def test_weight_loader_looks_scalars_up(config, tmp_path, seed):
    config = replace(config, weight_words=2048)
    run_block("memory.weight_loader", config, tmp_path, seed, bench="tables_bench")
