from verif.blocks import block_config, run_block

CONFIG = block_config(1, 1, 8)  # the decoders are the same in all


def test_digit_decoder_equals_the_mask_codes(tmp_path, seed):
    run_block("digit_decoder", CONFIG, tmp_path, seed)


def test_kernel_decoder_equals_the_stored_form(tmp_path, seed):
    run_block("kernel_decoder", CONFIG, tmp_path, seed)
