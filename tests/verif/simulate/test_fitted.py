"""Networks on engines and chips whose memories are as large as they must be: lint, frames, descriptors."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from kestrel.api.chip import export_network, fit_config, write_verilog
from kestrel.api.descriptors import describe, fit_whitening
from kestrel.api.simulation import simulate_descriptors
from kestrel.export.export import import_descriptor
from kestrel.export.manifest import read_manifest
from kestrel.hw.emit.verilog import CHIP_TOP, TOP
from kestrel.hw.spec.configurations import NAMED, load_config
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import parse_network
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.fit import fit_memories
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.retrieval.describe.maps import map_names
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.verif.build.rtl import HARNESS, engine_sources
from kestrel.verif.build.verilator import build_native, lint
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import run_frame

NANO = NAMED["nano"]
WAIVERS = Path(str(resources.files("kestrel.verif.build") / "lint.vlt"))
FRAMES = {
    "one pixel": (NANO, stack((1, 1)), 1, (1, 1)),
    "depth first": (
        replace(NANO, feature_words=(60, 60)), stack((3, 5, 4, 3), pools=(0, 1)), (3, 5, 2), (24, 12),
    ),
    "residual": (
        replace(NANO, partial_depth=128), parse_network("resnet18/32:layer2.0").layers, 3, (22, 18),
    ),
    "row groups": (
        replace(NANO, input_lanes=4, output_lanes=4, load_kernels=2, row_groups=True), stack((1, 5, 3)),
        (3, 2), (10, 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_bit_exact_and_no_slower(name, rng, seed, tmp_path):
    config, shapes, mask_bits, (height, width) = FRAMES[name]
    network = random_network(rng, shapes, mask_bits, blocks=name == "residual")
    if not network.is_plain:  # what a fitted engine has of itself
        config = replace(config, residual=True)
    fitted = fit_memories(network, FRAMES[name][0], height, width)
    export_network(network, tmp_path / "roms", fitted, (height, width))
    lint(engine_sources(fitted), TOP, WAIVERS)
    plan = make_plan(network, fitted, height, width)
    pixels = rng.integers(0, 256, (min(3, shapes[0].in_channels), height, width), dtype=np.uint8)
    (tmp_path / "frame").mkdir()
    build = build_native(engine_sources(fitted), TOP, HARNESS, optimise=1)
    run = run_frame(build, network, plan, pixels, tmp_path / "frame", seed=seed % 1000)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), f"{'; '.join(map(str, results))} in {network}, {fitted}"
    assert run.cycles == frame_cycles(plan).total
    assert run.cycles <= frame_cycles(make_plan(network, config, height, width)).total


@pytest.mark.parametrize("several", [False, True], ids=["the last map", "several maps"])
def test_descriptors_through_a_fitted_chip(several, rng, seed, tmp_path):
    """From the configuration file that was written beside the Verilog."""
    shapes = stack((3, 14, 13), pools=(0,))
    network = random_network(rng, shapes, (3, 2))
    size = (16, 12)
    pictures = rng.integers(0, 256, (12, *size, 3), np.uint8)
    plain = DescriptorOptions(
        size=size, pooling="rnip5x", pool_maps=tuple(map_names(shapes)) if several else ()
    )
    white = fit_whitening(network, pictures, plain, dimension=8 if several else 3, mode="after")
    options = replace(plain, whitening=white)
    found = describe(network, pictures, options)

    fitted = fit_config(network, "nano", size, descriptors=found, whitening=white)
    made = write_verilog(tmp_path / "rtl", fitted, top="chip", descriptor=True)
    lint(list(made.files), CHIP_TOP, WAIVERS)
    assert made.config_file is not None
    config = load_config(str(made.config_file))
    assert config == fitted.config
    written = export_network(network, tmp_path / "rom", config, size, descriptors=found, whitening=white)
    manifest = written.manifest
    assert manifest.descriptor is not None
    assert read_manifest(tmp_path / "rom").config == config
    sizes = config.weight_words, config.table_words, config.descriptor_words
    assert sizes == (manifest.weights.words, manifest.table.words, manifest.descriptor.words)
    assert config.descriptor_maps == (2 if several else 1)
    written_constants = import_descriptor(tmp_path / "rom")
    assert written_constants is not None
    assert len(written_constants.maps) == config.descriptor_maps

    proof = simulate_descriptors(network, pictures[:1], config, options, seed=seed % 1000)
    assert proof.bit_exact
    assert proof.cycles_as_modelled
    assert min(proof.float_cosines) > 0.9999
    if several:
        return
    more = replace(plain, chain=NipSettings(levels=(1, 2, 3, 4)))
    with pytest.raises(InputError, match=r"descriptor ROM of .* words; .*--set descriptor_words="):
        simulate_descriptors(network, pictures[:1], config, more)


def test_a_pooling_is_enough_to_fit_a_descriptor_unit(rng):
    network = random_network(rng, stack((3, 4, 5), pools=(0,)), (3, 2))
    size = (16, 12)
    found = describe(network, rng.integers(0, 256, (5, *size, 3), np.uint8),
                     DescriptorOptions(size=size, pooling="rnip5x"))
    trained = fit_config(network, "nano", size, descriptors=found)
    assert fit_config(network, "nano", size, pooling="rnip5x") == trained
    assert not trained.config.descriptor_whitening
    assert fit_config(network, trained, size, pooling="rnip5x").config == trained.config
    with pytest.raises(InputError, match="pooling rnip5x with training descriptors; allowed: one of them"):
        fit_config(network, "nano", size, descriptors=found, pooling="rnip5x")
    with pytest.raises(InputError, match=r"whitening w\.npz; allowed: with training descriptors"):
        fit_config(network, "nano", size, whitening="w.npz")
