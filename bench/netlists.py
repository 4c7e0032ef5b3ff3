"""A frame on the netlists of a whole engine: generic gates, ECP5 cells and, with a library, standard cells.

    python bench/netlists.py [--config nano] [--kind ecp5] [--liberty nangate45_typ.lib.gz]

Each netlist (``verif/physical/netlist.py``; memories stay wrappers) takes the place of the engine's Verilog
in Verilator and runs a frame of a random network with pooling, masks of 1, 3 and 4 bits (in two passes) and
strips. Every element of every map is compared with the reference, and the cycles with the model. Writes JSON;
exit code 1 if anything differs.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.emit.verilog import TOP
from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.build.rtl import HARNESS, engine_sources
from kestrel.verif.build.verilator import build_native
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.physical.netlist import Netlist, ecp5_netlist, generic_netlist, standard_netlist
from kestrel.verif.physical.synthesis import unpack_liberty
from kestrel.verif.simulate.compare import compare_run, reference_maps
from kestrel.verif.simulate.frame import run_frame

OUTPUT = Path("build/bench/netlists.json")
WORK = Path("build/bench/netlists")
KINDS = ("generic", "ecp5", "standard")
SIDE = 24


@dataclass(frozen=True)
class Outcome:
    """A netlist's frame: its cells, values compared and differing, cycles found and modelled, and seconds of
    synthesis, of the simulator's build and of the frame."""

    kind: str
    cells: int
    compared: int
    mismatches: int
    cycles: int
    model_cycles: int
    synthesis_s: float
    build_s: float
    frame_s: float

    @property
    def equal(self) -> bool:
        return self.compared > 0 and self.mismatches == 0 and self.cycles == self.model_cycles


def netlist_of(kind: str, config: EngineConfig, liberty: Path | None) -> Netlist:
    """Raises SynthesisError, and InputError for standard cells without a library."""
    sources, folder = engine_sources(config), WORK / kind
    if kind == "standard":
        if liberty is None:
            raise InputError("--kind standard; allowed: with --liberty")
        return standard_netlist(sources, folder, unpack_liberty(liberty, folder))
    return (generic_netlist if kind == "generic" else ecp5_netlist)(sources, folder)


def run(kind: str, config: EngineConfig, liberty: Path | None, seed: int) -> Outcome:
    """One netlist and its frame. Raises SimulationError, and what ``netlist_of`` does."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, stack((3, 5, 6, 4), pools=(1,)), (3, 1, 4),
                             activation_bits=config.activation_bits)
    plan = make_plan(network, config, SIDE, SIDE)
    pixels = rng.integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    start = time.perf_counter()
    netlist = netlist_of(kind, config, liberty)
    made = time.perf_counter()
    build = build_native(netlist.files, TOP, HARNESS, optimise=0)
    built = time.perf_counter()
    done = run_frame(build, network, plan, pixels, WORK / kind / "frame", seed=seed)
    ended = time.perf_counter()
    results = compare_run(done, network, reference_maps(network, pixels))
    return Outcome(
        kind, netlist.cell_count, sum(result.values_compared for result in results),
        sum(result.mismatches for result in results), done.cycles, frame_cycles(plan).total,
        made - start, built - made, ended - built,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", default="nano", help="name or .toml file")
    add("--kind", action="append", choices=KINDS, help="may be repeated (default: all that can be made)")
    add("--liberty", type=Path, help="library of standard cells, .lib or .lib.gz")
    add("--seed", type=int, default=1)
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    try:
        config = load_config(arguments.config)
        for kind in arguments.kind or KINDS[: 3 if arguments.liberty else 2]:
            outcome = run(kind, config, arguments.liberty, arguments.seed)
            print(outcome, "equal" if outcome.equal else "DIFFERENT", flush=True)
            outcomes.append(outcome)
    except InputError as error:
        parser.error(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"bench": "netlists", "config": config.name, "frames": [asdict(each) for each in outcomes]}
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.output} written")
    return 0 if all(outcome.equal for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
