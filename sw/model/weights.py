"""Float weights of a network: files with torchvision's key names, or seeded random numbers."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.model.network import ConvShape, NetworkShape

RANDOM_PREFIX = "random:"
SEED_MAX = (1 << 32) - 1

RANDOM_BIAS = 1.0
"""Standard deviation of a random network's biases, in pixel steps: small beside its activations (tens
to hundreds of steps), large enough that every bias is visible in the integers."""


@dataclass(frozen=True)
class FloatNetwork:
    """Weights float32 [C_out, C_in, 3, 3] and biases float32 [C_out], one a layer.

    untrained: names of the layers whose weights are random numbers, not learned.
    """

    shape: NetworkShape
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    untrained: frozenset[str] = frozenset()


def load_weights(
    source: str, shape: NetworkShape, pixel_step: float = 1.0, fill_seed: int | None = None
) -> FloatNetwork:
    """The weights of ``shape`` from ``source``: a ``.safetensors``, ``.pth`` or ``.npz`` file, or
    ``random:SEED``.

    Keys are torchvision's, ``features.N.weight`` and ``features.N.bias``; others in the file are ignored.
    ``pixel_step`` is the real input of one pixel step, to which random biases are scaled.
    ``fill_seed`` lets layers that the file does not hold at all take seeded random weights; without it they
    are an error, and so in any case is a file that holds half a layer or none.
    Raises InputError with one line that names the file, the value and what is allowed.
    """
    if source.startswith(RANDOM_PREFIX):
        return random_network(shape, parse_seed(source), pixel_step)
    path = Path(source)
    if path.suffix not in _OPENERS:
        raise InputError(f"{source}: unsupported kind of weights {path.suffix!r}; "
                         f"allowed: {', '.join(_OPENERS)} or random:SEED")
    if not path.is_file():
        raise InputError(f"{source}: {'is not a file' if path.exists() else 'no such file'}; "
                         f"allowed: a {', '.join(_OPENERS)} file or random:SEED")
    with _OPENERS[path.suffix](path) as entries:
        missing = _missing_layers(source, shape, entries, fill=fill_seed is not None)
        weights: list[np.ndarray] = []
        biases: list[np.ndarray] = []
        for layer, index in zip(shape.layers, shape.features, strict=True):
            dimensions = (layer.out_channels, layer.in_channels, 3, 3)
            if layer.name in missing:
                # A generator a layer: what fills one does not depend on which others are missing.
                assert fill_seed is not None, "else a missing layer is an error"
                generator = np.random.default_rng((fill_seed, index))
                weight, bias = _random_layer(layer, generator, pixel_step)
                weights.append(weight)
                biases.append(bias)
                continue
            weights.append(_read(source, layer.name, entries, f"features.{index}.weight", dimensions))
            biases.append(_read(source, layer.name, entries, f"features.{index}.bias", dimensions[:1]))
    return FloatNetwork(shape, tuple(weights), tuple(biases), missing)


def parse_seed(source: str, what: str = "weights") -> int:
    """The number in ``random:SEED``; ``what`` it is given for. Raises InputError."""
    if not source.startswith(RANDOM_PREFIX):
        raise InputError(f"{what} {source!r}; allowed: {RANDOM_PREFIX}SEED")
    digits = source.removeprefix(RANDOM_PREFIX)
    if re.fullmatch("[0-9]{1,10}", digits) is None or int(digits) > SEED_MAX:
        raise InputError(f"{what} {source!r}: seed {digits!r}; allowed: a whole number 0..{SEED_MAX}")
    return int(digits)


def random_network(shape: NetworkShape, seed: int, pixel_step: float = 1.0) -> FloatNetwork:
    """A network of normally distributed weights of variance 2 / fan-in, which keeps the size of the
    activations from layer to layer (He et al. 2015, equation 10); the same for a seed on every machine."""
    generator = np.random.default_rng(seed)
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    for layer in shape.layers:
        weight, bias = _random_layer(layer, generator, pixel_step)
        weights.append(weight)
        biases.append(bias)
    return FloatNetwork(shape, tuple(weights), tuple(biases), frozenset(s.name for s in shape.layers))


def _random_layer(
    layer: ConvShape, generator: np.random.Generator, pixel_step: float
) -> tuple[np.ndarray, np.ndarray]:
    size = (layer.out_channels, layer.in_channels, 3, 3)
    weight = generator.standard_normal(size) * np.sqrt(2.0 / (TAPS * layer.in_channels))
    bias = generator.standard_normal(layer.out_channels) * (RANDOM_BIAS * pixel_step)
    return weight.astype(np.float32), bias.astype(np.float32)


# --------------------------------------------------------------------------------------------------------
# Files: each opener yields a lazy mapping from key to array or tensor
# --------------------------------------------------------------------------------------------------------

Entries = Mapping[str, Callable[[], object]]


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Entries]:
    try:
        with safe_open(str(path), framework="pt") as file:
            # Bound by default argument: a closure would see only the loop's last key.
            yield {key: (lambda key=key: file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({_one_line(error)}); "
                         "allowed: a whole .safetensors file") from error


@contextmanager
def _open_npz(path: Path) -> Iterator[Entries]:
    # Opened here: np.load leaves its own file open when it is not an archive.
    with path.open("rb") as stream:
        try:
            file = np.load(stream, allow_pickle=False)
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            raise InputError(f"{path}: not a readable npz file ({_one_line(error)}); "
                             "allowed: an archive of arrays without pickled objects") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: a single array; allowed: an .npz archive of named arrays")
        with file:
            yield {key: (lambda key=key: file[key]) for key in file.files}


@contextmanager
def _open_pth(path: Path) -> Iterator[Entries]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load documents no exceptions and raises a dozen kinds
        raise InputError(f"{path}: not a readable .pth file of weights only ({_one_line(error)}); "
                         "allowed: a saved state dictionary without other Python objects") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: holds a {type(state).__name__}; allowed: a state dictionary")
    yield {str(key): (lambda value=value: value) for key, value in state.items()}


_OPENERS: dict[str, Callable[[Path], AbstractContextManager[Entries]]] = {
    ".safetensors": _open_safetensors,
    ".pth": _open_pth,
    ".npz": _open_npz,
}


def _one_line(error: BaseException) -> str:
    """The first sentence of a foreign error message."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120].strip()


def _missing_layers(source: str, shape: NetworkShape, entries: Entries, *, fill: bool) -> frozenset[str]:
    """Names of the layers that are not there at all. Raises InputError for the first of them unless ``fill``,
    hinting at the cut that the file allows, and for a layer of which half is there."""
    found: set[str] = set()
    names_allowed = "allowed: torchvision's key names, features.N.weight and features.N.bias"
    for position, (layer, index) in enumerate(zip(shape.layers, shape.features, strict=True)):
        keys = (f"features.{index}.weight", f"features.{index}.bias")
        absent = [key for key in keys if key not in entries]
        if not absent:
            continue
        if fill and absent == list(keys):
            found.add(layer.name)
            continue
        hint = names_allowed
        if len(absent) == len(keys) and any(f"features.{n}.weight" in entries for n in shape.features):
            hint = "allowed: every layer, or --fill-missing random:SEED"
            if position:
                last = shape.layers[position - 1]
                cut = f"pool{last.name[4:].split('_')[0]}" if last.pool else last.name
                hint = (f"allowed: every layer, a cut such as --network {shape.name.split(':')[0]}:{cut}, "
                        "or --fill-missing random:SEED")
        raise InputError(f"{source}: layer {layer.name} of {shape.name} is missing "
                         f"(no key {absent[0]}); {hint}")
    if len(found) == len(shape.layers):
        raise InputError(f"{source}: no layer of {shape.name} to fill up from; {names_allowed}")
    return frozenset(found)


def _read(source: str, layer: str, entries: Entries, key: str, dimensions: tuple[int, ...]) -> np.ndarray:
    """One array as float32 of the dimensions wanted. Raises InputError."""
    try:
        value = entries[key]()
    except (ValueError, OSError, EOFError, BadZipFile, SafetensorError) as error:
        raise InputError(f"{source}: {key} cannot be read ({_one_line(error)}); "
                         "allowed: an array of floating-point numbers") from error
    if isinstance(value, torch.Tensor):
        dtype, floating = str(value.dtype).removeprefix("torch."), value.is_floating_point()
        array = value.detach().double().numpy() if floating else np.empty(tuple(value.shape))
    elif isinstance(value, np.ndarray):
        dtype, floating, array = str(value.dtype), value.dtype.kind == "f", value
    else:
        raise InputError(f"{source}: {key} ({layer}) is a {type(value).__name__}; allowed: a tensor")
    if not floating:
        raise InputError(f"{source}: {key} ({layer}) has type {dtype}; allowed: floating-point numbers")
    if array.shape != dimensions:
        raise InputError(f"{source}: {key} ({layer}) has shape {_times(array.shape)}; "
                         f"allowed: {_times(dimensions)}")
    with np.errstate(over="ignore"):  # what overflows float32 becomes infinite and is refused below
        result = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(result).all():
        bad = result[~np.isfinite(result)][0]
        raise InputError(f"{source}: {key} ({layer}) contains {bad}; allowed: finite float32 numbers")
    return result


def _times(dimensions: tuple[int, ...]) -> str:
    return " x ".join(map(str, dimensions)) or "()"
