"""Blocks with a fault, by which benches show that they can fail."""

import re
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.verif.blocks.support.run import run_block, sources_of


@dataclass(frozen=True)
class Fault:
    """A change of a block's Verilog that its bench must see.

    bench: a block's name, ``memory.reader``, and behind a colon that of its bench, if there are several;
    module: the module in it to break; pattern, replacement: what in its text becomes what; message: what the
    bench must say, a regular expression.
    """

    bench: str
    config: EngineConfig
    module: str
    pattern: str
    replacement: str
    message: str

    @property
    def block(self) -> str:
        return self.bench.partition(":")[0]

    @property
    def bench_module(self) -> str:
        """The name of the bench in the block's folder."""
        return self.bench.partition(":")[2] or "bench"


def plant(fault: Fault, folder: Path) -> list[Path]:
    """Writes the Verilog of the block with the fault into ``folder``; returns the files, the block's own
    last. Raises ValueError unless there is exactly one place to break."""
    files: list[Path] = []
    found = 0
    for source in sources_of(fault.block, fault.config):
        text = source.read_text(encoding="utf-8")
        if source.stem == f"kestrel_{fault.module}":
            text, found = re.subn(fault.pattern, fault.replacement, text)
        files.append(folder / source.name)
        files[-1].write_text(text, encoding="utf-8")
    if found != 1:
        raise ValueError(f"{fault.block}: {found} places match {fault.pattern!r}; allowed: one")
    return files


def run_with(fault: Fault, folder: Path, seed: int) -> None:
    """Runs the bench on the block with the fault. Raises BenchFailed, as it should, and ValueError as
    ``plant`` does."""
    files = plant(fault, folder)
    run_block(fault.block, fault.config, folder / "run", seed, files, fault.bench_module)
