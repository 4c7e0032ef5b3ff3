"""ONNX models built node by node, and written."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import MARK

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATOR_SET = 13
IR_VERSION = 8
"""Old enough for every runtime of today, new enough for what is used here."""

INPUT = "image"


def require_onnx() -> Any:
    """The package onnx. Raises InputError where it is missing."""
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise InputError("to write an ONNX model takes the package onnx; "
                         "allowed: after pip install 'kestrel-engine[onnx]'") from None


class ModelBuilder:
    """A model with the one input ``image`` [N, C, height, width], under construction. domain: of
    ``kestrel.sw.common.kinds``, by which the file is known later.

    Raises InputError where the package onnx is missing.
    """

    def __init__(self, name: str, channels: int, dtype: type[np.generic], domain: str) -> None:
        self._onnx = require_onnx()
        self._name = name
        self._domain = domain
        self._dtype = dtype
        self._channels = channels
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant's name."""
        self._constants[name] = value
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node's output; the node has its name."""
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def pool(self, x: str, output: str, size: int) -> str:
        """Maximum pooling 2x2/2, or 3x3/2 with a border of 1."""
        return self.node("MaxPool", [x], output, kernel_shape=[size] * 2, strides=[2, 2],
                         **({"pads": [1] * 4} if size == 3 else {}))

    def finish(self, outputs: Mapping[str, int], metadata: Mapping[str, str]) -> "ModelProto":
        """The model, checked. outputs: their channels by name; metadata: what a reader should know."""
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self._dtype))

        def value(name: str, channels: int, size: str) -> Any:
            return helper.make_tensor_value_info(name, kind, ["N", channels, f"height{size}", f"width{size}"])

        graph = helper.make_graph(
            self._nodes, self._name, [value(INPUT, self._channels, "")],
            [value(name, channels, f"_{name}") for name, channels in outputs.items()],
            [self._onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, producer_name=MARK, domain=self._domain, ir_version=IR_VERSION,
                                  opset_imports=[helper.make_opsetid("", OPERATOR_SET)])
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model, full_check=True)
        return model


def write_model(model: "ModelProto", path: Path) -> None:
    """Writes ``path``, whole or not at all; the same model gives the same bytes. Raises InputError."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
