import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from kestrel.hw.descriptor.unit import DescriptorUnit
from kestrel.hw.emit.verilog import verilog_files
from kestrel.hw.spec.descriptor import DESCRIPTOR_SUMMED_MAX, DescriptorConfig
from kestrel.verif.blocks.support.run import block_config, config_label, run_block, sources_of
from kestrel.verif.build.verilator import lint

FULL = replace(block_config(16, 16, 8), feature_words=(1024, 1024))


def wider(rows):
    """A configuration with more rows of the whitening at once."""
    return replace(block_config(2, 2, 8, max_width=12), whitening_rows=rows)


SEVERAL = replace(block_config(2, 2, 8, max_width=8), descriptor_maps=3)
"""Descriptors of up to three maps of a frame."""

WAIVERS = Path(str(resources.files("kestrel.verif.build") / "lint.vlt"))
SMALL = DescriptorConfig(channels=16, rom_words=1024, whitening=False)


def small_unit(config, folder):
    """Files of a unit that cannot whiten, for 16 channels."""
    paths = []
    for file in verilog_files(DescriptorUnit(config, SMALL)):
        paths.append(folder / file.name)
        paths[-1].write_text(file.text, encoding="utf-8")
    return paths


@pytest.mark.parametrize(
    "config",
    [
        block_config(1, 1, 4, max_width=8),
        block_config(2, 2, 8, max_width=12),
        block_config(3, 3, 5, max_width=8),
        block_config(4, 2, 7, max_width=8),
        block_config(16, 16, 8, max_width=8),
        wider(8),
        wider(16),
        SEVERAL,
    ],
    ids=lambda config: f"{config_label(config)}-rows{config.whitening_rows}-maps{config.descriptor_maps}",
)
def test_descriptor_unit_equals_the_integer_chain(config, tmp_path, seed):
    results = run_block("descriptor.unit", config, tmp_path, seed)
    assert len(results.ran) == 3


@pytest.mark.parametrize(
    "config",
    [block_config(1, 1, 4, max_width=8), block_config(2, 2, 8, max_width=12), block_config(3, 3, 5)],
    ids=config_label,
)
def test_sums_of_squares_of_regions(config, tmp_path, seed):
    run_block("descriptor.squares", config, tmp_path, seed)


@pytest.mark.parametrize(
    "block",
    [
        "common.isqrt", "descriptor.multiply", "descriptor.reciprocal", "descriptor.rows",
        "descriptor.whitening", "descriptor.output", "descriptor.header", "descriptor.vectors",
    ],
)  # fmt: skip
def test_small_blocks_equal_their_models(block, tmp_path, seed):
    run_block(block, block_config(2, 2, 8), tmp_path, seed)


@pytest.mark.parametrize("rows", [8, 16])
@pytest.mark.parametrize("block", ["descriptor.rows", "descriptor.whitening", "descriptor.header"])
def test_blocks_of_more_rows_equal_their_models(block, rows, tmp_path, seed):
    run_block(block, wider(rows), tmp_path, seed)


@pytest.mark.parametrize("block", ["descriptor.header", "descriptor.vectors"])
def test_blocks_for_several_maps_equal_their_models(block, tmp_path, seed):
    run_block(block, SEVERAL, tmp_path, seed)


def test_a_small_unit_without_whitening(tmp_path, seed):
    config = block_config(4, 4, 8, max_width=8)
    run_block("descriptor.unit", config, tmp_path / "run", seed, small_unit(config, tmp_path))


@pytest.mark.parametrize("lanes", [1, 3, 16])
def test_the_unit_is_clean(lanes, tmp_path):
    config = block_config(lanes, lanes, 8)
    lint(sources_of("descriptor.unit", config), "kestrel_descriptor_unit", WAIVERS)
    lint(
        sources_of("descriptor.unit", replace(config, whitening_rows=16)),
        "kestrel_descriptor_unit",
        WAIVERS,
    )
    lint(small_unit(config, tmp_path), "kestrel_descriptor_unit", WAIVERS)
    lint(
        sources_of("descriptor.unit", replace(config, descriptor_maps=2)), "kestrel_descriptor_unit", WAIVERS
    )


@pytest.mark.parametrize("rows", [4, 16])
def test_full_size(rows, tmp_path, seed):
    config = replace(FULL, whitening_rows=rows)
    run_block("descriptor.unit", config, tmp_path, seed, bench="full_bench")


def test_too_many_regions_in_a_sum_are_refused(tmp_path, seed):
    config = block_config(2, 2, 8)
    sources = []
    for source in sources_of("descriptor.unit", config):
        text = source.read_text(encoding="utf-8")
        if source.stem == "kestrel_descriptor_unit":
            text, found = re.subn(rf"summed > 16'h{DESCRIPTOR_SUMMED_MAX:x}\b", f"summed > 16'h{7:x}", text)
            assert found == 1, "the limit is written in another way"
        sources.append(tmp_path / source.name)
        sources[-1].write_text(text, encoding="utf-8")
    run_block("descriptor.unit", config, tmp_path / "run", seed, sources, bench="limit_bench")
