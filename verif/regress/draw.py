"""A case of the nightly set, the configurations that it may name, and what its drawing has at hand."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import ACTIVATION_BITS_MIN
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import IMAGE_CHANNELS, ConvShape
from kestrel.sw.planning.plan import Plan
from kestrel.verif.cases.random_network import random_network
from kestrel.verif.simulate.frame import Pauses

# Together these have: rows longer than half the partial sums; more input than output lanes and the reverse;
# numbers of lanes that are no power of two; fewer activation bits than a byte; beats that do not divide a
# word; a single lane; three rows at once with and without spare lanes; engines for narrow masks only; scalars
# from tables.
_ODD = replace(NAMED["nano"], feature_words=(6000, 6000), weight_words=32768, max_width=40, partial_depth=90)
ODD: dict[str, EngineConfig] = {
    "4x2": replace(_ODD, input_lanes=4, load_kernels=2, stream_bytes=2),
    "2x4": replace(_ODD, output_lanes=4, stream_bytes=3, partial_depth=70),
    "3x3": replace(_ODD, input_lanes=3, output_lanes=3, load_kernels=3, stream_bytes=3),
    "6x2": replace(_ODD, input_lanes=6, load_kernels=2, activation_bits=5, stream_bytes=4),
    "1x1": replace(_ODD, input_lanes=1, output_lanes=1),
    "4x4-rows": replace(_ODD, input_lanes=4, output_lanes=4, load_kernels=2, stream_bytes=2, row_groups=True),
    "12x3-rows": replace(
        _ODD,
        input_lanes=12,
        output_lanes=3,
        load_kernels=3,
        activation_bits=6,
        stream_bytes=4,
        row_groups=True,
    ),
    "2x2b3": replace(_ODD, mask_bits_max=3),
    "4x2b2": replace(_ODD, input_lanes=4, load_kernels=4, mask_bits_max=2),
    "4x4-rows-tables": replace(
        _ODD,
        input_lanes=4,
        output_lanes=4,
        load_kernels=2,
        stream_bytes=2,
        row_groups=True,
        scalar_tables=True,
    ),
    "3x3b1": replace(_ODD, input_lanes=3, output_lanes=3, activation_bits=6, mask_bits_max=1),
}
RESIDUAL: dict[str, EngineConfig] = {
    f"{name}-residual": replace(ODD[name], residual=True, table_words=4096)
    for name in ("1x1", "2x4", "6x2", "3x3", "12x3-rows", "2x2b3", "4x2b2")
}
RESIDUAL["2x4-residual-tables"] = replace(RESIDUAL["2x4-residual"], scalar_tables=True)
"""Engines for residual networks."""

BATCH: dict[str, EngineConfig] = {
    f"{name}-batch": replace((ODD | RESIDUAL)[name], batch=True, table_words=8192)
    for name in ("4x2", "2x4-residual", "12x3-rows-residual")
}
"""Engines that run several images in a frame."""

TARGETS: dict[str, EngineConfig] = {
    "nano": NAMED["nano"],
    **{name: replace(config, name=name) for name, config in (ODD | RESIDUAL | BATCH).items()},
    "edge": NAMED["edge"],
    "edge-residual": replace(NAMED["edge"], name="edge-residual", residual=True),
    "asic": NAMED["asic"],
}
"""The configurations, with those that build fast first."""

PIXEL_VALUES = 256
CYCLES = 80_000
"""Approximate cycles of a frame on small engines; large engines are slower to simulate and get fewer."""

CYCLES_LARGE = 20_000
LARGE = 256
"""The number of kernel units from which an engine counts as large."""

DRAWS = 200
"""Draws of which one at least must fit the budget."""


@dataclass(frozen=True)
class Case:
    """One frame of the set. Its ``name`` and ``seed`` reproduce it anywhere."""

    config: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.config}/{self.kind}"

    @property
    def key(self) -> str:
        return f"{self.name}@{self.seed}"


@dataclass(frozen=True)
class Frame:
    """A case after drawing: what enters the engine. ``plan`` may be made for a smaller feature memory than
    the engine's."""

    network: CompressedNetwork
    plan: Plan
    pixels: np.ndarray
    pauses: Pauses | None
    power_up: int

    def __str__(self) -> str:
        net, plan = self.network, self.plan
        shapes = [layer.shape for layer in net.layers]
        channels = [shapes[0].in_channels, *(shape.out_channels for shape in shapes)]
        pools = [number for number, shape in enumerate(shapes) if shape.pool]
        layers = f"channels {channels}, pools after {pools}"
        if not all(shape.is_plain for shape in shapes):
            layers = f"{'image in blocks, ' * net.blocks}{'; '.join(map(_layer_text, shapes))}"
        return (
            f"{net.name}: {layers}, "
            f"mask bits {[layer.mask_bits for layer in net.layers]}, {net.activation_bits} activation bits, "
            f"{plan.images} x {plan.height} x {plan.width}, {len(plan.visits)} visits, "
            f"feature words {plan.config.feature_words}, {self.pauses}, power-up {self.power_up}"
        )


def _layer_text(shape: ConvShape) -> str:
    """What a layer has that a plain one has not, and its channels."""
    plain = ConvShape(shape.name, shape.in_channels, shape.out_channels, False)
    changes = [
        f"{f.name} {getattr(shape, f.name)}" for f in fields(shape)
        if getattr(shape, f.name) != getattr(plain, f.name)
    ]  # fmt: skip
    return f"{shape.name} {shape.in_channels} to {shape.out_channels} ({', '.join(changes)})"


@dataclass(frozen=True)
class Draw:
    """A case that is being drawn."""

    case: Case
    config: EngineConfig
    rng: np.random.Generator

    def number(self, low: int, high: int) -> int:
        """A number drawn uniformly from low..high."""
        return int(self.rng.integers(low, high + 1))

    def one_of(self, choices: Sequence[int]) -> int:
        """One of them, drawn uniformly."""
        return int(self.rng.choice(choices))

    def activation_bits(self) -> int:
        """As many as the engine runs, or fewer."""
        return self.number(ACTIVATION_BITS_MIN, self.config.activation_bits)

    def mask_bits(self, layers: int) -> list[int]:
        """All layers have the same width, or each its own, or one width up to some layer and another from
        there on. The seed decides which, so that a few seeds cover all three patterns and all widths."""
        style, widths = self.case.seed % 3, self.config.mask_widths
        if style == 0:
            return [widths[self.case.seed // 3 % len(widths)]] * layers
        if style == 1:
            return [self.one_of(widths) for _ in range(layers)]
        change, before, after = self.number(0, layers), self.one_of(widths), self.one_of(widths)
        return [before] * change + [after] * (layers - change)

    def pixels(self, channels: int, height: int, width: int) -> np.ndarray:
        """Random pixels; sometimes only the two extreme values, sometimes all the same."""
        size = channels, height, width
        style = self.rng.random()
        if style < 0.8:
            return self.rng.integers(0, PIXEL_VALUES, size=size, dtype=np.uint8)
        if style < 0.9:
            return self.rng.choice(np.array([0, PIXEL_VALUES - 1], dtype=np.uint8), size=size)
        return np.full(size, self.one_of([0, PIXEL_VALUES - 1]), dtype=np.uint8)

    @property
    def budget(self) -> int:
        """Approximate cycles that the frame may take."""
        return CYCLES_LARGE if self.config.input_lanes * self.config.output_lanes >= LARGE else CYCLES

    def frame(self, network: CompressedNetwork, plan: Plan) -> Frame:
        """The frame of this network and plan, with pixels, and in some cases pauses."""
        pauses = None
        if self.rng.random() < 0.3:
            pauses = Pauses(self.case.seed, float(self.rng.uniform(0.05, 0.9)))
        channels = IMAGE_CHANNELS if network.blocks else network.layers[0].shape.in_channels
        pixels = self.pixels(channels, plan.images * plan.height, plan.width)
        return Frame(network, plan, pixels, pauses, power_up=self.number(1, 1 << 30))

    def network(self, shapes: Sequence[ConvShape], bits: Sequence[int], name: str) -> CompressedNetwork:
        """A network of random integers; in some cases all pad values are 0."""
        zeros = [0] * shapes[0].in_channels
        pad = zeros if self.rng.random() < 0.3 else None
        return random_network(
            self.rng, shapes, bits, activation_bits=self.activation_bits(), pad=pad, name=name,
            tables=self.config.scalar_tables,
        )  # fmt: skip
