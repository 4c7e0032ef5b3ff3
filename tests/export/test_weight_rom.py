"""The weight ROM: laid out bit by bit as the format says, and back to the identical numbers."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.export.formats.words import Words
from kestrel.export.weight_decoder import decode_weights
from kestrel.export.weight_rom import encode_weights
from kestrel.export.weight_tiles import Outline, outlines, place_layers
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, decode_mask, encode_mask, mask_values
from kestrel.hw.spec.widths import kernel_bits
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import parse_network
from kestrel.verif.cases.random_network import constant_network, random_network, stack


def config(input_lanes: int, output_lanes: int, load_kernels: int = 1, **options: object) -> EngineConfig:
    base = EngineConfig(
        name="test", input_lanes=input_lanes, output_lanes=output_lanes, activation_bits=8,
        load_kernels=load_kernels, partial_depth=256, max_width=64, feature_words=(4096, 4096),
        weight_words=1 << 20, table_words=1024, stream_bytes=1,
    )  # fmt: skip
    return base.with_options(**options)


def bits_of(value: int, width: int) -> list[int]:
    return [value >> k & 1 for k in range(width)]


def plain_stream(network: CompressedNetwork, engine: EngineConfig) -> list[int]:
    """The ROM's bits, appended one number at a time in the order of the format's description."""
    stream: list[int] = []
    p_i, p_o = engine.input_lanes, engine.output_lanes
    for n, layer in enumerate(network.layers):
        c_out, c_in = layer.alpha.shape
        for o0 in range(0, c_out, p_o):
            for i0 in range(0, c_in, p_i):
                inputs, outputs = range(i0, min(i0 + p_i, c_in)), range(o0, min(o0 + p_o, c_out))
                if n == 0 and any(network.pad):
                    for i in inputs:
                        stream += bits_of(int(network.pad[i]), 8)
                for o in outputs:
                    for i in inputs:
                        stream += bits_of(int(layer.alpha[o, i]), 8)
                        for tap in layer.mask[o, i].reshape(-1):
                            stream += bits_of(encode_mask(int(tap), layer.mask_bits), layer.mask_bits)
                if inputs[-1] == c_in - 1:
                    for o in outputs:
                        stream += bits_of(int(layer.bias[o]) & 0xFFF, 12)
                stream += [0] * (-len(stream) % engine.rom_word_bits)
    return stream


def check_round_trip(network: CompressedNetwork, engine: EngineConfig) -> None:
    image = encode_weights(network, engine)
    decoded = decode_weights(image.words, outlines(network), engine)
    for layer, weights in zip(network.layers, decoded, strict=True):
        for name in ("mask", "alpha", "bias"):
            expected, found = getattr(layer, name), getattr(weights, name)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected, err_msg=f"{layer.shape.name}.{name}")
    np.testing.assert_array_equal(decoded[0].pad, network.pad)
    assert all(not weights.pad.any() for weights in decoded[1:])


LANES = [(1, 1), (2, 2), (3, 3), (4, 2), (3, 6), (4, 4), (16, 16)]


@pytest.mark.parametrize("lanes", LANES)
def test_stream_is_as_described(lanes: tuple[int, int], rng: np.random.Generator) -> None:
    """Against a description written independently, one number at a time."""
    network = random_network(rng, stack((3, 5, 7, 4)), (5, 3, 1))
    engine = config(*lanes)
    image = encode_weights(network, engine)
    stream = plain_stream(network, engine)
    expected = np.packbits(np.array(stream, dtype=np.uint8), bitorder="little").tobytes()
    assert image.words.data == expected
    assert image.rom_bits == len(stream)


def test_one_kernel_by_hand() -> None:
    """alpha 0x5A; taps alternately -4 (code 7) and, in the middle, +1 (code 1); bias -1."""
    network = constant_network(stack((1, 1)), 3, alpha=0x5A, tap=-4, bias=-1, pad=0)
    layer = network.layers[0]
    mask = layer.mask.copy()
    mask[0, 0, 1, 1] = 1
    network = replace(network, layers=(replace(layer, mask=mask),))
    image = encode_weights(network, config(1, 1))
    codes = 0o777717777  # nine octal digits; the first tap is the lowest
    assert image.words.to_ints() == [0x5A | codes << 8 | 0xFFF << 35]
    assert (image.payload_bits, image.network_bits, image.rom_bits) == (47, 47, 64)


def test_pad_values_are_stored_only_where_one_is_not_zero() -> None:
    shapes = stack((2, 1, 1))
    without = encode_weights(constant_network(shapes, 1, pad=0), config(2, 2))
    having = encode_weights(constant_network(shapes, 1, pad=7), config(2, 2))
    assert [layer.outline.has_pad for layer in without.layers] == [False, False]
    assert [layer.outline.has_pad for layer in having.layers] == [True, False]
    assert having.words.data[:2] == b"\x07\x07"
    assert having.payload_bits == without.payload_bits + 16
    one = replace(constant_network(shapes, 1), pad=np.array([0, 9], dtype=np.uint8))
    check_round_trip(one, config(1, 1))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_round_trip(mask_bits: int, lanes: tuple[int, int], rng: np.random.Generator) -> None:
    channels = rng.integers(1, 20, 3).tolist()
    check_round_trip(random_network(rng, stack(channels), mask_bits), config(*lanes))


@pytest.mark.parametrize("channels", [(1, 1), (15, 17), (16, 16), (17, 15), (49, 33)])
def test_round_trip_uneven_channels(channels: tuple[int, int], rng: np.random.Generator) -> None:
    for engine in (config(16, 16, 4), config(8, 16, 2), config(16, 4)):
        check_round_trip(random_network(rng, stack(channels), 5), engine)


@pytest.mark.parametrize("bias", [-2048, -1, 0, 2047])
def test_round_trip_of_extremes(bias: int) -> None:
    for mask_bits in MASK_BITS:
        for tap in (mask_values(mask_bits)[0], mask_values(mask_bits)[-1]):
            network = constant_network(stack((3, 3)), mask_bits, tap=tap, bias=bias, pad=255)
            check_round_trip(network, config(2, 2))


@pytest.mark.parametrize("mask_bits", [2, 3, 4, 5])
def test_minus_zero_decodes_to_zero(mask_bits: int) -> None:
    """The exporter never writes the code; a ROM that holds it is read as the engine reads it."""
    code = 1 << (mask_bits - 1)
    taps = sum(code << (mask_bits * k) for k in range(9))
    outline = Outline(stack((1, 1))[0], mask_bits, has_pad=False)
    size = 8 * place_layers([outline], config(1, 1))[0].words
    stream = (255 | taps << 8).to_bytes(size, "little")
    (weights,) = decode_weights(Words(64, stream), [outline], config(1, 1))
    assert decode_mask(code, mask_bits) == 0
    assert not weights.mask.any()
    assert weights.alpha[0, 0] == 255


def test_vgg16_overhead(rng: np.random.Generator) -> None:
    """Placed without weights: the real size at 16x16 lanes is at most 1% above kernels and biases."""
    shape = parse_network("vgg16")
    engine = config(16, 16, 4)
    widths = [3] * 7 + [1] * 6
    placed = place_layers(
        [Outline(s, b, n == 0) for n, (s, b) in enumerate(zip(shape.layers, widths, strict=True))], engine
    )
    rom_bits = (placed[-1].word + placed[-1].words) * engine.rom_word_bits
    kernels = sum(
        s.in_channels * s.out_channels * kernel_bits(b) for s, b in zip(shape.layers, widths, strict=True)
    )
    biases = 12 * sum(s.out_channels for s in shape.layers)
    assert kernels == 31_255_104
    assert kernels + biases < rom_bits <= 1.01 * (kernels + biases)
    assert rom_bits == 31_323_136


def test_report_of_bits(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((20, 33)), 3)
    image = encode_weights(network, config(16, 16, 4))
    assert image.network_bits == network.weight_bits + 33 * 12
    assert image.overhead == image.rom_bits / image.network_bits - 1
    # Three output groups repeat the pad values of all 20 input channels.
    assert image.payload_bits == image.network_bits + 3 * 20 * 8


def test_refuses_too_small_a_rom() -> None:
    network = constant_network(stack((4, 4, 4)), 5)
    with pytest.raises(
        InputError,
        match=r"constant: the weights need 40 ROM words of 64 bits; configuration "
        r"'test' has weight_words = 39",
    ):
        encode_weights(network, config(1, 1, weight_words=39))


def test_refuses_values_without_code() -> None:
    network = constant_network(stack((1, 1)), 3)
    layer = network.layers[0]
    with pytest.raises(InputError, match=r"layer conv0: mask contains 3; allowed with 3 bits: \(-4, -2"):
        odd = replace(layer, mask=np.full_like(layer.mask, 3))
        encode_weights(replace(network, layers=(odd,)), config(1, 1))


def test_refuses_damaged_roms(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((2, 4)), 1, pad=(1, 2))
    engine = config(2, 2)
    words = encode_weights(network, engine).words
    layers = outlines(network)
    with pytest.raises(InputError, match=r"weight ROM has 3 words; allowed: 4"):
        decode_weights(Words(64, words.data[:-8]), layers, engine)
    with pytest.raises(InputError, match=r"words of 32 bits; allowed: 64"):
        decode_weights(Words(32, words.data), layers, engine)
    values = words.to_ints()
    with pytest.raises(
        InputError,
        match=r"layer conv0: a filling bit is set after the tile of output "
        r"channel 2, input channel 0, ROM word 2; allowed: 0",
    ):
        decode_weights(Words.from_ints(64, [*values[:3], values[3] | 1 << 63]), layers, engine)
    with pytest.raises(InputError, match=r"layer conv0: pad values of output channel 2's tile are not those"):
        decode_weights(Words.from_ints(64, [*values[:2], values[2] ^ 1, values[3]]), layers, engine)


def test_row_groups_have_the_tile_three_times() -> None:
    """Two channels in groups of four lanes: at lanes 0, 4 and 8, nothing between, nothing after."""
    network = constant_network(stack((2, 1)), 1, alpha=3, tap=1, bias=-1, pad=5)
    engine = config(16, 1, row_groups=True)
    image = encode_weights(network, engine)
    bits = np.unpackbits(np.frombuffer(image.words.data, np.uint8), bitorder="little")
    pads = bits[: 10 * 8].reshape(10, 8)
    kernels = bits[80 : 80 + 10 * 17].reshape(10, 17)
    channel = [True, True, False, False] * 2 + [True, True]
    np.testing.assert_array_equal(pads @ (1 << np.arange(8)), np.where(channel, 5, 0))
    np.testing.assert_array_equal(kernels[:, :8] @ (1 << np.arange(8)), np.where(channel, 3, 0))
    assert not kernels[:, 8:].any()
    assert bits[250 : 250 + 12].all()
    assert image.payload_bits == 10 * (8 + 17) + 12


@pytest.mark.parametrize("lanes", [(3, 3), (4, 4), (7, 7), (12, 3), (16, 16)])
def test_round_trip_in_row_groups(lanes: tuple[int, int], rng: np.random.Generator) -> None:
    engine = config(*lanes, row_groups=True)
    for channels in {1, engine.group_lanes, engine.group_lanes + 1}:
        for mask_bits in (1, 3, 4):
            check_round_trip(random_network(rng, stack((channels, 5, 4)), mask_bits), engine)


def test_row_groups_that_differ_are_refused() -> None:
    network = constant_network(stack((1, 1)), 1, alpha=3, tap=1)
    engine = config(3, 1, row_groups=True)
    words = encode_weights(network, engine).words
    values = words.to_ints()
    changed = Words.from_ints(64, [values[0] ^ 1 << 17, *values[1:]])
    message = r"channel 0 has other numbers in input lane 1 than in those before; allowed: all groups alike"
    with pytest.raises(InputError, match=message):
        decode_weights(changed, outlines(network), engine)
