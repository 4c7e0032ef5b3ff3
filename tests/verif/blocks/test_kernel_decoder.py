import pytest

from kestrel.hw.spec.engine_config import MASK_BITS_MAX
from kestrel.verif.blocks.support.run import block_config, config_label, run_block

every_width = pytest.mark.parametrize(
    "config", [block_config(1, 1, 8, mask_bits_max=bits) for bits in MASK_BITS_MAX], ids=config_label
)


@every_width
def test_digit_decoder_equals_the_mask_codes(config, tmp_path, seed):
    run_block("compute.digit_decoder", config, tmp_path, seed)


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 8, mask_bits_max=bits) for bits in MASK_BITS_MAX]
    + [block_config(1, 1, 8, mask_bits_max=bits, residual=True) for bits in (2, 5)]
    + [block_config(1, 1, 8, mask_bits_max=5, residual=True, scalar_tables=True)],
    ids=config_label,
)
def test_kernel_decoder_equals_the_stored_form(config, tmp_path, seed):
    run_block("compute.kernel_decoder", config, tmp_path, seed)
