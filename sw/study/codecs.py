"""The codecs of a study: a family of ``kestrel.sw.codecs`` with its options, applied to every convolution and
dense layer of a network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_BITS, SCALAR_WIDTHS
from kestrel.sw.codecs import masks, pruned, raw, scalar, vector
from kestrel.sw.codecs.batch_norm import FLOAT, check_norm_bits
from kestrel.sw.codecs.coding.indices import check_coding
from kestrel.sw.codecs.scalar import check_bits
from kestrel.sw.compress.fit import OUTPUT_RULE, SEQUENTIAL_RULE

LEAST_SQUARES = "least-squares"
RULES = (LEAST_SQUARES, OUTPUT_RULE, SEQUENTIAL_RULE)

Value = int | float | str

OPTIONS: Mapping[str, Mapping[str, Value]] = {
    "float": {},
    "scalar": {"method": "lloyd-max", "bits": 4, "coding": "fixed", "batch_norm": FLOAT},
    "vector": {"block": 2, "codewords": 256, "coding": "fixed", "batch_norm": FLOAT},
    "pruned": {"threshold": 0.5, "bits": 8, "gap_bits": 4, "coding": "fixed", "batch_norm": FLOAT},
    "masks": {"rule": LEAST_SQUARES, "bits": 3, "coding": "fixed", "others": 8, "batch_norm": FLOAT,
              "scalar_bits": SCALAR_BITS},
}
"""The options of each family with their defaults. others: bits of Lloyd-Max for layers whose kernels are
not 3x3; a network of the engine has them as masks, too, where the rule measures pictures. scalar_bits: of
the scalars of such a network behind its first layer."""

CODING = "coding"
"""The option that changes the size alone: the weights stay the same."""


@dataclass(frozen=True)
class Codec:
    """family: of OPTIONS; values: of all its options, in their order there."""

    family: str
    values: tuple[Value, ...]

    @property
    def options(self) -> dict[str, Value]:
        return dict(zip(OPTIONS[self.family], self.values, strict=True))

    @property
    def label(self) -> str:
        """In a few letters, with everything that differs from the defaults."""
        return "-".join((self._name, *self._details()))

    @property
    def weights_label(self) -> str:
        """The label without the coding: codecs of one have the same weights."""
        return self.with_coding("fixed").label if CODING in self.options else self.label

    def with_coding(self, coding: str) -> "Codec":
        """The same with another coding."""
        return make_codec(self.family, {**self.options, CODING: coding})

    def on_engine(self) -> "Codec":
        """The same for a network that the engine runs: with a rule that measures pictures, it has a format
        for every layer, and ``others`` is without effect."""
        if not self.by_pictures:
            return self
        return make_codec(self.family, {**self.options, "others": OPTIONS[self.family]["others"]})

    @property
    def by_pictures(self) -> bool:
        """Whether masks are fitted by a rule that measures pictures, to a whole network."""
        return self.family == "masks" and self.options["rule"] != LEAST_SQUARES

    @property
    def _name(self) -> str:
        options = self.options
        return {"scalar": str(options.get("method")), "masks": f"masks-{options.get('rule')}"}.get(
            self.family, self.family)

    def _details(self) -> list[str]:
        options, defaults = self.options, OPTIONS[self.family]
        found = {"vector": [f"k{options.get('codewords')}", f"b{options.get('block')}"],
                 "pruned": [f"t{options.get('threshold'):g}" if "threshold" in options else "",
                            f"{options.get('bits')}bit"]}.get(
            self.family, [f"{options['bits']}bit"] if "bits" in options else [])
        short = {CODING: "{}", "batch_norm": "bn{}", "gap_bits": "gap{}", "others": "rest{}",
                 "scalar_bits": "q{}"}
        return found + [short[name].format(options[name]) for name in short
                        if name in options and options[name] != defaults[name]]


FLOAT_CODEC = Codec("float", ())


def make_codec(family: str, options: Mapping[str, Any]) -> Codec:
    """The codec of ``family`` with ``options``, defaults for the others. Raises InputError."""
    if family not in OPTIONS:
        raise InputError(f"family {family!r}; allowed: {', '.join(OPTIONS)}")
    known = OPTIONS[family]
    for name, value in options.items():
        if name not in known:
            raise InputError(f"family {family}: no option {name!r}; allowed: {', '.join(known) or 'none'}")
        number = isinstance(known[name], float) and isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not type(known[name]) and not number:
            raise InputError(f"family {family}: {name} = {value!r}; allowed: "
                             f"{'a number' if not isinstance(known[name], str) else 'text'}")
    codec = Codec(family, tuple(options.get(name, default) for name, default in known.items()))
    layer_encoder(codec)  # checks the values
    return codec


Encoder = Callable[[np.ndarray], bytes]


def layer_encoder(codec: Codec) -> Encoder:
    """What encodes a convolution's or dense layer's weights. Raises InputError for a bad option."""
    options: dict[str, Any] = codec.options
    check_norm_bits(options.pop("batch_norm", FLOAT))
    if codec.family == "float":
        return raw.encode
    if codec.family == "scalar":
        chosen = scalar.ScalarOptions(**options)
        return lambda weights: scalar.encode(weights, chosen)
    if codec.family == "vector":
        blocks = vector.VectorOptions(**options)
        return lambda weights: vector.encode(weights, blocks)
    if codec.family == "pruned":
        sparse = pruned.PrunedOptions(**options)
        return lambda weights: pruned.encode(weights, sparse)
    if options["rule"] not in RULES:
        raise InputError(f"rule {options['rule']!r}; allowed: {', '.join(RULES)}")
    widths = SCALAR_WIDTHS if codec.by_pictures else (SCALAR_BITS,)
    if options["scalar_bits"] not in widths:
        raise InputError(f"scalar_bits = {options['scalar_bits']} with rule {options['rule']}; allowed: "
                         f"{', '.join(map(str, widths))}")
    kernels = masks.MaskOptions(options["bits"], options[CODING])
    check_coding(options[CODING])
    check_bits(options["others"])
    rest = scalar.ScalarOptions(bits=options["others"], coding=options[CODING])

    def encode(weights: np.ndarray) -> bytes:
        taps = weights.shape[2] if weights.ndim == 4 else 0
        return masks.encode(weights, kernels) if taps == 3 else scalar.encode(weights, rest)

    return encode
