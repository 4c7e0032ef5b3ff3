"""Proofs of the catalogue that a mutant breaks: bits of counters change so late that no bench sees them."""

from functools import cache
from pathlib import Path

from kestrel.hw.emit.verilog import verilog_files
from kestrel.verif.mutants.netlists.design import Base, NetlistMutant
from kestrel.verif.physical.synthesis import run_yosys
from kestrel.verif.proofs.catalogue import PROOFS
from kestrel.verif.proofs.proof import Proof
from kestrel.verif.proofs.prove import Refuted, prove
from kestrel.verif.proofs.solve import Undecided

SECONDS = 20.0
"""What the solver is given for a question."""


def refuted_by(base: Base, mutant: NetlistMutant, folder: Path) -> str | None:
    """The name of a proof of the block that does not hold of the mutant, which is one of the block's own
    module; None if there is none. Raises SynthesisError."""
    code = _code(base.sources[-1].read_text(encoding="utf-8"))
    proofs = [proof for text, proof in _catalogue() if text == code]
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
def _catalogue() -> list[tuple[list[str], Proof]]:
    """Proofs that claim something in a block's own module, and the module's code in their configuration."""
    return [
        (_code(verilog_files(proof.make(), sources=True)[-1].text), proof)
        for proof in PROOFS.values()
        if not (proof.around or proof.slow)
    ]


def _code(text: str) -> list[str]:
    """The lines that are no comments: those name the whole configuration."""
    return [line for line in text.splitlines() if not line.startswith("//")]
