"""A compressed network in other programs' formats, as files."""

from pathlib import Path

from kestrel.export.exchange.float_onnx import float_model
from kestrel.export.exchange.integer_onnx import integer_model
from kestrel.export.exchange.model_file import require_onnx, write_model
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.compress.dequantise import dequantise
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.storage.save import save_weights

ONNX = ".onnx"
SAFETENSORS = ".safetensors"


def check_exchange(integers: Path | None, floats: Path | None) -> None:
    """Raises InputError for a path that ``write_integers`` or ``write_floats`` would refuse, and where they
    would miss the package onnx."""
    for path, suffixes in ((integers, (ONNX,)), (floats, (SAFETENSORS, ONNX))):
        if path is not None:
            if path.suffix not in suffixes:
                raise InputError(f"output {path}: suffix {path.suffix!r}; allowed: {', '.join(suffixes)}")
            check_output(path)
            if path.suffix == ONNX:
                require_onnx()


def write_integers(network: CompressedNetwork, path: Path) -> None:
    """Writes the integer network as an ONNX model (see ``integer_model``). Raises InputError."""
    check_exchange(path, None)
    write_model(integer_model(network), path)


def write_floats(network: CompressedNetwork, path: Path) -> None:
    """Writes the dequantised network: ``.safetensors``, weights with the key names of ``save_weights``, or
    ``.onnx``, a float model. Raises InputError."""
    check_exchange(None, path)
    floats = dequantise(network)
    if path.suffix == ONNX:
        write_model(float_model(floats, network.preprocessing), path)
    else:
        save_weights(floats, path)

