"""Scalars from tables in the weight ROM: laid out bit by bit as the format says, and back to the identical
numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kestrel.export.export import export_network, import_network
from kestrel.export.formats.words import Words
from kestrel.export.weight_decoder import decode_weights
from kestrel.export.weight_rom import encode_weights
from kestrel.export.weight_tiles import outlines
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import encode_mask
from kestrel.hw.spec.widths import SCALAR_WIDTHS
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork, same
from kestrel.sw.model.network import ConvShape, Shortcut
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_graph import lane_channels, random_graph
from kestrel.verif.cases.random_network import random_network, stack

BASE = NAMED["nano"].with_options(
    scalar_tables=True, residual=True, partial_depth=512, max_width=512, feature_words=(4096, 4096),
    table_words=4096,
)  # fmt: skip
LANES = [(1, 1, 1), (2, 2, 1), (4, 2, 4), (6, 3, 3), (3, 6, 1), (16, 16, 4)]


def engine(lanes: tuple[int, int, int], **options: object) -> EngineConfig:
    return BASE.with_options(input_lanes=lanes[0], output_lanes=lanes[1], load_kernels=lanes[2], **options)


def bits_of(value: int, width: int) -> list[int]:
    return [value >> k & 1 for k in range(width)]


class Described:
    """The ROM's bits, appended one number at a time in the order of the format's description."""

    def __init__(self, network: CompressedNetwork, config: EngineConfig) -> None:
        self.config, self.stream = config, list[int]()
        for number, layer in enumerate(network.layers):
            if layer.shape.shares is None:
                self._layer(layer, network.pad if number == 0 else np.zeros(0))

    def _layer(self, layer: CompressedLayer, pad: np.ndarray) -> None:
        p_i, p_o = self.config.input_lanes, self.config.output_lanes
        c_out, c_in = layer.alpha.shape
        if layer.shortcut_alpha is not None:
            self._table(layer.shortcut_alpha, layer.scalar_bits)
        self._table(layer.alpha, layer.scalar_bits)
        for o0 in range(0, c_out, p_o):
            outputs = range(o0, min(o0 + p_o, c_out))
            self._shortcut(layer, outputs)
            for i0 in range(0, c_in, p_i):
                inputs = range(i0, min(i0 + p_i, c_in))
                for i in inputs if pad.any() else ():
                    self.stream += bits_of(int(pad[i]), 8)
                for o in outputs:
                    self._kernels(layer.alpha, layer.scalar_bits, [
                        ((o, i), [bit for tap in layer.mask[o, i].flat for bit in self._tap(layer, int(tap))])
                        for i in inputs
                    ])  # fmt: skip
                for o in outputs if inputs[-1] == c_in - 1 else ():
                    self.stream += bits_of(int(layer.bias[o]) & 0xFFF, 12)
                self._fill()

    def _tap(self, layer: CompressedLayer, tap: int) -> list[int]:
        return bits_of(encode_mask(tap, layer.mask_bits), layer.mask_bits)

    def _shortcut(self, layer: CompressedLayer, outputs: range) -> None:
        alpha, p_i = layer.shortcut_alpha, self.config.input_lanes
        if alpha is None:
            return
        if layer.shortcut_sign is None:
            for first in range(outputs[0], outputs[-1] + 1, p_i):
                for o in range(first, min(first + p_i, outputs[-1] + 1)):
                    self._kernels(alpha, layer.scalar_bits, [((o,), [0])])
                self._fill()
            return
        for first in range(0, alpha.shape[1], p_i):
            for o in outputs:
                inputs = range(first, min(first + p_i, alpha.shape[1]))
                signs = [((o, i), [int(layer.shortcut_sign[o, i] < 0)]) for i in inputs]
                self._kernels(alpha, layer.scalar_bits, signs)
            self._fill()

    def _kernels(self, alpha: np.ndarray, q: int, kernels: list[tuple[tuple[int, ...], list[int]]]) -> None:
        values = sorted({int(value) for value in alpha.flat})
        for first in range(0, len(kernels), self.config.load_kernels):
            block = kernels[first : first + self.config.load_kernels]
            for _, mask in block:
                self.stream += mask
            for place, _ in block:
                scalar = int(alpha[place])
                self.stream += bits_of(values.index(scalar) if q < 8 else scalar, q)

    def _table(self, scalars: np.ndarray, q: int) -> None:
        values = sorted({int(value) for value in scalars.flat})
        for n in range(2**q if q < 8 else 0):
            self.stream += bits_of(values[n] if n < len(values) else 0, 8)

    def _fill(self) -> None:
        self.stream += [0] * (-len(self.stream) % self.config.rom_word_bits)


@pytest.mark.parametrize("lanes", LANES)
def test_stream_is_as_described(lanes: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Against a description written independently, for every width of scalars and every kind of shortcut."""
    seen: set[int] = set()
    while seen != set(SCALAR_WIDTHS):
        network = random_graph(rng, 6, lane_channels(lanes[0], 5), tables=True)
        seen |= {layer.scalar_bits for layer in network.layers}
        config = engine(lanes)
        image = encode_weights(network, config)
        stream = Described(network, config).stream
        assert image.words.data == np.packbits(np.array(stream, dtype=np.uint8), bitorder="little").tobytes()
        placed = [(layer.word, layer.words) for layer in image.layers]
        records = make_plan(network, config, 24, 24).records[1:-1]
        assert placed == [(record.weight_base, record.weight_words) for record in records]


def test_exports_come_back_equal(rng: np.random.Generator, tmp_path: Path) -> None:
    for number, lanes in enumerate(LANES):
        network = random_graph(rng, 5, lane_channels(3), blocks=number % 2 == 1, tables=True)
        for options in ({}, {"row_groups": True} if lanes[0] > 2 else {}):
            folder = tmp_path / f"{number}{len(options)}"
            export_network(network, engine(lanes, **options), 24, 24, folder)
            assert same(import_network(folder), network)


def test_scalars_of_eight_bits_need_no_tables(rng: np.random.Generator) -> None:
    """The engine with tables takes them too, in blocks, and the ROM is no larger."""
    network = random_network(rng, stack((3, 5, 7)), 3)
    config = engine((4, 4, 2))
    image = encode_weights(network, config)
    without = encode_weights(network, config.with_options(scalar_tables=False))
    assert len(image.words) == len(without.words)
    assert image.words.data != without.words.data
    decoded = decode_weights(image.words, outlines(network), config)
    assert all(np.array_equal(a.alpha, b.alpha) for a, b in zip(network.layers, decoded, strict=True))


@pytest.mark.parametrize(("q", "kernel"), [(4, 13), (3, 12), (2, 11)])
def test_size_of_a_layer(q: int, kernel: int, rng: np.random.Generator) -> None:
    """A kernel of one mask bit takes q + 9 bits, a table 8 bits an entry; biases and filling are
    additional."""
    table = rng.choice(256, size=2**q, replace=False).astype(np.uint8)
    network = random_network(rng, stack((32, 64)), 1, pad=[0] * 32)
    alpha = table[rng.integers(0, 2**q, size=(64, 32))]
    network = replace(network, layers=(replace(network.layers[0], alpha=alpha, scalar_bits=q),))
    assert network.weight_bits == 64 * 32 * kernel + 8 * 2**q
    image = encode_weights(network, engine((16, 16, 4)))
    assert image.payload_bits == image.network_bits == network.weight_bits + 64 * 12


def two_layers(rng: np.random.Generator) -> CompressedNetwork:
    shapes = [ConvShape("a", 3, 4, pool=False), ConvShape("b", 4, 4, pool=False, shortcut=Shortcut(0))]
    network = random_network(rng, shapes, 2)
    layers = [replace(network.layers[0], scalar_bits=2, alpha=network.layers[0].alpha & 3)]
    identity = np.array([7, 7, 9, 7], dtype=np.uint8)
    second = network.layers[1]
    layers.append(replace(second, scalar_bits=2, alpha=second.alpha & 3, shortcut_alpha=identity))
    return replace(network, layers=tuple(layers))


@pytest.mark.parametrize(("place", "message"), [
    (0, r"layer a: table of scalars \[.*\]; allowed: \[1, 2, 3, 64\], those that occur, ascending, then"),
    (None, r"layer b: table of scalars \[.*\]; allowed: \[7, 9, 0, 0\], those that occur"),
])  # fmt: skip
def test_a_damaged_table_is_refused(place: int | None, message: str, rng: np.random.Generator) -> None:
    network = two_layers(rng)
    # Every entry of the layers' own tables must be in use: the draw has only a few scalars.
    ramp = np.resize(np.arange(4, dtype=np.uint8), network.layers[0].alpha.shape)
    first = replace(network.layers[0], alpha=ramp)
    network = replace(network, layers=(first, network.layers[1]))
    config = engine((2, 2, 1))
    image = encode_weights(network, config)
    start = image.layers[1].word * config.rom_word_bits // 8 + 2 if place is None else 0
    data = bytearray(image.words.data)
    data[start] ^= 0x40
    with pytest.raises(InputError, match=message):
        decode_weights(Words(config.rom_word_bits, bytes(data)), outlines(network), config)


def test_an_engine_without_tables_refuses(rng: np.random.Generator, tmp_path: Path) -> None:
    network = two_layers(rng)
    config = BASE.with_options(scalar_tables=False)
    message = r"network random: a has 2 scalar bits; .* takes 8; allowed: --set scalar_tables=true$"
    with pytest.raises(InputError, match=message):
        encode_weights(network, config)
    with pytest.raises(InputError, match=message):
        export_network(network, config, 8, 8, tmp_path / "rom")
    assert list(tmp_path.iterdir()) == []


def test_too_many_scalars_for_a_table_are_refused(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((3, 8)), 2)
    alpha = np.arange(24, dtype=np.uint8).reshape(8, 3)
    network = replace(network, layers=(replace(network.layers[0], alpha=alpha, scalar_bits=4),))
    message = r"layer conv0: values of alpha = 24; allowed: 16 at most with 4 scalar bits"
    with pytest.raises(InputError, match=message):
        encode_weights(network, BASE)
