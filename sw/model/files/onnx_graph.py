"""An ONNX model read as layers, by following its nodes from the input.

A node is read if layers can express it exactly: Conv (3x3 padded by 1 or 1x1, stride 1 or 2; 7x7 padded by
3); BatchNormalization (folded into the convolution before it, or a scaled map, as RepVGG has it); Add of two
sums, of a map and a sum, or of a constant by channel; Mul by a constant by channel; Relu; MaxPool (2x2/2, or
3x3/2 padded by 1); Pad with zeros; Identity. What follows other nodes is not read, and the first of them is
the reason that is reported. The caller decides whether what was found is enough, since it may want fewer
layers than the model has.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.batch_norm import DEFAULT_EPSILON, BatchNorm, fold_batch_norm
from kestrel.sw.model.files.entries import one_line, times
from kestrel.sw.model.files.onnx_constants import Constants, attributes_of, label_of
from kestrel.sw.model.files.onnx_layers import GraphLayer, Stopped, Sum, Term, layer_of
from kestrel.sw.model.files.onnx_windows import conv_pads, pool_size, shown
from kestrel.sw.model.shapes import IMAGE

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

NEEDS_ONNX = "takes the package onnx; allowed: after pip install 'kestrel-engine[onnx]'"

NOT_MAPS = frozenset({"Shape", "Size"})
"""Operators whose result is no map, but may be needed to arrange one later: no reason to stop."""

NO_PADS = (0, 0, 0, 0)


@dataclass(frozen=True)
class Graph:
    """What was read.

    ``layers`` are in the order of their ReLUs. ``stop`` is the first reason why something was not read, "" if
    everything was. ``left_out`` names the computing nodes that were not read, in the order of the graph.
    """

    layers: tuple[GraphLayer, ...]
    stop: str
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Map:
    """The output of a layer, or the image. ``pads``: zeros around it so far, as ONNX counts them."""

    layer: int
    pads: tuple[int, ...] = NO_PADS


def read_graph(path: Path) -> Graph:
    """Reads the model in a file. Raises InputError if the file is not a valid model or the model does not
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
    return _Reader(path, model).run()


class _Reader:
    """One reading of a model."""

    def __init__(self, path: Path, model: "ModelProto") -> None:
        self.path = path
        self.graph = model.graph
        self._constants = Constants(self.graph, str(self.path))
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)
        self._values: dict[str, _Map | Sum] = {}
        self._lost: set[str] = set()
        self._layers: list[GraphLayer] = []
        self._open: dict[str, None] = {}
        """The convolutions that no Relu has followed yet, in their order."""

    def run(self) -> Graph:
        stored = self._constants.initializers
        inputs = [i.name for i in self.graph.input if i.name not in stored]
        if len(inputs) != 1:
            raise InputError(f"{self.path}: a model of {len(inputs)} inputs ({', '.join(inputs[:3])}); "
                             "allowed: one, the image")
        self._values[inputs[0]] = _Map(IMAGE)
        stop = ""
        for node in self.graph.node:  # in an order in which every node follows those that it reads
            try:
                self._read(node)
            except Stopped as reason:
                stop = stop or str(reason)
                self._lost.update(node.output)
        last = list(self._open)[-1:]
        if last and last[0] not in stop:
            stop = f"{stop or 'the graph ends'}, and no Relu follows {last[0]}"
        left_out = tuple(label_of(node) for node in self.graph.node
                         if node.output[0] not in self._values and not self._constants.has(node.output[0]))
        return Graph(tuple(self._layers), stop, left_out)

    def _read(self, node: "NodeProto") -> None:
        """Finds the value of a node. One behind a node that was not read has none either."""
        given = [name for name in node.input if name and not self._constants.has(name)]
        if not given or node.op_type in NOT_MAPS:
            return
        if any(name in self._lost for name in given):
            self._lost.update(node.output)
            return
        unknown = [name for name in given if name not in self._values]
        if len(unknown) == len(given):
            return  # a constant that takes more than copying: a reason to stop where it is used
        if unknown:
            raise Stopped(f"{label_of(node)}: {unknown[0]!r} is not a constant")
        step = _STEPS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
        if step is None:
            raise Stopped(f"{label_of(node)} is not one of {', '.join(_STEPS)}")
        for name in given:
            readers = [other for other in self._readers[name] if other.op_type not in NOT_MAPS]
            if isinstance(self._values[name], Sum) and len(readers) > 1:
                labels = ", ".join(label_of(other) for other in readers[:3])
                raise Stopped(f"{name!r} goes to {len(readers)} nodes ({labels}) before a Relu")
        self._values[node.output[0]] = step(self, node, given)

    # The nodes --------------------------------------------------------------------------------------------

    def _conv(self, node: "NodeProto", given: list[str]) -> Sum:
        label, attributes = label_of(node), attributes_of(node)
        x = self._values[given[0]]
        if isinstance(x, Sum):
            raise Stopped(f"no Relu between {x.name} and {label}")
        if given != [node.input[0]]:
            raise Stopped(f"{label} has computed weights")
        weight = self._floats(node, 1)
        kernel, strides = list(weight.shape[2:]), list(attributes.get("strides", [1, 1]))
        if kernel not in ([1, 1], [3, 3], [7, 7]):
            raise Stopped(f"{label} has kernel {shown(kernel)} (allowed: 1, 1; 3, 3; 7, 7)")
        if strides not in ([1, 1], [2, 2]):
            raise Stopped(f"{label} has strides {shown(strides)} (allowed: 1, 1; 2, 2)")
        pads = np.add(x.pads, conv_pads(attributes, label, kernel[0], strides[0])).tolist()
        for what, value, allowed in (
            ("dilations", list(attributes.get("dilations", [1, 1])), [1, 1]),
            ("group", attributes.get("group", 1), 1),
            ("pads", pads, [kernel[0] // 2] * 4),
        ):
            if value != allowed:
                raise Stopped(f"{label} has {what} {shown(value)} (allowed: {shown(allowed)})")
        bias = self._floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(len(weight))
        if bias.shape != weight.shape[:1]:
            raise Stopped(f"{label} has a bias of shape {times(bias.shape)}")
        self._open[label] = None
        return Sum((Term(label, x.layer, weight, strides[0]),), bias)

    def _batch_norm(self, node: "NodeProto", given: list[str]) -> Sum:
        label, attributes = label_of(node), attributes_of(node)
        if attributes.get("training_mode", 0) or len([o for o in node.output if o]) > 1:
            raise Stopped(f"{label} is in training mode")
        epsilon = float(attributes.get("epsilon", DEFAULT_EPSILON))
        norm = BatchNorm(*(self._floats(node, n) for n in range(1, 5)), epsilon=epsilon)
        total = self._sum(given[0], label, norm.gain.size)
        if norm.gain.shape != total.bias.shape:
            raise Stopped(f"{label} is of {norm.gain.size} channels")
        # Folded into 1x1 kernels of 1, a norm shows its gain.
        unit = np.ones((len(total.bias), 1, 1, 1))
        gain, bias = fold_batch_norm(unit, total.bias, norm, f"{self.path}: {label}")
        terms = tuple(term.scaled(gain[:, 0, 0, 0]) for term in total.terms)
        return replace(total, terms=terms, bias=bias, batch_norm=True)

    def _add(self, node: "NodeProto", given: list[str]) -> Sum:
        label = label_of(node)
        if len(given) == 2 and given[0] != given[1]:
            sums = [value for name in given if isinstance(value := self._values[name], Sum)]
            channels = len(sums[0].bias) if sums else 0
            first, second = (self._sum(name, label, channels) for name in given)
            if not sums:
                raise Stopped(f"{label} adds two maps behind their Relus")
            if first.bias.shape != second.bias.shape:
                raise Stopped(f"{label} adds {len(first.bias)} and {len(second.bias)} channels")
            if first.pool or second.pool:
                raise Stopped(f"{label} adds to a pooled map")
            return Sum(first.terms + second.terms, first.bias + second.bias,
                       first.batch_norm or second.batch_norm)
        if len(given) == 2:
            raise Stopped(f"{label} adds {given[0]!r} to itself")
        total = self._values[given[0]]
        if isinstance(total, _Map) or total.pool:
            raise Stopped(f"{label} does not directly follow a convolution")
        return replace(total, bias=total.bias + self._by_channel(node, given[0], len(total.bias)))

    def _mul(self, node: "NodeProto", given: list[str]) -> Sum:
        label, x = label_of(node), self._values[given[0]]
        if len(given) > 1 or (isinstance(x, _Map) and x.layer == IMAGE) or (isinstance(x, Sum) and x.pool):
            what = "two maps" if len(given) > 1 else "a pooled map" if isinstance(x, Sum) else "the image"
            raise Stopped(f"{label} multiplies {what} (allowed: a map by a constant)")
        total = self._sum(given[0], label, 0)
        gain = self._by_channel(node, given[0], len(total.bias))
        return replace(total, terms=tuple(term.scaled(gain) for term in total.terms), bias=total.bias * gain)

    def _relu(self, node: "NodeProto", given: list[str]) -> _Map:
        label, x = label_of(node), self._values[given[0]]
        if isinstance(x, _Map):
            if x.layer == IMAGE or x.pads != NO_PADS:
                raise Stopped(f"{label} does not follow a convolution")
            return x  # nothing is left to cut off
        self._layers.append(layer_of(x, label))
        for term in x.terms:
            self._open.pop(term.name, None)
        return _Map(len(self._layers) - 1)

    def _pool(self, node: "NodeProto", given: list[str]) -> _Map | Sum:
        label, attributes, x = label_of(node), attributes_of(node), self._values[given[0]]
        before = x.pool if isinstance(x, Sum) else 1 if x.layer == IMAGE else self._layers[x.layer].pool
        if before:
            raise Stopped(f"{label} does not follow a convolution")
        size = pool_size(attributes, label, NO_PADS if isinstance(x, Sum) else x.pads)
        if isinstance(x, Sum):  # the maximum and a Relu behind it may change places: both are monotone
            return replace(x, pool=size)
        readers = self._readers[given[0]]
        if len(readers) > 1:
            labels = ", ".join(label_of(other) for other in readers[:3])
            raise Stopped(f"{given[0]!r} goes to {len(readers)} nodes ({labels}) before its pooling")
        self._layers[x.layer] = replace(self._layers[x.layer], pool=size)
        return _Map(x.layer)

    def _pad(self, node: "NodeProto", given: list[str]) -> _Map:
        label, attributes, x = label_of(node), attributes_of(node), self._values[given[0]]
        if given != [node.input[0]]:
            raise Stopped(f"{label} has computed arguments")
        pads, value, axes = attributes.get("pads"), attributes.get("value", 0.0), None
        if len(node.input) > 1:  # these are attributes up to operator set 10 and inputs since then
            pads = self._argument(node, 1)
            value = self._argument(node, 2) if len(node.input) > 2 and node.input[2] else 0
            axes = self._argument(node, 3) if len(node.input) > 3 and node.input[3] else None
        if attributes.get("mode", b"constant") != b"constant" or np.any(np.asarray(value) != 0):
            raise Stopped(f"{label} does not pad with zeros")
        pads = np.asarray(pads, dtype=np.int64).reshape(2, -1)
        full = np.zeros((2, 4), dtype=np.int64)
        full[:, range(4) if axes is None else np.asarray(axes) % 4] = pads
        if full[:, :2].any() or (full < 0).any() or isinstance(x, Sum):
            raise Stopped(f"{label} has pads {shown(full.ravel().tolist())} where they cannot be folded")
        return replace(x, pads=tuple(np.add(x.pads, full[:, 2:].ravel()).tolist()))

    def _identity(self, node: "NodeProto", given: list[str]) -> _Map | Sum:  # noqa: ARG002 (as all steps)
        return self._values[given[0]]

    def _sum(self, name: str, label: str, channels: int) -> Sum:
        """The value as a sum: a map is one of itself."""
        x = self._values[name]
        if isinstance(x, Sum):
            return x
        if x.pads != NO_PADS:
            raise Stopped(f"{label} follows a Pad")
        channels = channels if x.layer == IMAGE else len(self._layers[x.layer].bias)
        return Sum((Term(label, x.layer, np.ones(channels)),), np.zeros(channels))

    # Constants --------------------------------------------------------------------------------------------

    def _by_channel(self, node: "NodeProto", given: str, channels: int) -> np.ndarray:
        """The other input as one number a channel: an array of shape [.., C, 1, 1], or a single number;
        others would vary by column."""
        value = self._floats(node, 1 - list(node.input).index(given))
        aligned = value.reshape((1,) * (4 - value.ndim) + value.shape) if value.ndim <= 4 else value
        if aligned.shape not in {(1, channels, 1, 1), (1, 1, 1, 1)}:
            raise Stopped(f"{label_of(node)} takes an array of shape {times(value.shape)} (allowed: one "
                          "number a channel)")
        return np.broadcast_to(aligned.reshape(-1), channels)

    def _floats(self, node: "NodeProto", position: int) -> np.ndarray:
        found = self._argument(node, position)
        value = found.astype(np.float64)
        with np.errstate(over="ignore"):
            finite = np.isfinite(value.astype(np.float32)).all()
        if found.dtype.kind in "iub" or not finite:
            raise InputError(f"{self.path}: {label_of(node)}: {node.input[position]!r} is of type "
                             f"{found.dtype} or not finite; allowed: finite floating-point numbers")
        return value

    def _argument(self, node: "NodeProto", position: int) -> np.ndarray:
        found = self._constants.value(node.input[position])
        if found is None:
            raise Stopped(f"{label_of(node)}: {node.input[position]!r} is not a constant")
        return found


_STEPS = {
    "Conv": _Reader._conv, "BatchNormalization": _Reader._batch_norm, "Add": _Reader._add,
    "Mul": _Reader._mul, "Relu": _Reader._relu, "MaxPool": _Reader._pool, "Pad": _Reader._pad,
    "Identity": _Reader._identity,
}  # fmt: skip
