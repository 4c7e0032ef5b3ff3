"""The float weights of a network from a file of any kind, or from a state dictionary."""

import re
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import StoredArrays
from kestrel.sw.model.files.onnx_graph import read_graph
from kestrel.sw.model.files.openers import ALLOWED, is_onnx, open_arrays
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.residual_networks import COUNTED_RESNET
from kestrel.sw.model.storage.onnx_weights import count_resnet_layers, read_graph_weights
from kestrel.sw.model.storage.residual import count_resnet, read_residual_weights
from kestrel.sw.model.storage.stack import read_stack_weights
from kestrel.sw.model.weights import RANDOM_PREFIX, FloatNetwork, parse_seed, random_network


def load_weights(
    source: str | StoredArrays, shape: NetworkShape, pixel_step: float = 1.0, fill_seed: int | None = None
) -> FloatNetwork:
    """Loads the weights of ``shape`` from the file ``source``, or draws them for ``random:SEED``.

    Files may be safetensors (one file, or an index of shards), PyTorch state dictionaries, npz, Keras HDF5 or
    ONNX; the content decides which, not the name. ``kestrel.sw.model.storage.key_names`` and ``residual``
    there describe the keys. In place of a file, ``source`` may be its arrays. Batch norm is folded into
    weights and biases in float64. Anything else that a file holds is named in ``origin``.

    ``pixel_step`` is the real input of one pixel step, to which random biases are scaled. With ``fill_seed``,
    layers that are completely missing from the file take seeded random weights; without it they are an error.
    A file that holds only half of a layer, or no layer at all, is always an error.
    Raises InputError with one line that names the file, the value and what is allowed.
    """
    if isinstance(source, StoredArrays):
        return _from_arrays(source, shape, pixel_step, fill_seed)
    if source.startswith(RANDOM_PREFIX):
        return random_network(shape, parse_seed(source), pixel_step)
    path = _existing(source)
    if is_onnx(path):
        _check_filling(source, shape, fill_seed)
        return read_graph_weights(source, shape, read_graph(path), pixel_step, fill_seed)
    with open_arrays(path) as stored:
        return _from_arrays(stored, shape, pixel_step, fill_seed)


def _from_arrays(
    stored: StoredArrays, shape: NetworkShape, pixel_step: float, fill_seed: int | None
) -> FloatNetwork:
    if shape.features:
        return read_stack_weights(stored, shape, pixel_step, fill_seed)
    _check_filling(stored.source, shape, fill_seed)
    return read_residual_weights(stored, shape)


def _check_filling(source: str, shape: NetworkShape, fill_seed: int | None) -> None:
    if fill_seed is not None and not shape.features:
        raise InputError(f"{source}: filling up {shape.name}; allowed: VGG networks, or whole weights")


def _existing(source: str) -> Path:
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: {'is not a file' if path.exists() else 'no such file'}; "
                         f"allowed: {ALLOWED}")
    return path


def find_network(text: str, source: str | StoredArrays) -> NetworkShape:
    """The shape that ``text`` names, as ``parse_network``; that of ``resnet`` by the blocks in ``source``, a
    file or its arrays. Raises InputError."""
    if re.split("[/:]", text)[0] != COUNTED_RESNET:
        return parse_network(text)
    if isinstance(source, StoredArrays):
        return parse_network(count_resnet(text, source))
    if source.startswith(RANDOM_PREFIX):
        return parse_network(text)
    path = _existing(source)
    if is_onnx(path):
        return parse_network(count_resnet_layers(source, text, read_graph(path)))
    with open_arrays(path) as stored:
        return parse_network(count_resnet(text, stored))
