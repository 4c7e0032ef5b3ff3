import pytest

from verif.blocks import block_config, config_label, run_block


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=8),
        block_config(2, 2, 8, max_width=12),
        block_config(3, 3, 5, max_width=8),
        block_config(4, 2, 7, max_width=8),
        block_config(16, 16, 8, max_width=8),
    ],
    ids=config_label,
)
def test_descriptor_unit_equals_the_integer_chain(config, tmp_path, seed):
    results = run_block("nip", config, tmp_path, seed)
    assert len(results.ran) == 3


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 4, max_width=8), block_config(2, 2, 8, max_width=12), block_config(3, 3, 5)],
    ids=config_label,
)
def test_sums_of_squares_of_regions(config, tmp_path, seed):
    run_block("nip_squares", config, tmp_path, seed)


@pytest.mark.parametrize(
    "block",
    [
        "isqrt", "nip_multiply", "nip_reciprocal", "nip_rows", "nip_whitening", "nip_output", "nip_header",
        "nip_vectors",
    ],
)  # fmt: skip
def test_small_blocks_equal_their_models(block, tmp_path, seed):
    run_block(block, block_config(2, 2, 8), tmp_path, seed)
