"""Assigns the arrays of a file to layers by their keys.

Three naming schemes are known, each with any prefix (``module.``, ``backbone.features.``, ``layers/``):

indexed   ``0.weight``, ``2.weight``, ...: torchvision's ``features``, in which activations and poolings have
          an index too, so that the indices show where the network pools; a batch norm follows its convolution
named     ``conv1_1.weight``, ``block1_conv1/kernel``: the names of Caffe and Keras
counted   ``conv2d/vars/0``, ``conv2d_1/vars/0``, ...: Keras' own counting, which shows only the order

A key that belongs to a layer but is not understood is refused and never ignored, because it may change what
the layer computes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import StoredArrays
from kestrel.sw.model.network import VGG_BLOCKS, NetworkShape, parse_network
from kestrel.sw.model.storage.keras_settings import check_settings

Position = tuple[int, ...]
"""A convolution's position in its naming scheme: (index,), (block, number) or (count,)."""

NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class ConvKeys:
    """The keys of a convolution. ``norm`` is the prefix of its batch norm's keys, or None without one."""

    weight: str
    bias: str | None
    norm: str | None = None


@dataclass(frozen=True)
class Matched:
    """The keys of every layer. ``prefix`` stands before the names that were understood, ``naming`` is the
    naming scheme, ``layers`` holds the keys by layer name (None for a layer that the file does not hold), and
    ``notes`` are remarks, one line each."""

    prefix: str
    naming: str
    layers: dict[str, ConvKeys | None]
    notes: tuple[str, ...] = ()

    def used(self, stored: StoredArrays) -> set[str]:
        """The keys in the file that belong to these layers."""
        found: set[str] = set()
        for keys in self.layers.values():
            if keys is not None:
                found |= {keys.weight, *([keys.bias] if keys.bias else [])}
                found |= {f"{keys.norm}{part}" for part in NORM_PARTS if keys.norm is not None}
        return found & stored.entries.keys()


@dataclass(frozen=True)
class _Found:
    """The convolutions that one naming scheme finds in a file.

    ``convs`` holds their keys by position. ``halves`` holds the positions that lack a weight although the
    file has something else for them, with the missing key. ``spread`` says whether an index is left after
    each convolution for a batch norm.
    """

    prefix: str
    naming: str
    convs: dict[Position, ConvKeys]
    halves: dict[Position, str] = field(default_factory=dict)
    spread: bool = False

    def expected(self, shape: NetworkShape) -> list[Position]:
        """The positions of the layers of ``shape`` in this naming scheme."""
        if self.naming == "named":
            blocks = (layer.name.removeprefix("conv").split("_") for layer in shape.layers)
            return [(int(block), int(number)) for block, number in blocks]
        if self.naming == "counted":
            return [(n,) for n in range(len(shape.layers))]
        # Each batch norm shifts the convolutions after it by one.
        return [(index + n * self.spread,) for n, index in enumerate(shape.features)]

    def after(self, position: Position) -> Position:
        """The position of a convolution directly after this one, with no pooling in between."""
        step = 2 + self.spread if self.naming == "indexed" else 1
        return (*position[:-1], position[-1] + step)


def match_keys(stored: StoredArrays, shape: NetworkShape) -> Matched:
    """Finds the keys of every layer of ``shape``.

    Raises InputError if the file has no known naming scheme, holds a network other than ``shape``, has keys
    that are not understood, or holds more than one network.
    """
    found = _indexed(stored, shape) or _named(stored, shape) or _counted(stored, shape)
    if found is None:
        raise InputError(
            f"{stored.source}: layer {shape.layers[0].name} of {shape.name} is missing (no key "
            f"features.0.weight, block1_conv1/kernel or the like; the file has {_some(stored)}); allowed: "
            "torchvision's key names, features.N.weight and features.N.bias, or Keras' names"
        )
    notes = tuple(_check_family(stored, shape, found))
    layers: dict[str, ConvKeys | None] = {}
    for layer, position in zip(shape.layers, found.expected(shape), strict=True):
        layers[layer.name] = found.convs.get(position)
        if position in found.halves:
            raise InputError(f"{stored.source}: layer {layer.name} of {shape.name} is not whole (no key "
                             f"{found.halves[position]}); allowed: weight and bias of every layer")
    return Matched(found.prefix, found.naming, layers, notes)


# --------------------------------------------------------------------------------------------------------
# Is it the network that was asked for?
# --------------------------------------------------------------------------------------------------------


def _check_family(stored: StoredArrays, shape: NetworkShape, found: _Found) -> Iterator[str]:
    """Yields a remark if the file holds another family that agrees with ``shape`` up to its last layer.
    Raises InputError if it does not agree."""
    expected = found.expected(shape)
    last = expected[-1]
    foreign = [p for p in sorted(found.convs) if p <= last and p not in expected]
    if shape.layers[-1].pool and found.naming != "counted":
        foreign += [p for p in [found.after(last)] if p in found.convs]
    family, _, cut = shape.name.partition(":")
    others = [name for name in _families(shape) if _holds(found, name)]
    wrong = foreign or (found.naming == "counted" and family not in others and others)
    if wrong:
        key = found.convs[foreign[0]].weight if foreign else f"{len(found.convs)} convolutions"
        if others:
            hint = f"the file is of {' or '.join(others)}; allowed: --network {_with_cut(others[0], cut)}"
        else:
            hint = f"allowed: the layers of {family} and no others between them"
        raise InputError(f"{stored.source}: has {key}, which {shape.name} does not have; {hint}")
    if others and family not in others:
        yield (f"the file is of {' or '.join(others)}, not {family}; up to {shape.layers[-1].name} "
               "they are the same")


def _with_cut(family: str, cut: str) -> str:
    """The name of ``family``, with the cut ``cut`` if that family has such a layer."""
    for name in (f"{family}:{cut}", family):
        try:
            return parse_network(name).name
        except InputError:
            continue
    return family


def _families(shape: NetworkShape) -> list[str]:
    """The names of all families, with the width divisor of ``shape``."""
    divisor = shape.name.partition(":")[0].partition("/")[2]
    return [f"{name}{'/' * bool(divisor)}{divisor}" for name in VGG_BLOCKS]


def _holds(found: _Found, family: str) -> bool:
    """Whether all convolutions of a file belong to a family; counted ones must be equal in number."""
    positions = found.expected(parse_network(family))
    return len(positions) == len(found.convs) if found.naming == "counted" else (
        found.convs.keys() <= set(positions))


# --------------------------------------------------------------------------------------------------------
# Naming schemes
# --------------------------------------------------------------------------------------------------------

def _indexed(stored: StoredArrays, shape: NetworkShape) -> _Found | None:
    """Finds torchvision's ``features`` under any prefix; None if the file has no such keys."""
    groups: dict[str, dict[int, tuple[int, ...]]] = {}
    spoilt: dict[str, dict[int, tuple[int, ...]]] = {}
    for key, entry in stored.entries.items():
        match = re.fullmatch(r"(|.*\.)(\d+)\.weight", key)
        if match and _is_kernel(match[1], entry.shape):
            assert entry.shape is not None
            groups.setdefault(match[1], {})[int(match[2])] = entry.shape
        elif match and match[1].endswith("features."):  # reading it later says what is wrong with it
            spoilt.setdefault(match[1], {})[int(match[2])] = ()
    groups = groups or spoilt
    if not groups:
        return None
    prefix = _choose(stored, groups, shape)
    return _read_indexed(stored, prefix, set(groups[prefix]), shape)


def _is_kernel(prefix: str, shape: tuple[int, ...] | None) -> bool:
    """Whether an array is a convolution's kernel: 3x3, or of any size under ``features.``."""
    return shape is not None and len(shape) == 4 and (shape[2:] == (3, 3) or prefix.endswith("features."))


def _choose(stored: StoredArrays, groups: dict[str, dict[int, tuple[int, ...]]], shape: NetworkShape) -> str:
    """The prefix of the group that is meant: the only one, otherwise the only one whose first convolution
    matches the shape, otherwise ``features.`` itself. Raises InputError."""
    start = (shape.layers[0].in_channels, 3, 3)
    alike = [p for p, convs in groups.items() if convs.get(0, ())[1:] == start] or list(groups)
    if len(alike) == 1:
        return alike[0]
    if "features." in alike:
        return "features."
    raise InputError(f"{stored.source}: {len(alike)} networks, with keys that begin {', '.join(alike[:4])}; "
                     "allowed: one network a file")


def _read_indexed(stored: StoredArrays, prefix: str, convs: set[int], shape: NetworkShape) -> _Found:
    parts: dict[int, set[str]] = {}
    for key in stored.entries:
        match = re.fullmatch(r"(\d+)\.(.+)", key.removeprefix(prefix)) if key.startswith(prefix) else None
        if match:
            parts.setdefault(int(match[1]), set()).add(match[2])
    norms = {index for index, names in parts.items() if names & {"running_mean", "running_var"}}
    layers: dict[Position, ConvKeys] = {}
    for index in sorted(convs):
        bias = f"{prefix}{index}.bias" if "bias" in parts[index] else None
        norm = f"{prefix}{index + 1}." if index + 1 in norms else None
        layers[(index,)] = ConvKeys(f"{prefix}{index}.weight", bias, norm)
    found = _Found(prefix, "indexed", layers, spread=bool(norms) or _is_spread(sorted(convs)))
    expected = found.expected(shape)
    for index, names in sorted(parts.items()):
        if index > expected[-1][0] + 1:
            break
        if index in convs:
            odd = names - {"weight", "bias"}
        elif index in norms and index - 1 in convs:
            odd = names - set(NORM_PARTS)
        elif (index,) in expected and names <= {"weight", "bias"} and "weight" not in names:
            odd = set()
            found.halves[(index,)] = f"{prefix}{index}.weight"
        else:
            odd = names
        if odd:
            raise InputError(f"{stored.source}: {prefix}{index}.{min(odd)} may change what a layer computes; "
                             "allowed: convolutions, each with a batch norm directly behind it or without")
    return found


def _is_spread(indices: Sequence[int]) -> bool:
    """Whether indices were left for batch norms that have been folded away: convolutions are then 3 indices
    apart, or 4 across a pooling, instead of 2 and 3."""
    steps = [b - a for a, b in pairwise(indices)]
    return bool(steps) and min(steps) >= 3 and max(steps) >= 4 and indices[0] == 0


_NAMED = re.compile(r"(|.*?[/.])(?:block(\d)_conv(\d)|conv(\d)_(\d))(?![\d_]\d)(.*)")
_WEIGHT = re.compile(r"(?:.*[/._])?(?:kernel|weight|W_1|vars/0)(?::0)?")
_BIAS = re.compile(r"(?:.*[/._])?(?:bias|b_1|vars/1)(?::0)?")


def _named(stored: StoredArrays, shape: NetworkShape) -> _Found | None:
    """Finds ``blockB_convN`` and ``convB_N``; None if the file has no such keys."""
    found: dict[Position, dict[str, str]] = {}
    prefixes: set[str] = set()
    for key, entry in stored.entries.items():
        match = _NAMED.fullmatch(key)
        if match is None or key.startswith("optimizer"):
            continue
        position = (int(match[2] or match[4]), int(match[3] or match[5]))
        part = "weight" if _WEIGHT.fullmatch(match[6]) else "bias" if _BIAS.fullmatch(match[6]) else ""
        if not part or part in found.get(position, {}) or entry.shape is None:
            raise InputError(f"{stored.source}: {key} may change what the layers compute; "
                             "allowed: one kernel and one bias a layer")
        prefixes.add(match[1])
        found.setdefault(position, {})[part] = key
    if not found:
        return None
    _refuse_norms(stored)
    convs = {position: ConvKeys(keys["weight"], keys.get("bias"))
             for position, keys in sorted(found.items()) if "weight" in keys}
    halves = {position: f"{keys['bias']} without its kernel" for position, keys in found.items()
              if "weight" not in keys}
    check_settings(stored, shape)
    return _Found(min(prefixes, key=len), "named", convs, halves)


_COUNTED = re.compile(r"(|.*?/)conv2d(?:_(\d+))?/(?:.*/)?(kernel|bias|vars/0|vars/1)(?::0)?")


def _counted(stored: StoredArrays, shape: NetworkShape) -> _Found | None:
    """Finds Keras' ``conv2d``, ``conv2d_1``, ..., in the order of their numbers; None if there are none."""
    found: dict[int, dict[str, str]] = {}
    prefix = ""
    for key in stored.entries:
        match = _COUNTED.fullmatch(key)
        if match is None or key.startswith("optimizer"):
            continue
        prefix = match[1]
        part = "weight" if match[3] in {"kernel", "vars/0"} else "bias"
        found.setdefault(int(match[2] or 0), {})[part] = key
    if not found:
        return None
    _refuse_norms(stored)
    check_settings(stored, shape)
    convs: dict[Position, ConvKeys] = {
        (n,): ConvKeys(keys["weight"], keys.get("bias"))
        for n, (_, keys) in enumerate(sorted((n, k) for n, k in found.items() if "weight" in k))
    }
    return _Found(prefix, "counted", convs)


def _refuse_norms(stored: StoredArrays) -> None:
    """Raises InputError for a batch norm that no naming scheme ties to its convolution: it must not be
    dropped silently."""
    for key in stored.entries:
        if re.search(r"running_mean|moving_mean|gamma|batch_normalization", key) and (
                not key.startswith("optimizer")):
            raise InputError(f"{stored.source}: {key} is a batch norm by a name that is not known; "
                             "allowed: batch norm by torchvision's names, or in an ONNX file")


def _some(stored: StoredArrays) -> str:
    names = list(stored.entries)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "no arrays"
