import pytest

from verif.blocks import block_config, run_block


@pytest.mark.parametrize("activation_bits", [4, 5, 8])
def test_kernel_unit_equals_its_model(activation_bits, tmp_path, seed):
    results = run_block("kernel_unit", block_config(1, 1, activation_bits), tmp_path, seed)
    assert len(results.ran) == 4
