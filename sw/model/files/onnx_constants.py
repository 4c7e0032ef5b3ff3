"""What does not depend on the input of an ONNX graph: constants, and what nodes are called and told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import READ_ERRORS, one_line

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


class Constants:
    """The constants of a graph in the file ``source``. They are evaluated only when needed, which those of
    large classifiers never are."""

    def __init__(self, graph: "GraphProto", source: str) -> None:
        self._source = source
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}

    @property
    def initializers(self) -> set[str]:
        """The names of those that are stored."""
        return set(self._initializers)

    def has(self, name: str) -> bool:
        """Whether a tensor does not depend on the input."""
        return self._find(name, evaluate=False) is not None

    def value(self, name: str) -> np.ndarray | None:
        """The value of a tensor that does not depend on the input, or None if it does. Raises InputError for
        one that cannot be read."""
        try:
            return self._find(name, evaluate=True)
        except READ_ERRORS as error:
            raise InputError(f"{self._source}: constant {name[:80]!r} cannot be read ({one_line(error)}); "
                             "allowed: a whole ONNX model") from error

    def _find(self, name: str, *, evaluate: bool) -> np.ndarray | None:
        """Without ``evaluate``, an empty array stands for the value."""
        from onnx import numpy_helper  # noqa: PLC0415 (optional)

        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name]) if evaluate else np.empty(0)
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return _constant_value(node) if evaluate else np.empty(0)
        if node.op_type not in {"Identity", "ConstantOfShape"}:
            return None
        inner = self._find(node.input[0], evaluate=evaluate)
        if inner is None or node.op_type == "Identity" or not evaluate:
            return inner
        value = attributes_of(node).get("value")
        fill = np.zeros(1, dtype=np.float32) if value is None else numpy_helper.to_array(value)
        return np.full(inner.tolist(), fill.item(), dtype=fill.dtype)


def attributes_of(node: "NodeProto") -> Mapping[str, Any]:
    """A node's attributes by name."""
    from onnx import helper  # noqa: PLC0415 (optional)

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def label_of(node: "NodeProto") -> str:
    """How a node is named in messages."""
    return f"{node.op_type} node {node.name or node.output[0]!r}"


def _constant_value(node: "NodeProto") -> np.ndarray | None:
    from onnx import numpy_helper  # noqa: PLC0415 (optional)

    for name, value in attributes_of(node).items():
        if name == "value":
            return numpy_helper.to_array(value)
        if name in {"value_float", "value_floats", "value_int", "value_ints"}:
            return np.asarray(value, dtype=np.float32 if "float" in name else np.int64)
    return None
