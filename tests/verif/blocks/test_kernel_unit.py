import pytest

from kestrel.verif.blocks.support.run import block_config, run_block


@pytest.mark.parametrize(
    ("activation_bits", "mask_bits_max"), [(4, 5), (5, 5), (8, 5), (8, 3), (4, 2), (8, 2), (5, 1), (8, 1)]
)
def test_kernel_unit_equals_its_model(activation_bits, mask_bits_max, tmp_path, seed):
    config = block_config(1, 1, activation_bits, mask_bits_max=mask_bits_max)
    results = run_block("compute.kernel_unit", config, tmp_path, seed)
    assert len(results.ran) == 4
