"""Plan, ROMs, Verilog and the proof from Python."""

from pathlib import Path

import numpy as np
import pytest

import kestrel
from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.model.compressed import same

NANO = NAMED["nano"]


@pytest.fixture(scope="module")
def network():
    return kestrel.compress(kestrel.load_weights("random:1", "vgg16/32:pool1"), size=16)[0]


def test_a_plan_of_a_network_and_of_a_name(network, tmp_path):
    kestrel.save_network(network, tmp_path / "n.safetensors")
    plans = [kestrel.plan(given, "nano", (16, 20)) for given in (network, tmp_path / "n.safetensors")]
    plans.append(kestrel.plan("vgg16/32:pool1", NANO, (16, 20), mask_bits="3"))
    assert all(found.proved and found.network == "vgg16/32:pool1" for found in plans)
    assert len({found.report.cycles.total for found in plans}) == 1
    with pytest.raises(kestrel.InputError, match="vgg16/32:pool1 has its own"):
        kestrel.plan(network, "nano", 16, mask_bits="3")
    with pytest.raises(kestrel.InputError, match="size 0x4; allowed: height and width of 1 or more"):
        kestrel.plan(network, "nano", (0, 4))


def test_an_export_holds_the_network(network, tmp_path):
    written = kestrel.export_network(network, str(tmp_path / "rom"), "nano", 16)
    assert all(path.is_file() for path in written.files)
    assert same(kestrel.import_network(str(tmp_path / "rom")), network)
    with pytest.raises(kestrel.InputError, match="threshold 'mode'"):
        kestrel.export_network(network, tmp_path / "other", "nano", 16, threshold="mode")
    assert not (tmp_path / "other").exists()


def test_an_export_for_the_descriptor_unit(network, tmp_path):
    options = kestrel.DescriptorOptions(size=16)
    pictures = np.random.default_rng(1).integers(0, 256, (6, 16, 16, 3), np.uint8)
    made = kestrel.fit_whitening(network, pictures, options, dimension=1, mode="after")
    found = kestrel.describe(network, pictures, kestrel.DescriptorOptions(size=16, whitening=made))
    written = kestrel.export_network(network, tmp_path / "rom", "nano", 16, descriptors=found, whitening=made)
    assert written.manifest.descriptor is not None
    with pytest.raises(kestrel.InputError, match="descriptors: height is 16; allowed: 32"):
        kestrel.export_network(network, tmp_path / "r", "nano", 32, descriptors=found, whitening=made)
    with pytest.raises(kestrel.InputError, match="whitening whitening; allowed: with --descriptor"):
        kestrel.export_network(network, tmp_path / "r", "nano", 16, whitening=made)


def test_verilog_is_written_whole(tmp_path):
    made = kestrel.write_verilog(tmp_path / "rtl", NANO)
    assert made.file_list.read_text().split() == [path.name for path in made.files]
    assert made.top == made.files[-1].stem == "kestrel_engine"
    with pytest.raises(kestrel.InputError, match="descriptor with top engine"):
        kestrel.write_verilog(tmp_path / "x", NANO, descriptor=True)
    with pytest.raises(kestrel.InputError, match="top 'core'; allowed: engine, chip"):
        kestrel.write_verilog(tmp_path / "x", NANO, top="core")


def test_pictures_in_memory_through_the_engine(network, rng, seed):
    pictures = rng.integers(0, 256, (2, 9, 12, 3), np.uint8)
    proof = kestrel.simulate(network, pictures, "nano", (8, 12), seed=seed % 1000)
    assert proof.images == ("0", "1")
    assert proof.bit_exact
    assert proof.cycles_as_modelled
    assert proof.values_compared == 2 * (2 * 8 * 12 + 2 * (2 * 4 * 6))
    assert proof.mismatches == 0
    paused = kestrel.simulate(network, pictures[0], "nano", (8, 12), seed=seed % 1000, pauses=0.3)
    assert paused.bit_exact
    assert paused.cycles > proof.cycles


@pytest.mark.parametrize(("options", "message"), [
    ({"pauses": 1.0}, "pauses 1; allowed: 0..0.9"),
    ({"waves": kestrel.Waves(Path("a.vcd"))}, "waves a.vcd: suffix"),
    ({"size": 1}, "to nothing"),
    ({"config": "huge"}, "configuration 'huge' is not known"),
])
def test_what_cannot_be_simulated_is_refused(network, options, message):
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(kestrel.InputError, match=message):
        kestrel.simulate(network, picture, **{"config": "nano", "size": 8, **options})
