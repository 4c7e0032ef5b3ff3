"""What was measured: the blocks of a few engines (``bench/estimate_tables.py``)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

from kestrel.hw.spec.engine_config import EngineConfig

FILE = "measured.json"


@dataclass(frozen=True)
class Cells:
    """What logic takes. area: um^2 of NanGate45, sized; path_ns: the longest path between registers and
    ports; lut4, carry, fpga_flip_flops, dsp: of ECP5, where a carry cell takes the place of two LUT4."""

    area: float
    flip_flops: float
    path_ns: float
    lut4: float
    carry: float
    fpga_flip_flops: float
    dsp: float


METRICS = tuple(field.name for field in fields(Cells))
ADDED = tuple(name for name in METRICS if name != "path_ns")
"""What adds up over blocks; the longest path is that of one of them."""


@dataclass(frozen=True)
class Measured:
    """A synthesised engine: its blocks without what is placed in them. held_out: the estimate is not fitted
    to it, and its ``core`` is one piece round the output lanes."""

    config: EngineConfig
    held_out: bool
    blocks: Mapping[str, Cells]


@dataclass(frozen=True)
class Tables:
    """All that was measured. yosys: its version; library: of standard cells; period_ns: what gates were sized
    for; register_ns: what a register adds to a path."""

    yosys: str
    library: str
    period_ns: float
    register_ns: float
    engines: tuple[Measured, ...]


@cache
def tables() -> Tables:
    """The file that comes along."""
    text = (resources.files("kestrel.sw.estimate") / FILE).read_text(encoding="utf-8")
    content = json.loads(text)
    return Tables(content["yosys"], content["library"], content["period_ns"], content["register_ns"],
                  tuple(_measured(entry) for entry in content["engines"].values()))


def _measured(entry: Mapping[str, dict]) -> Measured:
    values = dict(entry["config"])
    values["feature_words"] = tuple(values["feature_words"])
    blocks = {name: Cells(*(row[metric] for metric in METRICS)) for name, row in entry["blocks"].items()}
    return Measured(EngineConfig(**values), bool(entry["held_out"]), blocks)
