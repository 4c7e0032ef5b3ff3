"""Compression from end to end, on random weights and, if they are available, on real ones."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import folder_pictures, generated_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import CompressedLayer, same
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import PREPROCESSINGS, find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.validation import validate
from kestrel.sw.model.weights import FloatNetwork, random_network
from kestrel.sw.pictures.images import generate_picture, quantise_pixels

PICTURES = generated_pictures(48, 48, seed=2, count=3)


def run_both(network, integers):
    """Outputs of the last layer of both networks on a picture that calibration has not seen."""
    picture = generate_picture(64, 48, 77)
    preprocessing = find_preprocessing(integers.preprocessing)
    x = quantise_pixels(picture, preprocessing, integers.activation_bits)
    return (Reference(integers).run(torch.from_numpy(x)[None]),
            FloatModel(network).run(real_batch([picture], preprocessing)))


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0))


# --------------------------------------------------------------------------------------------------------
# Mask plans
# --------------------------------------------------------------------------------------------------------

VGG16 = parse_network("vgg16")


@pytest.mark.parametrize(("text", "network", "bits"), [
    ("3*7,1*6", "vgg16", (3,) * 7 + (1,) * 6),
    ("5*2,4*1,3*2,2*1,1*1", "vgg16:pool3", (5, 5, 4, 3, 3, 2, 1)),
    ("3", "vgg11", (3,) * 8),
    ("3*7", "vgg16:pool3", (3,) * 7),
    ("1,2", "vgg16:pool1", (1, 2)),
    (" 3 * 1 , 1 ", "vgg16:pool1", (3, 1)),
    ("2", "vgg16:conv1_1", (2,)),
])
def test_mask_plans(text, network, bits):
    assert parse_mask_plan(text, parse_network(network)) == bits


@pytest.mark.parametrize("text", [
    "", ",", "3*7", "3*7,1*7", "6*13", "0*13", "3*7,1*0", "3**7", "3*7;1*6", "-3", "three", "3*7,", "3.0",
    "3*1", "3*13,1*0", "999999*13",
])
def test_bad_mask_plans_are_refused(text):
    """Breaks if a plan is stretched or cut in silence to fit the network."""
    with pytest.raises(InputError, match=r"mask bits .*allowed: 1\.\.5 bits, as 3\*7,1\*6"):
        parse_mask_plan(text, VGG16)


# --------------------------------------------------------------------------------------------------------
# The pipeline
# --------------------------------------------------------------------------------------------------------


def test_vgg16_takes_the_published_bits():
    """4 MB and 15.1 times smaller are the paper's figures; counted from the shapes."""
    bits = 0
    for shape, mask_bits in zip(VGG16.layers, parse_mask_plan("3*7,1*6", VGG16), strict=True):
        kernels = (shape.out_channels, shape.in_channels)
        empty = CompressedLayer(shape, mask_bits, np.zeros((1, 1, 3, 3), np.int8),
                                np.broadcast_to(np.uint8(0), kernels), np.zeros(1, np.int16), 3, 1.0)
        bits += empty.weight_bits
    assert bits == 31_255_104


@pytest.fixture(scope="module")
def small():
    """The embedded default: a slim VGG-16 of random weights, and what became of it."""
    network = random_network(parse_network("vgg16/8"), 1)
    plan = parse_mask_plan("3*7,1*6", network.shape)
    return network, *compress(network, plan, PICTURES, preprocessing="caffe")


def test_report_counts_what_is_stored(small):
    network, integers, report = small
    kernels = sum(w.shape[0] * w.shape[1] for w in network.weights)
    stored = [w.shape[0] * w.shape[1] * (8 + 9 * bits)
              for w, bits in zip(network.weights, [3] * 7 + [1] * 6, strict=True)]
    assert report.bits == integers.weight_bits == sum(stored)
    assert report.bytes == (report.bits + 7) // 8
    assert report.ratio == pytest.approx(9 * 32 * kernels / report.bits)
    assert report.bits_per_weight == pytest.approx(report.bits / (9 * kernels))
    assert report.bias_bits == 12 * sum(len(b) for b in network.biases)
    assert report.shift_bits == 4 * 13
    for layer, entry in zip(integers.layers, report.layers, strict=True):
        assert entry.name == layer.shape.name
        assert entry.shift == layer.shift
        assert entry.alpha_max == layer.alpha.max()
        assert entry.bias_max * 8 == layer.bias.max()


def test_random_networks_neither_die_nor_saturate(small):
    """A layer stuck at 0 or at its greatest value would verify nothing."""
    network, integers, report = small
    validate(integers)
    found, _ = run_both(network, integers)
    for entry, y in zip(report.layers, found, strict=True):
        assert entry.dead_kernels <= 0.01 * entry.kernels
        assert entry.dead_channels == 0
        assert 0.03 < float((y > 0).float().mean()) < 0.97, entry.name
        assert float((y == 255).float().mean()) < 0.02, entry.name
        assert int(y.max()) > 60, entry.name
        # The largest scalar uses its top bit: the shift is as large as it can be.
        assert entry.shift == 15 or entry.alpha_max >= 100
        # What the report says of the first calibration picture is of the same kind.
        assert not entry.trained
        assert 0.03 < entry.zero_outputs < 0.97
        assert entry.saturated_outputs < 0.02


def test_layers_of_three_bits_reach_their_sqnr(small):
    *_, report = small
    for entry in report.layers[1:7]:
        assert entry.sqnr_float_db == pytest.approx(16.4, abs=0.4)
    for entry in report.layers[7:]:
        assert entry.sqnr_float_db == pytest.approx(4.9, abs=0.3)


@pytest.mark.parametrize("factor", [0.0, 1e-12])
@pytest.mark.parametrize("mask_bits", [1, 3])
def test_kernels_that_add_nothing_are_counted_by_one_rule(factor, mask_bits):
    """Whether weights are 0 or vanish beside the others; a layer of 0 is no different from one of 1e-12."""
    network = random_network(parse_network("vgg16/16:conv1_2"), 3)
    kept = network.weights[1].copy()
    kept[1:] *= np.float32(factor)
    network = replace(network, weights=(network.weights[0], kept))
    _, report = compress(network, (3, mask_bits), PICTURES, preprocessing="caffe")
    assert [entry.dead_kernels for entry in report.layers] == [0, 12]
    assert [entry.dead_channels for entry in report.layers] == [0, 3]
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("layer conv1_2: 12 of 16 kernels add nothing")


def test_lively_networks_give_no_warning(small):
    assert small[2].warnings == ()


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
@pytest.mark.parametrize("bits", [5, 8])
def test_fine_masks_follow_the_float_network(preprocessing, bits):
    """Five mask bits lose little: a cosine below that means a mean, scale or channel went astray."""
    shape = parse_network("vgg11/16:pool3")
    network = load_weights("random:4", shape, min(find_preprocessing(preprocessing).scale))
    integers, _ = compress(network, (5, 5, 5, 5), PICTURES, preprocessing=preprocessing, activation_bits=bits)
    found, wanted = run_both(network, integers)
    for y, real in zip(found, wanted, strict=True):
        assert cosine(y, real) > (0.997 if bits == 8 else 0.98)
    # Not only in direction: units are real too.
    scale = integers.layers[-1].scale
    mean = float(wanted[-1].double().mean())
    assert float(found[-1].double().mean()) * scale == pytest.approx(mean, rel=0.1)


def test_the_first_layer_is_fitted_by_its_output():
    """Coarse masks in conv1_1 alone: weight-wise least squares leaves errors of flat areas, which hurt."""
    network = random_network(parse_network("vgg16/8:conv1_1"), 3)
    integers, _ = compress(network, (2,), PICTURES, preprocessing="caffe")
    vendor, _ = compress(network, (2,), PICTURES, preprocessing="caffe", fit="vendor")
    (found,), (wanted,) = run_both(network, integers)
    (worse,), _ = run_both(network, vendor)
    assert cosine(found, wanted) > 0.99
    assert cosine(found, wanted) > cosine(worse, wanted)


def test_compression_is_reproducible(small):
    network, integers, _ = small
    again, _ = compress(network, (3,) * 7 + (1,) * 6, PICTURES, preprocessing="caffe")
    assert same(integers, again)


@pytest.mark.parametrize(("options", "message"), [
    ({"fit": "best"}, "fit 'best'"),
    ({"activation_bits": 3}, r"activation bits = 3; allowed: 4\.\.8"),
    ({"preprocessing": "keras"}, "preprocessing 'keras'"),
    ({"percentile": 10}, "percentile 10"),
    ({"mask_bits": (3,)}, "mask bits"),
    ({"mask_bits": (3, 6)}, "mask bits"),
    ({"pictures": generated_pictures(1, 9)}, "1 x 9 is too small"),
])
def test_bad_options_are_refused(options, message):
    network = random_network(parse_network("vgg16/32:pool1"), 0)
    settings = {"mask_bits": (3, 3), "pictures": PICTURES, "preprocessing": "caffe"} | options
    with pytest.raises(InputError, match=message):
        compress(network, **settings)


def test_networks_that_could_overflow_are_refused():
    """2,200 inputs in pairs that cancel on every picture, so calibration sees a small output and scalars
    become as large as they can; were one of each pair alone, the sum would pass 2**31."""
    shape = parse_network("vgg16:conv1_2")
    wide = tuple(type(layer)(layer.name, c_in, c_out, False)
                 for layer, c_in, c_out in zip(shape.layers, (3, 2200), (2200, 1), strict=True))
    shape = type(shape)("wide", wide, shape.features)
    first = np.abs(random_network(shape, 0).weights[0])
    first[1::2] = first[::2]
    second = np.ones((1, 2200, 3, 3), np.float32)
    second[:, :, 0, 0] = 0.25  # so that three bits use the level 4 for the other eight taps
    second[:, 1::2] *= -1
    network = FloatNetwork(shape, (first, second), (np.zeros(2200, np.float32), np.ones(1, np.float32)))
    with pytest.raises(InputError, match=r"wide, layer conv1_2: .*-2147483648\.\.2147483647"):
        compress(network, (1, 3), generated_pictures(4, 4, count=1), preprocessing="none", fit="vendor")


# --------------------------------------------------------------------------------------------------------
# Real weights
# --------------------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("KESTREL_DATA", Path(__file__).parents[4] / "shared" / "data"))
REAL = DATA / "vgg16_conv1_1-conv3_3.safetensors"


@pytest.mark.needs_data
@pytest.mark.skipif(not REAL.is_file(), reason=f"no trained weights in {DATA} (set KESTREL_DATA)")
def test_trained_weights_keep_their_features():
    """Published VGG-16, first four layers, photographs: what the method is for."""
    network = load_weights(str(REAL), parse_network("vgg16:pool2"))
    pictures = folder_pictures(DATA / "calibration", 64, 64)
    pictures = replace(pictures, names=pictures.names[:20])
    integers, report = compress(network, (3,) * 4, pictures, preprocessing="caffe")
    for entry in report.layers:
        assert entry.sqnr_float_db is not None
        assert entry.sqnr_float_db > 15
        assert entry.saturated_biases == 0
    caffe = find_preprocessing("caffe")
    batch = [pictures.load(n) for n in range(0, 20, 4)]
    x = torch.from_numpy(np.stack([quantise_pixels(p, caffe, 8) for p in batch]))
    found, wanted = Reference(integers).run(x), FloatModel(network).run(real_batch(batch, caffe))
    for y, real in zip(found, wanted, strict=True):
        assert cosine(y, real) > 0.99
