"""Benches of whole chips, counted for the modules that have no bench of their own."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kestrel.verif.build.rtl import axi_checkers
from kestrel.verif.chip.case import ROM_WORDS, run_chip, write_case
from kestrel.verif.chip.small import CHIPS
from kestrel.verif.chip.variables import TURNS_VARIABLE
from kestrel.verif.coverage.counts import Counts
from kestrel.verif.coverage.module import VerilogModule, read_module

TURNS = 60
"""Disturbances of a chip."""

SECONDS = 3600
"""That a bench may take, at most; counting makes it several times slower."""


@dataclass(frozen=True)
class ChipBench:
    """``chip`` of the small ones runs the network ``case`` in a bench of ``kestrel.verif.chip``."""

    chip: str
    case: str
    bench: str

    @property
    def name(self) -> str:
        return f"chip {self.chip!r}: {self.bench}"

    def run(self, folder: Path, seed: int) -> None:
        """Leaves COVERAGE_FILE in ``folder``. Raises BenchFailed."""
        chip = CHIPS[self.chip]
        write_case(chip, self.case, seed, folder)
        run_chip(
            chip, f"kestrel.verif.chip.{self.bench}", folder, self.case, seed, visible=ROM_WORDS,
            env={TURNS_VARIABLE: str(TURNS)}, coverage=True, timeout=SECONDS,
        )  # fmt: skip


CHIP_BENCHES = (
    ChipBench("describes", "tiny", "descriptor_bench"),
    ChipBench("describes", "tiny", "robustness_bench"),
    ChipBench("nano", "pooled", "bench"),
    ChipBench("nano", "tiny", "robustness_bench"),
    ChipBench("nano", "tiny", "peers_bench"),
    ChipBench("2x4 residual", "graph", "bench"),
    ChipBench("4x2", "rows", "bench"),
    ChipBench("describes three maps", "graph", "descriptor_bench"),
)
"""Chips that differ in their modules, each with benches that lead to other things."""


def chip_benches(each: int) -> list[ChipBench]:
    """Those of the first ``each`` chips."""
    chips = list(dict.fromkeys(bench.chip for bench in CHIP_BENCHES))[:each]
    return [bench for bench in CHIP_BENCHES if bench.chip in chips]


def beside(found: Counts, known: Counts) -> Counts:
    """Of what a chip's bench has reached, what counts beside the benches of blocks that are ``known``: a
    module that one of these has is counted in the sizes that it has there, any other in every size."""
    sizes = {(module.name, module.variant) for module in map(_module, {point.file for point in known})}
    names = {name for name, _ in sizes}
    checkers = {path.name for path in axi_checkers()}

    def counts(file: str) -> bool:
        module = _module(file)
        own = module.name not in names or (module.name, module.variant) in sizes
        return own and Path(file).name not in checkers

    files = {file for file in {point.file for point in found} if counts(file)}
    return Counts({point: count for point, count in found.items() if point.file in files})


@cache
def _module(file: str) -> VerilogModule:
    return read_module(Path(file))
