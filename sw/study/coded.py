"""A network coded: its file at every cut, and the network that the file stands for, ready to run."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kestrel.sw.codecs import batch_norm, raw
from kestrel.sw.codecs.coding.indices import entropy_bits
from kestrel.sw.codecs.coding.stream import family_of
from kestrel.sw.codecs.model_file import decode_array, model_bytes
from kestrel.sw.study.codecs import Codec, layer_encoder
from kestrel.sw.zoo.layers import NORM_PARTS, Layers, Maps
from kestrel.sw.zoo.networks import Architecture
from kestrel.sw.zoo.parameters import Outline, Parameter
from kestrel.sw.zoo.weights import Weights, tensors

KERNELS = ("convolution", "dense")
"""Kinds of arrays that codecs compress and that bits a weight are counted over."""


@dataclass(frozen=True)
class Size:
    """Of a network up to a cut. file: bytes of its file; weights: numbers in all convolutions and dense
    layers, 1x1 and the first among them; weight_bytes: of their streams alone; entropy_bytes: least bytes of
    their indices and codebooks, 0 where weights are not indices into one codebook a layer; zeros: weights
    that are 0."""

    file: int
    weights: int
    weight_bytes: int
    entropy_bytes: int = 0
    zeros: int = 0

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.weight_bytes / self.weights


Run = Callable[[torch.Tensor], Iterator[tuple[str, torch.Tensor]]]


@dataclass(frozen=True)
class Coded:
    """sizes: by cut and coding; run: maps by name for a batch, float32 [N, 3, H, W]; digest: of the
    weights."""

    sizes: Mapping[tuple[str, str], Size]
    run: Run
    digest: str


def code_network(network: Architecture, known: Outline, cuts: tuple[str, ...], weights: Weights, codec: Codec,
                 codings: tuple[str, ...]) -> Coded:
    """Codes ``weights``, the arrays that ``cuts`` need, with every one of ``codings``, decodes the files and
    holds them to each other."""
    return code_streams(network, known, cuts, codec, codings or ("fixed",), lambda coding: _streams(
        known.upto(cuts[-1]), weights, codec.with_coding(coding) if codings else codec))


def code_streams(network: Architecture, known: Outline, cuts: tuple[str, ...], codec: Codec,
                 codings: tuple[str, ...], streams_by: Callable[[str], dict[str, bytes]]) -> Coded:
    """The coded network of the streams that ``streams_by`` makes with each coding."""
    sizes: dict[tuple[str, str], Size] = {}
    decoded: dict[str, np.ndarray] = {}
    for coding in codings:
        streams = streams_by(coding)
        again = _decoded(streams)
        if decoded and any(not np.array_equal(again[key], decoded[key]) for key in again):
            raise AssertionError(f"{codec.label}: codings decode to different weights")
        decoded = again
        for cut in cuts:
            sizes[cut, coding] = _size(known.upto(cut), streams, decoded, codec)
    return Coded(sizes, runner(network, decoded), digest_of(decoded))


def runner(network: Architecture, weights: Weights) -> Run:
    """Runs a network with ``weights``."""
    ready = tensors(weights)

    def run(x: torch.Tensor) -> Maps:
        return network.forward(Layers(ready), x)

    return run


def digest_of(weights: Weights) -> str:
    """SHA-256 of arrays and their keys."""
    found = hashlib.sha256()
    for key, array in sorted(weights.items()):
        found.update(key.encode() + str(array.shape).encode() + np.ascontiguousarray(array, "<f4").tobytes())
    return found.hexdigest()


def stream_key(parameter: Parameter) -> str:
    """Under which an array is stored: a batch norm's four together, under its own key."""
    return parameter.key.rpartition(".")[0] if parameter.kind == "batch norm" else parameter.key


def _streams(parameters: tuple[Parameter, ...], weights: Weights, codec: Codec) -> dict[str, bytes]:
    encode = layer_encoder(codec)
    return array_streams(parameters, weights, codec, lambda key: encode(weights[key]))


def array_streams(parameters: Sequence[Parameter], weights: Weights, codec: Codec,
                  encode: Callable[[str], bytes]) -> dict[str, bytes]:
    """The streams of all arrays by key; ``encode`` gives those of convolutions and dense layers."""
    norm_bits = int(codec.options.get("batch_norm", batch_norm.FLOAT))
    streams: dict[str, bytes] = {}
    for parameter in parameters:
        key = stream_key(parameter)
        if key in streams:
            continue
        if parameter.kind in KERNELS:
            streams[key] = encode(key)
        elif parameter.kind == "batch norm":
            vectors = np.stack([weights[f"{key}.{part}"] for part in NORM_PARTS])
            streams[key] = batch_norm.encode(vectors, norm_bits)
        else:
            streams[key] = raw.encode(weights[key])
    return streams


def _decoded(streams: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for key, stream in streams.items():
        array = decode_array(stream)
        if family_of(stream) == batch_norm.FAMILY:
            found |= {f"{key}.{part}": vector for part, vector in zip(NORM_PARTS, array, strict=True)}
        else:
            found[key] = array
    return found


def _size(parameters: tuple[Parameter, ...], streams: Mapping[str, bytes], decoded: Weights,
          codec: Codec) -> Size:
    kernels = [found for found in parameters if found.kind in KERNELS]
    keys = dict.fromkeys(stream_key(found) for found in parameters)
    entropy = 0.0
    if codec.family == "scalar":
        for found in kernels:
            values, indices = np.unique(decoded[found.key], return_inverse=True)
            entropy += entropy_bits(indices, len(values)) / 8 + 4 * len(values)
    return Size(
        model_bytes({key: len(streams[key]) for key in keys}), sum(found.count for found in kernels),
        sum(len(streams[found.key]) for found in kernels), int(-(-entropy // 1)),
        sum(int((decoded[found.key] == 0).sum()) for found in kernels),
    )  # fmt: skip
