"""The energy of a whole frame, memories included: VGG-16 and the embedded network on every named engine.

    python bench/energy.py [--config edge] [--clock 400] [-o build/bench/energy.json]

For each engine, with memories as large as the network asks for: depth first with the least feature memory
against layer by layer with whole maps, three rows at once in the first layer, a descriptor by RNIP 9x without
and with a whitening, and batches of pictures. Without synthesis and simulation: accesses of the memories and
cycles follow from the plan, energies from docs/energy.md. Prints tables, writes JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import (
    FEATURE_WORDS_MIN,
    TABLE_WORDS_MAX,
    TABLE_WORDS_MIN,
    WEIGHT_WORDS_MAX,
    WEIGHT_WORDS_MIN,
    EngineConfig,
)
from kestrel.hw.spec.errors import InputError
from kestrel.sw.estimate.accesses import memory_accesses
from kestrel.sw.estimate.described import estimate_descriptor
from kestrel.sw.estimate.energy import ROM_LOW, Energy, frame_energy
from kestrel.sw.estimate.logic import estimate_logic
from kestrel.sw.estimate.memories import engine_memories
from kestrel.sw.model.compressed import load_network
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.memory import table_words
from kestrel.sw.planning.plan import Plan, plan_frame, plan_layers
from kestrel.sw.planning.report import named_layers
from kestrel.sw.planning.visit_order import depth_first_schedules, layer_by_layer

OUTPUT = Path("build/bench/energy.json")
POOLING = "rnip9x"
WHITENED = 512
BATCHES = (1, 2, 4, 8)
SIZES = {"vgg16": 224, "embedded": 64}
LEAST = "depth first, least memory"


@dataclass(frozen=True)
class Network:
    """What the planner knows of a network, and the side of its pictures."""

    name: str
    layers: tuple[PlanLayer, ...]
    activation_bits: int
    side: int

    def plan(self, config: EngineConfig, images: int = 1) -> Plan:
        return plan_frame(self.name, self.layers, min(self.activation_bits, config.activation_bits), config,
                          self.side, self.side, images=images)


@dataclass(frozen=True)
class Row:
    """A line of the tables: mJ of a picture, in all and by part; ``low``: with ROMs as the published one,
    scaled; milliwatts at the clock, without a pause; kilobytes of feature memory."""

    network: str
    engine: str
    what: str
    pictures: int
    cycles: int
    total: float
    low: float
    kernels: float
    logic: float
    clock: float
    features: float
    partial_sums: float
    rom: float
    milliwatts: float
    feature_kb: float


def networks() -> tuple[Network, ...]:
    """VGG-16 at 3 bits for seven layers and 1 bit for six, and the embedded network."""
    embedded = load_network("embedded")
    return (
        Network("vgg16", named_layers("vgg16", "3*7,1*6"), 8, SIZES["vgg16"]),
        Network("embedded", plan_layers(embedded), embedded.activation_bits, SIZES["embedded"]),
    )


def roomy(network: Network, config: EngineConfig) -> EngineConfig:
    """The engine with ROMs that are never too small, and rows as wide as the pictures. Its partial sums, on
    which the length of a strip depends, grow only if they do not hold two rows."""
    return config.with_options(
        max_width=max(config.max_width, network.side), weight_words=WEIGHT_WORDS_MAX,
        partial_depth=max(config.partial_depth, 2 * network.side), table_words=TABLE_WORDS_MAX,
    )  # fmt: skip


def sized(network: Network, config: EngineConfig, words: Sequence[int], images: int = 1) -> Plan:
    """A frame on ``config`` with feature memories of ``words`` a bank, or fewer if it needs fewer, and ROMs
    as large as the network asks for."""
    plan = network.plan(config.with_options(feature_words=_at_least(words)), images)
    return network.plan(plan.config.with_options(
        feature_words=_at_least(plan.feature_words), weight_words=max(WEIGHT_WORDS_MIN, plan.weight_words),
        table_words=max(TABLE_WORDS_MIN, table_words(plan))), images)  # fmt: skip


def whole_maps(network: Network, config: EngineConfig, images: int = 1) -> tuple[int, int]:
    """Words of feature memory, a bank, that hold every map: the engine then runs layer by layer."""
    return layer_by_layer(network.name, network.layers, config, network.side, network.side,
                          images=images).feature_words


def least_words(network: Network, config: EngineConfig) -> tuple[int, int]:
    """The least words of feature memory that any depth-first schedule takes."""
    schedules = depth_first_schedules(network.name, network.layers, config, network.side, network.side)
    return min((each.feature_words for each in schedules), key=sum)


def _at_least(words: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(FEATURE_WORDS_MIN, each) for each in words)


def energy_of(plan: Plan, clock: float) -> Energy:
    config = plan.config
    return frame_energy(plan, frame_cycles(plan), estimate_logic(config), clock, engine_memories(config))


def make_row(network: Network, what: str, plan: Plan, energy: Energy, cycles: int, pictures: int = 1) -> Row:
    """Everything by picture."""
    config, parts = plan.config, energy.parts

    def share(value: float) -> float:
        return value / pictures

    return Row(
        network.name, config.name, what, pictures, round(cycles / pictures),
        share(energy.total), share(energy.low_total), share(parts["kernel units"]),
        share(parts["other logic"] + parts["leakage of logic"] + parts.get("descriptor unit", 0.0)),
        share(energy.clock),
        share(sum(value for name, value in parts.items() if "features" in name)),
        share(sum(value for name, value in parts.items() if "partial" in name)),
        share(energy.rom), energy.milliwatts,
        3 * sum(config.feature_words) * config.word_bits / 8000,
    )


def measure(network: Network, config: EngineConfig, clock: float) -> list[Row]:
    """The rows of one network on one engine."""
    room = roomy(network, config)
    rows: list[Row] = []

    def add(what: str, plan: Plan, pictures: int = 1) -> None:
        rows.append(make_row(network, what, plan, energy_of(plan, clock), frame_cycles(plan).total, pictures))

    chip = sized(network, room, least_words(network, room))
    add(LEAST, chip)
    add("layer by layer", sized(network, room, whole_maps(network, room)))
    if room.group_lanes >= network.layers[0].shape.in_channels:
        other = room.with_options(row_groups=not room.row_groups)
        add(f"{LEAST}, {'one row' if config.row_groups else 'three rows'} at once in the first layer",
            sized(network, other, least_words(network, other)))
    takes_batches = room.with_options(batch=True, row_groups=False)
    for images in BATCHES:
        plan = sized(network, takes_batches, whole_maps(network, takes_batches, images), images)
        add(f"layer by layer, {images} at once", plan, images)
    for whitened in (None, min(WHITENED, chip.records[-1].channels)):
        described = estimate_descriptor(chip, estimate_logic(chip.config), clock, POOLING, whitened=whitened)
        what = f"{POOLING}" + ("" if whitened is None else f", whitened to {whitened}")
        rows.append(make_row(network, what, chip, described.energy, described.cycles))
    return rows


def show(console: Console, rows: list[Row]) -> None:
    table = Table("network", "engine", "what", title="mJ of a picture")
    for column in ("kcycles", "mJ", "low ROM", "kernels", "logic", "clock", "features", "sums", "ROM", "%",
                   "mW", "feat. kB"):
        table.add_column(column, justify="right")
    for each in rows:
        values = (each.total, each.low, each.kernels, each.logic, each.clock, each.features,
                  each.partial_sums, each.rom)
        table.add_row(each.network, each.engine, each.what, f"{each.cycles / 1000:,.1f}",
                      *(f"{value:.4g}" for value in values), f"{100 * each.rom / each.total:.1f}",
                      f"{each.milliwatts:.1f}", f"{each.feature_kb:,.0f}")
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", action="append", choices=sorted(NAMED), help="may be repeated (default: all)")
    add("--network", action="append", choices=sorted(SIZES), help="may be repeated (default: both)")
    add("--clock", type=float, default=400.0, help="MHz, for leakage and power")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    rows: list[Row] = []
    accesses: dict[str, dict[str, object]] = {}
    try:
        for network in networks():
            for name in arguments.config or NAMED:
                if arguments.network and network.name not in arguments.network:
                    continue
                found = measure(network, NAMED[name], arguments.clock)
                show(Console(width=190), found)
                rows += found
                room = roomy(network, NAMED[name])
                plan = sized(network, room, least_words(network, room))
                accesses[f"{network.name} on {name}"] = {
                    memory: asdict(each) for memory, each in memory_accesses(plan).items()}
    except InputError as error:
        parser.error(str(error))
    report = {"bench": "energy", "clock_mhz": arguments.clock, "rom_low": ROM_LOW,
              "rows": [asdict(each) for each in rows], "accesses": accesses}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
