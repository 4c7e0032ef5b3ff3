"""Runs a frame in Icarus Verilog: a second simulator, event-driven and with unknown values.

It is much slower than the Verilated model and meant for small frames. Unlike Verilator it starts registers
and memories at x, so that any logic that relies on their initial values shows.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kestrel.export.formats.files import write_words
from kestrel.export.formats.words import Words
from kestrel.hw.common.handover import feature_address_bits
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.status import TRACE_ADDRESS_BITS
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import Plan
from kestrel.verif.build.rtl import engine_sources
from kestrel.verif.simulate.chip_frame import stream_bytes
from kestrel.verif.simulate.frame import (
    FrameRun,
    SimulationError,
    maps_from_beats,
    maps_from_writes,
    trace_words,
    write_files,
)
from kestrel.verif.simulate.frame import words_for as words

BENCH = Path(__file__).parents[1] / "harness" / "engine_tb.v"


def available() -> bool:
    """Whether Icarus Verilog is installed."""
    return shutil.which("iverilog") is not None and shutil.which("vvp") is not None


def run_icarus(
    network: CompressedNetwork, plan: Plan, pixels: np.ndarray, workdir: Path, *, waves: bool = False,
    standard: str = "2005", late: bool = False,
) -> FrameRun:  # fmt: skip
    """Like ``verif.simulate.frame.run_frame``, but without the cycles of each layer. With ``waves``, a
    ``waves.vcd`` is left in ``workdir``. ``standard`` is the language that the files are read as, 2005 or
    2012. With ``late`` the bench gives its inputs their first values in a process instead of where they are
    declared, which makes events of them. Raises SimulationError if the frame does not complete correctly."""
    config = plan.config
    write_files(network, plan, pixels, workdir)
    beats = Words(config.stream_bytes * PIXEL_BITS, stream_bytes(pixels, config))
    write_words(beats, workdir / "image.mem")
    banks = BANKS if config.writes_banks else 1
    macros = {
        "STREAM_BITS": beats.word_bits,
        "BEATS": len(beats),
        "WORD_LANES": config.word_lanes,
        "TRACE_BANK_BITS": BANKS if config.writes_banks else 2,
        "TRACE_ADDR_BITS": banks * TRACE_ADDRESS_BITS if banks > 1 else feature_address_bits(config),
        "TRACE_LANES_BITS": banks * config.word_lanes,
        "TRACE_DATA_BITS": banks * config.word_bits,
        "CYCLES_MAX": 2 * frame_cycles(plan).total + 1000,
        **({"WRITES_BANKS": 1, "WORD_BITS": config.word_bits} if config.writes_banks else {}),
        **({"WAVES": 1} if waves else {}),
        **({"LATE": 1} if late else {}),
    }
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    sources = [str(file.absolute()) for file in (BENCH, *engine_sources(config))]
    _tool(["iverilog", f"-g{standard}", "-o", "engine", "-s", "engine_tb", *defines, *sources], workdir)
    printed = _tool(["vvp", "engine"], workdir)
    stats = dict(line.split() for line in _lines(workdir / "stats.txt"))
    if stats.get("outcome") != "done":
        raise SimulationError(f"the engine did not end its frame in Icarus Verilog: {printed.strip()[-300:]}")
    return FrameRun(
        maps=maps_from_writes(_table(workdir / "trace.txt", [1, *trace_words(config)]), plan),
        outputs=maps_from_beats(_table(workdir / "output.txt", _output_words(config)), plan),
        cycles=int(stats["cycles"]),
        record_cycles=[],
        start_cycles=0,
    )


def _output_words(config: EngineConfig) -> list[int]:
    return [words(config.word_lanes * PIXEL_BITS), words(config.word_lanes), 1]


def _table(path: Path, columns: Sequence[int]) -> np.ndarray:
    """Hexadecimal columns as 32-bit words; ``columns`` gives their number by column. An x is an error."""
    found: list[int] = []
    for line in _lines(path):
        for text, count in zip(line.split(), columns, strict=True):
            try:
                value = int(text, 16)
            except ValueError:
                raise SimulationError(f"{path.name}: unknown value in {line!r}") from None
            found += [value >> 32 * k & 0xFFFFFFFF for k in range(count)]
    return np.array(found, dtype="<u4")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines() if path.is_file() else []


def _tool(command: list[str], workdir: Path) -> str:
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SimulationError(f"{command[0]} ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
