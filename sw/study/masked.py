"""Networks of the engine with masks fitted by a rule that measures pictures, as coded networks of a study.

The masks are those of ``kestrel compress``: batch norm folded, biases of 12 bits, 1x1 projections of a sign
and a scalar. Maps are computed in floats with the weights that the integers stand for, as those of every
other codec are, so that formats of weights are compared and not roundings of activations. """

from collections.abc import Iterator
from pathlib import Path

import torch

from kestrel.hw.spec.widths import BIAS_BITS, SCALAR_BITS
from kestrel.sw.codecs import engine
from kestrel.sw.common.files import atomic_write
from kestrel.sw.compress.calibrate import CalibrationPictures
from kestrel.sw.compress.dequantise import dequantise
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import CompressedNetwork, same
from kestrel.sw.model.files.entries import state_arrays
from kestrel.sw.model.float_network import FloatModel
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.study.codecs import CODING, Codec
from kestrel.sw.study.coded import KERNELS, Coded, Size
from kestrel.sw.zoo.networks import Architecture
from kestrel.sw.zoo.parameters import Outline
from kestrel.sw.zoo.weights import Weights


def code_masks(network: Architecture, known: Outline, cuts: tuple[str, ...], weights: Weights, codec: Codec,
               codings: tuple[str, ...], pictures: CalibrationPictures, kept: Path) -> Coded:
    """As ``code_network``; pictures: that the rule measures; kept: a file for the fitted network, which takes
    minutes: read where it is there. The engine must run the network."""
    fitted = _fitted(network, cuts, weights, codec, pictures, kept)
    places = {cut: _layers_upto(fitted, cut) for cut in cuts}
    sizes: dict[tuple[str, str], Size] = {}
    for coding in codings:
        for cut in cuts:
            part = engine.prefix(fitted, places[cut])
            stream = engine.encode(part, coding)
            if not same(engine.decode(stream), part):
                raise AssertionError(f"{codec.label}: the decoded network differs")
            rest = engine.description_bytes(stream) + sum(
                -(-layer.bias.size * BIAS_BITS // 8) for layer in part.layers)
            sizes[cut, coding] = Size(len(stream), known.count(*KERNELS, cut=cut), len(stream) - rest)
    model = FloatModel(dequantise(fitted))

    def run(x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        for layer, result in zip(fitted.layers, model.layers(x), strict=True):
            name = layer.shape.name
            if not fitted.is_plain:
                block = name.removesuffix("_conv2").replace("_", ".")
                yield "pool1" if name == "conv1" else block, result.output
                continue
            yield name, result.relu
            if layer.shape.pool:
                yield f"pool{name[4]}", result.output

    return Coded(sizes, run, f"{engine.FAMILY}-{kept.stem}")


def _fitted(network: Architecture, cuts: tuple[str, ...], weights: Weights, codec: Codec,
            pictures: CalibrationPictures, kept: Path) -> CompressedNetwork:
    if kept.is_file():
        return engine.decode(kept.read_bytes())
    shape = parse_network(f"{network.kestrel}:{cuts[-1]}")
    found = load_weights(state_arrays(dict(weights)), shape)
    options = codec.options
    # The first layer keeps 8 bits, with which its rows may run in groups.
    scalars = [SCALAR_BITS, *[int(options["scalar_bits"])] * (len(shape.layers) - 1)]
    result, _ = compress(found, parse_mask_plan(str(options["bits"]), shape), pictures,
                         preprocessing=network.preprocessing.name, fit=str(options["rule"]),
                         scalar_bits=scalars)
    with atomic_write(kept) as temporary:
        temporary.write_bytes(engine.encode(result, str(options[CODING])))
    return result


def _layers_upto(network: CompressedNetwork, cut: str) -> int:
    """How many layers the map ``cut`` needs."""
    names = [layer.shape.name for layer in network.layers]
    if not network.is_plain:
        return 1 if cut == "pool1" else names.index(f"{cut.replace('.', '_')}_conv2") + 1
    if cut.startswith("pool"):
        return max(n for n, name in enumerate(names) if name.startswith(f"conv{cut[4:]}_")) + 1
    return names.index(cut) + 1
