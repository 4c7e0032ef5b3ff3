"""Each block of the chip that customers reach through its ports, against a model of its own."""

from dataclasses import replace

import pytest

from kestrel.verif.blocks.support.run import block_config, config_label, run_block

ANY = block_config(1, 1, 4)
"""For blocks that are the same in every chip."""


@pytest.mark.parametrize("block", ["axi_lite", "register_file", "control", "control_checked"])
def test_block_equals_its_model(block, tmp_path, seed):
    run_block(f"chip.{block}", ANY, tmp_path, seed)


@pytest.mark.parametrize("config", [block_config(1, 1, 4), block_config(3, 3, 5)], ids=config_label)
@pytest.mark.parametrize("block", ["byte_packer", "stream_output"])
def test_output_equals_its_model(block, config, tmp_path, seed):
    run_block(f"chip.{block}", config, tmp_path, seed)


@pytest.mark.parametrize("stream_bytes", [1, 3])
def test_input_equals_its_model(stream_bytes, tmp_path, seed):
    run_block("chip.stream_input", replace(block_config(3, 3, 4), stream_bytes=stream_bytes), tmp_path, seed)


@pytest.mark.parametrize("descriptor_words", [0, 256])
def test_self_check_finds_what_is_wrong(descriptor_words, tmp_path, seed):
    config = block_config(6, 3, 5, 2) if descriptor_words else ANY
    run_block("chip.rom_check", replace(config, descriptor_words=descriptor_words), tmp_path, seed)


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4),
        replace(block_config(2, 4, 8, residual=True), feature_words=(128, 96), table_words=192),
        replace(block_config(3, 3, 5, residual=True, batch=True), feature_words=(64, 300)),
    ],
    ids=config_label,
)
def test_table_watch_equals_its_model(config, tmp_path, seed):
    run_block("chip.table_watch", config, tmp_path, seed)
