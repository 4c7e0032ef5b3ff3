"""A whole compressed network as a stream."""

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import BIAS_BITS
from kestrel.sw.codecs import engine
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import same
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.weights import random_network

NETWORKS = ("vgg11/16:pool2", "resnet18/16:layer2.0", "shared_resnet/32:layer1.1")


@pytest.fixture(scope="module", params=[(name, bits) for name in NETWORKS for bits in (8, 4, 2)])
def network(request, one_thread):
    name, scalar_bits = request.param
    shape = parse_network(name)
    bits = parse_mask_plan("3", shape)
    return compress(random_network(shape, 1), bits, generated_pictures(48, 48, count=2),
                    preprocessing="torchvision",
                    scalar_bits=[8, *[scalar_bits] * (len(shape.layers) - 1)])[0]


@pytest.mark.parametrize("coding", ["fixed", "huffman"])
def test_it_comes_back_integer_by_integer(network, coding):
    assert same(engine.decode(engine.encode(network, coding)), network)


def test_it_is_as_long_as_on_the_chip_but_for_its_description(network):
    stream = engine.encode(network)
    owners = [layer for layer in network.layers if layer.shape.shares is None]
    channels = sum(layer.bias.size for layer in owners)
    described = int.from_bytes(stream[4:8], "little")
    stored = len(stream) - described - 12  # frame without dimensions, length
    bits = network.weight_bits + BIAS_BITS * channels
    # Each part begins at a byte of its own; the coding is a byte a layer.
    assert bits / 8 <= stored <= bits / 8 + 4 * len(owners)


def test_a_part_needs_nothing_of_what_follows(network):
    part = engine.prefix(network, len(network.layers) - 1)
    assert same(engine.decode(engine.encode(part)), part)


def test_damage_is_refused_in_one_line(network, rng):
    stream = engine.encode(network)
    for place in rng.integers(0, len(stream), 40):
        changed = bytearray(stream)
        changed[place] ^= 0x10
        with pytest.raises(InputError) as refused:
            engine.decode(bytes(changed))
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="allowed"):
        engine.decode(stream[:-9])


@pytest.mark.parametrize("about", [b"", b"[]", b"{}", b'{"pad": [1], "layers": 3}',
                                   b'{"pad": [900], "layers": []}'])
def test_a_description_that_is_none_is_refused(about):
    import zlib

    from kestrel.sw.codecs.coding.stream import seal

    packed = zlib.compress(about)
    with pytest.raises(InputError, match="allowed") as refused:
        engine.decode(seal("engine", (), len(packed).to_bytes(4, "little") + packed))
    assert "\n" not in str(refused.value)
