"""An ONNX model read as a stack of 3x3 convolutions, by walking its nodes from the input.

The walk continues as long as the stack can express every node exactly: Conv (3x3, stride 1, padded by 1);
BatchNormalization and Add of a constant directly after it (both are folded into it); Relu; MaxPool (2x2,
stride 2); Pad with zeros; Identity. It stops at the first other node and reports why. The caller decides
whether what was found is enough, since it may want fewer layers than the model has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.batch_norm import DEFAULT_EPSILON, BatchNorm, fold_batch_norm
from kestrel.sw.model.files.entries import one_line, times

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

NEEDS_ONNX = "takes the package onnx; allowed: after pip install 'kestrel-engine[onnx]'"


@dataclass(frozen=True)
class GraphConv:
    """A convolution together with everything that follows it up to the next one.

    ``name`` is its node, such as ``Conv node 'n0'``. ``weight`` (float64 [C_out, C_in, 3, 3]) and ``bias``
    (float64 [C_out]) include what was folded in. ``batch_norm`` says whether a batch norm was folded in;
    ``relu`` and ``pool`` say whether they follow.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    batch_norm: bool = False
    relu: bool = False
    pool: bool = False


@dataclass(frozen=True)
class GraphStack:
    """The result of the walk.

    ``convs`` are the convolutions in order. ``stop`` is the reason why the walk stopped, "" at the end of the
    graph. ``left_out`` names the computing nodes that were not reached, in the order of the graph.
    """

    convs: tuple[GraphConv, ...]
    stop: str
    left_out: tuple[str, ...]


class _Stopped(Exception):
    """Ends the walk; its text is the reason."""


def read_stack(path: Path) -> GraphStack:
    """Walks the model in a file. Raises InputError if the file is not a valid model or the model does not
    have exactly one input."""
    try:
        import onnx  # noqa: PLC0415 (optional)
    except ImportError:
        raise InputError(f"{path}: to read an ONNX model {NEEDS_ONNX}") from None
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # errors of protobuf, of onnx, and of external data files
        raise InputError(f"{path}: not a readable ONNX model ({one_line(error)}); "
                         "allowed: a whole, valid model") from error
    return _Walk(path, model).run()


class _Walk:
    """One walk. Constants are evaluated only when needed, which those of large classifiers never are."""

    def __init__(self, path: Path, model: "ModelProto") -> None:
        self.path = path
        self.graph = model.graph
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self._makers = {output: node for node in self.graph.node for output in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)
        self._pads = np.zeros(4, dtype=np.int64)
        self._found: list[GraphConv] = []
        self._reached: set[str] = set()

    def run(self) -> GraphStack:
        inputs = [i.name for i in self.graph.input if i.name not in self._initializers]
        if len(inputs) != 1:
            raise InputError(f"{self.path}: a model of {len(inputs)} inputs ({', '.join(inputs[:3])}); "
                             "allowed: one, the image")
        stop = ""
        try:
            self._follow(inputs[0])
        except _Stopped as reason:
            stop = str(reason)
        convs = self._found
        if convs and not convs[-1].relu:
            stop = f"{stop or 'the graph ends'}, and no Relu follows {convs[-1].name}"
            convs = convs[:-1]
        return GraphStack(tuple(convs), stop, self._left_out())

    def _left_out(self) -> tuple[str, ...]:
        return tuple(
            _label(node) for node in self.graph.node
            if node.output[0] not in self._reached and self._constant(node.output[0], evaluate=False) is None
        )

    def _follow(self, name: str) -> None:
        while True:
            readers = self._readers.get(name, [])
            if not readers:
                return
            if len(readers) > 1:
                labels = ", ".join(_label(node) for node in readers[:3])
                raise _Stopped(f"{name!r} goes to {len(readers)} nodes ({labels})")
            node = readers[0]
            step = _STEPS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
            if step is None:
                raise _Stopped(f"{_label(node)} is not one of {', '.join(_STEPS)}")
            step(self, node, name)
            self._reached.add(node.output[0])
            name = node.output[0]

    # The nodes --------------------------------------------------------------------------------------------

    def _conv(self, node: "NodeProto", name: str) -> None:
        label = _label(node)
        if self._found and not self._found[-1].relu:
            raise _Stopped(f"no Relu between {self._found[-1].name} and {label}")
        if node.input[0] != name:
            raise _Stopped(f"{label} has computed weights")
        weight = self._floats(node, 1)
        attributes = _attributes(node)
        kernel = weight.shape[2:]
        pads = self._pads + _conv_pads(attributes, label)
        for what, value, allowed in (
            ("kernel", list(kernel), [3, 3]),
            ("strides", attributes.get("strides", [1, 1]), [1, 1]),
            ("dilations", attributes.get("dilations", [1, 1]), [1, 1]),
            ("group", attributes.get("group", 1), 1),
            ("pads", pads.tolist(), [1, 1, 1, 1]),
        ):
            if value != allowed:
                raise _Stopped(f"{label} has {what} {_shown(value)} (allowed: {_shown(allowed)})")
        bias = self._floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(len(weight))
        if bias.shape != weight.shape[:1]:
            raise _Stopped(f"{label} has a bias of shape {times(bias.shape)}")
        self._pads = np.zeros(4, dtype=np.int64)
        self._found.append(GraphConv(label, weight, bias))

    def _batch_norm(self, node: "NodeProto", name: str) -> None:  # noqa: ARG002 (as all steps)
        conv = self._behind_conv(node)
        attributes = _attributes(node)
        if attributes.get("training_mode", 0) or len([o for o in node.output if o]) > 1:
            raise _Stopped(f"{_label(node)} is in training mode")
        epsilon = float(attributes.get("epsilon", DEFAULT_EPSILON))
        norm = BatchNorm(*(self._floats(node, n) for n in range(1, 5)), epsilon=epsilon)
        if norm.gain.shape != conv.bias.shape:
            raise _Stopped(f"{_label(node)} is of {norm.gain.size} channels")
        weight, bias = fold_batch_norm(conv.weight, conv.bias, norm, f"{self.path}: {_label(node)}")
        self._found[-1] = replace(conv, weight=weight, bias=bias, batch_norm=True)

    def _add(self, node: "NodeProto", name: str) -> None:
        if len(set(node.input)) < 2 or self._constant(_other(node, name)) is None:
            raise _Stopped(f"{_label(node)} adds two maps")
        conv = self._behind_conv(node)
        value = self._floats(node, list(node.input).index(_other(node, name)))
        # Only an array of shape [.., C, 1, 1] or a single number is a bias; others would vary by column.
        aligned = value.reshape((1,) * (4 - value.ndim) + value.shape) if value.ndim <= 4 else value
        if aligned.shape not in {(1, len(conv.bias), 1, 1), (1, 1, 1, 1)}:
            raise _Stopped(f"{_label(node)} adds an array of shape {times(value.shape)}")
        self._found[-1] = replace(conv, bias=conv.bias + aligned.reshape(-1))

    def _relu(self, node: "NodeProto", name: str) -> None:  # noqa: ARG002
        if not self._found or self._pads.any():
            raise _Stopped(f"{_label(node)} does not follow a convolution")
        # A Relu after the pooling equals one before it, since both functions are monotone.
        self._found[-1] = replace(self._found[-1], relu=True)

    def _pool(self, node: "NodeProto", name: str) -> None:  # noqa: ARG002
        label, attributes = _label(node), _attributes(node)
        if not self._found or self._found[-1].pool or self._pads.any():
            raise _Stopped(f"{label} does not follow a convolution")
        if attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
            raise _Stopped(f"{label} has auto_pad {attributes['auto_pad'].decode()}")
        for what, default, allowed in (
            ("kernel_shape", None, [2, 2]), ("strides", [1, 1], [2, 2]), ("pads", [0] * 4, [0] * 4),
            ("dilations", [1, 1], [1, 1]), ("ceil_mode", 0, 0), ("storage_order", 0, 0),
        ):  # fmt: skip
            value = attributes.get(what, default)
            if value != allowed:
                raise _Stopped(f"{label} has {what} {_shown(value)} (allowed: {_shown(allowed)})")
        self._found[-1] = replace(self._found[-1], pool=True)

    def _pad(self, node: "NodeProto", name: str) -> None:
        label, attributes = _label(node), _attributes(node)
        if node.input[0] != name:
            raise _Stopped(f"{label} has computed arguments")
        pads, value, axes = attributes.get("pads"), attributes.get("value", 0.0), None
        if len(node.input) > 1:  # these are attributes up to operator set 10 and inputs since then
            pads = self._argument(node, 1)
            value = self._argument(node, 2) if len(node.input) > 2 and node.input[2] else 0
            axes = self._argument(node, 3) if len(node.input) > 3 and node.input[3] else None
        if attributes.get("mode", b"constant") != b"constant" or np.any(np.asarray(value) != 0):
            raise _Stopped(f"{label} does not pad with zeros")
        pads = np.asarray(pads, dtype=np.int64).reshape(2, -1)
        full = np.zeros((2, 4), dtype=np.int64)
        full[:, range(4) if axes is None else np.asarray(axes) % 4] = pads
        if full[:, :2].any() or (full < 0).any() or (self._found and not self._found[-1].relu):
            raise _Stopped(f"{label} has pads {_shown(full.ravel().tolist())} where they cannot be folded")
        self._pads = self._pads + full[:, 2:].ravel()

    def _identity(self, node: "NodeProto", name: str) -> None:
        """Does nothing: the map passes through unchanged."""

    def _behind_conv(self, node: "NodeProto") -> GraphConv:
        """The convolution that a node follows directly, with nothing in between."""
        if not self._found or self._found[-1].relu or self._found[-1].pool or self._pads.any():
            raise _Stopped(f"{_label(node)} does not directly follow a convolution")
        return self._found[-1]

    # Constants --------------------------------------------------------------------------------------------

    def _floats(self, node: "NodeProto", position: int) -> np.ndarray:
        found = self._argument(node, position)
        value = found.astype(np.float64)
        with np.errstate(over="ignore"):
            finite = np.isfinite(value.astype(np.float32)).all()
        if found.dtype.kind in "iub" or not finite:
            raise InputError(f"{self.path}: {_label(node)}: {node.input[position]!r} is of type "
                             f"{found.dtype} or not finite; allowed: finite floating-point numbers")
        return value

    def _argument(self, node: "NodeProto", position: int) -> np.ndarray:
        found = self._constant(node.input[position])
        if found is None:
            raise _Stopped(f"{_label(node)}: {node.input[position]!r} is not a constant")
        return found

    def _constant(self, name: str, *, evaluate: bool = True) -> np.ndarray | None:
        """The value of a tensor that does not depend on the input, or None if it does. Without ``evaluate``,
        an empty array stands for the value."""
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
        inner = self._constant(node.input[0], evaluate=evaluate)
        if inner is None or node.op_type == "Identity" or not evaluate:
            return inner
        value = _attributes(node).get("value")
        fill = np.zeros(1, dtype=np.float32) if value is None else numpy_helper.to_array(value)
        return np.full(inner.tolist(), fill.item(), dtype=fill.dtype)


_STEPS = {
    "Conv": _Walk._conv, "BatchNormalization": _Walk._batch_norm, "Add": _Walk._add, "Relu": _Walk._relu,
    "MaxPool": _Walk._pool, "Pad": _Walk._pad, "Identity": _Walk._identity,
}  # fmt: skip


def _label(node: "NodeProto") -> str:
    return f"{node.op_type} node {node.name or node.output[0]!r}"


def _attributes(node: "NodeProto") -> Mapping[str, Any]:
    from onnx import helper  # noqa: PLC0415 (optional)

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _constant_value(node: "NodeProto") -> np.ndarray | None:
    from onnx import numpy_helper  # noqa: PLC0415 (optional)

    for name, value in _attributes(node).items():
        if name == "value":
            return numpy_helper.to_array(value)
        if name in {"value_float", "value_floats", "value_int", "value_ints"}:
            return np.asarray(value, dtype=np.float32 if "float" in name else np.int64)
    return None


def _other(node: "NodeProto", name: str) -> str:
    return next(i for i in node.input if i != name)


def _conv_pads(attributes: Mapping[str, Any], label: str) -> np.ndarray:
    automatic = attributes.get("auto_pad", b"NOTSET")
    if automatic in {b"SAME_UPPER", b"SAME_LOWER"}:  # both pad by 1 for a 3x3 kernel with stride 1
        return np.ones(4, dtype=np.int64)
    if automatic not in {b"NOTSET", b"VALID"}:
        raise _Stopped(f"{label} has auto_pad {automatic.decode()}")
    pads = [0] * 4 if automatic == b"VALID" else attributes.get("pads", [0] * 4)
    if len(pads) != 4:
        raise _Stopped(f"{label} is not two-dimensional")
    return np.asarray(pads, dtype=np.int64)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
