"""Proofs of the catalogue that a mutant breaks: bits of counters change so late that no bench sees them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from kestrel.hw.emit.verilog import VerilogFile, verilog_files
from kestrel.verif.mutants.netlists.design import Base, NetlistMutant
from kestrel.verif.physical.synthesis import SynthesisError, run_yosys
from kestrel.verif.proofs.catalogue import PROOFS
from kestrel.verif.proofs.proof import Proof
from kestrel.verif.proofs.prove import Refuted, prove
from kestrel.verif.proofs.solve import Undecided

SECONDS = 20.0
"""What the solver is given for a question."""


def refuted_by(base: Base, mutant: NetlistMutant, folder: Path) -> str | None:
    """The name of a proof of the block that does not hold of the mutant, which is one of the block's own
    module; None if there is none. Raises SynthesisError."""
    proofs = _proofs_of(base.sources)
    if not proofs or mutant.module != base.top:
        return None
    run_yosys(
        [base.read, f"mutate {mutant.options}", f"select -module {base.top}",
         "write_verilog -noattr -selected mutant.v"],
        folder,
    )  # fmt: skip
    text = (folder / "mutant.v").read_text(encoding="utf-8")
    for proof in proofs:
        try:
            prove(proof, seconds=SECONDS, instead=text)
        except Refuted:
            return proof.name
        except Undecided:
            continue
    return None


@cache
def _proofs_of(sources: tuple[Path, ...]) -> list[Proof]:
    """Those that hold of the block that ``sources`` end with. They were written for a configuration that may
    be another one; a block with others in it must be of that one."""
    text = sources[-1].read_text(encoding="utf-8")
    found: list[Proof] = []
    for files, proof in _catalogue():
        if f"{sources[-1].stem}.v" != files[-1].name:
            continue
        if len(sources) == len(files) == 1 or _code(text) == _code(files[-1].text):
            try:
                prove(proof, seconds=SECONDS, instead=text)
            except (Refuted, Undecided, SynthesisError):
                continue
            found.append(proof)
    return found


@cache
def _catalogue() -> list[tuple[Sequence[VerilogFile], Proof]]:
    """Proofs that claim something in a block's own module, and the block's files."""
    return [
        (verilog_files(proof.make(), sources=True), proof)
        for proof in PROOFS.values()
        if not (proof.around or proof.slow)
    ]


def _code(text: str) -> list[str]:
    """The lines that are no comments: those name the whole configuration."""
    return [line for line in text.splitlines() if not line.startswith("//")]
