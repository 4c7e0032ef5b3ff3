"""How much of a weight ROM could still be saved: its size against the entropy of what it holds.

    python bench/rom_entropy.py NETWORK.safetensors ... [--config edge] [--weights FILE]

For each network: the bits of the ROM for the engine (with ``scalar_tables``), of masks, scalars and tables,
and the entropy of the same numbers, each layer's scalars and each layer's nine-tap masks as symbols of their
own (order 0). For layers of one mask bit besides, what three other formats would give:

- a codebook of masks: how much the least-squares error of the float weights (--weights) grows if only the
  256 or 128 most frequent of the 512 masks may be taken, which saves one or two bits a kernel;
- negatives: the entropy of masks up to their sign, and a bit for the sign;
- kernels left out: the share of the smallest kernels that hold 1% of the weights' power. Leaving them out
  costs a bit for each kernel and saves q + 9 for each that is left out.

Prints a table and writes JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kestrel.cli.options.config import chosen_config
from kestrel.export.weight_rom import encode_weights
from kestrel.hw.spec.engine_config import WEIGHT_WORDS_MAX
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.compress.report import weight_count
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork, load_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.load import find_network, load_weights

CODEBOOKS = (256, 128)
POWER_LEFT_OUT = 0.01


@dataclass(frozen=True)
class OneBitLayer:
    """A layer of one-bit masks: the entropy of its masks and of those up to their sign, in bits a kernel;
    error: of the float weights with all masks, relative to their power, and by the size of a codebook;
    small: the share of the kernels that holds POWER_LEFT_OUT."""

    name: str
    mask_entropy: float
    unsigned_entropy: float
    error: float | None
    codebook_error: dict[int, float]
    small: float


@dataclass(frozen=True)
class Result:
    """Bits of a network; ``entropy`` is that of masks and scalars, tables included as they are."""

    network: str
    weights: int
    rom_bits: int
    weight_bits: int
    scalar_entropy: float
    mask_entropy: float
    entropy: float
    layers: tuple[OneBitLayer, ...]


def entropy(symbols: np.ndarray) -> float:
    """Of the rows of ``symbols``, in bits for all of them."""
    counts = np.unique(symbols, axis=0, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def pattern_numbers(mask: np.ndarray) -> np.ndarray:
    """The numbers 0 to 511 of one-bit masks [..., 3, 3]."""
    signs = (mask.reshape(-1, TAPS) < 0).astype(np.int64)
    return signs @ (1 << np.arange(TAPS))


def one_bit_layer(layer: CompressedLayer, weight: np.ndarray | None) -> OneBitLayer:
    """The figures of a layer; ``weight`` [C_out, C_in, 3, 3] is what it was made from."""
    numbers = pattern_numbers(layer.mask)
    frequent = np.argsort(-np.bincount(numbers, minlength=1 << TAPS), kind="stable")
    error, codebooks, small = None, {}, 0.0
    if weight is not None:
        kernels = weight.reshape(-1, TAPS).astype(np.float64)
        power = (kernels**2).sum()
        signs = 1 - 2 * ((np.arange(1 << TAPS)[:, None] >> np.arange(TAPS)) & 1)
        error = 1 - float((np.abs(kernels).sum(axis=1) ** 2 / TAPS).sum() / power)
        for size in CODEBOOKS:
            taken = signs[frequent[:size]].T
            fit = np.concatenate([
                (part @ taken).clip(min=0).max(axis=1) for part in np.array_split(kernels, 64)
            ])  # fmt: skip
            codebooks[size] = 1 - float((fit**2 / TAPS).sum() / power)
        sizes = np.sort((kernels**2).sum(axis=1))
        small = float((np.cumsum(sizes) <= POWER_LEFT_OUT * power).mean())
    unsigned = np.minimum(numbers, numbers ^ ((1 << TAPS) - 1))
    return OneBitLayer(
        layer.shape.name, entropy(numbers[:, None]) / len(numbers),
        1 + entropy(unsigned[:, None]) / len(numbers), error, codebooks, small,
    )  # fmt: skip


def measure(network: CompressedNetwork, config: str, floats: Sequence[np.ndarray] | None) -> Result:
    """The figures of a network."""
    engine = chosen_config(config, None).with_options(
        weight_words=WEIGHT_WORDS_MAX, scalar_tables=True, residual=not network.is_plain
    )
    owners = [(n, layer) for n, layer in enumerate(network.layers) if layer.shape.shares is None]
    scalars = masks = 0.0
    for _, layer in owners:
        scalars += entropy(layer.alpha.reshape(-1, 1))
        masks += entropy(layer.mask.reshape(layer.alpha.size, -1))
        if layer.shortcut_alpha is not None:
            scalars += entropy(layer.shortcut_alpha.reshape(-1, 1))
        if layer.shortcut_sign is not None:
            masks += entropy(layer.shortcut_sign.reshape(-1, 1))
    tables = network.weight_bits - sum(
        layer.alpha.size * (layer.scalar_bits + layer.mask[0, 0].size * layer.mask_bits)
        + (0 if layer.shortcut_alpha is None else layer.shortcut_alpha.size * (layer.scalar_bits + 1))
        for _, layer in owners
    )
    small = tuple(
        one_bit_layer(layer, None if floats is None else floats[n])
        for n, layer in owners
        if layer.mask_bits == 1 and layer.shape.kernel == 3
    )
    weights = sum(weight_count(layer) for _, layer in owners)
    return Result(
        network.name, weights, encode_weights(network, engine).rom_bits, network.weight_bits, scalars, masks,
        scalars + masks + tables, small,
    )  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("networks", nargs="+", type=Path)
    parser.add_argument("--config", default="edge")
    parser.add_argument("--weights")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/rom_entropy.json"))
    options = parser.parse_args(arguments)
    results: dict[str, Result] = {}
    for path in options.networks:
        network = load_network(path)
        floats = None
        if options.weights is not None:
            scale = min(find_preprocessing(network.preprocessing).scale)
            shape = find_network(network.name, options.weights)
            floats = load_weights(options.weights, shape, scale).weights
        found = results[path.name] = measure(network, options.config, floats)
        n = found.weights
        print(f"{path.name}: ROM {found.rom_bits / n:.4f}, masks and scalars {found.weight_bits / n:.4f}, "
              f"entropy {found.entropy / n:.4f} bits a weight (scalars {found.scalar_entropy / n:.4f}, masks "
              f"{found.mask_entropy / n:.4f})", flush=True)
        for layer in found.layers:
            print(f"  {layer}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {name: asdict(result) for name, result in results.items()}
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
