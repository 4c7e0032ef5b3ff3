"""Carries a proof out, on the block as it is or with the proof's fault in it."""

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.common.place import module_name
from kestrel.hw.emit.verilog import verilog_files
from kestrel.verif.proofs.proof import Induction, Proof, with_past
from kestrel.verif.proofs.solve import Formulas, counterexample, formulas

SECONDS = 120.0
"""The time that the solver is given for one question."""


class Refuted(RuntimeError):
    """The claims do not hold; the message names those that are broken, and where."""


class Contradiction(RuntimeError):
    """Nothing satisfies the assumptions, or nothing is claimed: the proof would say nothing."""


@dataclass(frozen=True)
class Proved:
    """name: of the proof; claims: how many assertions; seconds: what it took, yosys included."""

    name: str
    claims: int
    seconds: float


def prove(
    proof: Proof, *, faulty: bool = False, seconds: float = SECONDS, instead: str | None = None
) -> Proved:
    """With ``instead``, the text of the block's module in Verilog is that one. Raises Refuted, Contradiction,
    Undecided after ``seconds`` for one question, and ValueError if the pattern of the fault, which is put in
    with ``faulty``, is not found exactly once."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kestrel-proof-") as name:
        module = _module(proof, Path(name), faulty, instead)
    if not module.claims:
        raise Contradiction(f"{proof.name}: nothing is claimed")
    if isinstance(proof.method, Induction):
        depth = proof.method.depth
        from_reset = range(1, depth + 1)
        _consistent(proof, module, depth + 1, reset_first=True, seconds=seconds)
        _hold(proof, "after a reset", counterexample(
            module, depth + 1, reset_first=True, held=(), wanted=from_reset, seconds=seconds))  # fmt: skip
        _hold(proof, "in the step of the induction", counterexample(
            module, depth + 1, reset_first=False, held=range(depth), wanted=(depth,), seconds=seconds,
        ))  # fmt: skip
    else:
        last = proof.method.cycles
        _consistent(proof, module, last + 1, reset_first=False, seconds=seconds)
        _hold(proof, "for some inputs", counterexample(
            module, last + 1, reset_first=False, held=(), wanted=(last,), seconds=seconds, apart=True,
        ))  # fmt: skip
    return Proved(proof.name, len(module.claims), round(time.monotonic() - begun, 1))


def _module(proof: Proof, folder: Path, faulty: bool, instead: str | None) -> Formulas:
    """The block's files in ``folder`` with the claims, and their formulas."""
    block = proof.make()
    top = module_name(block)
    paths: list[Path] = []
    found = 0
    for file in verilog_files(block):
        text = file.text
        if file.name == f"{top}.v":
            text = text if instead is None else instead
            if faulty:
                text, found = re.subn(*proof.fault, text)
            if not proof.around:
                body = text.rindex("endmodule")
                text = text[:body] + with_past(proof.claims) + text[body:]
        paths.append(folder / file.name)
        paths[-1].write_text(text, encoding="utf-8")
    if faulty and found != 1:
        raise ValueError(f"{proof.name}: {found} places match {proof.fault[0]!r}; allowed: one")
    if proof.around:
        top = "proof"
        paths.append(folder / "proof.sv")
        paths[-1].write_text(proof.claims, encoding="utf-8")
    return formulas(paths, top, folder, proof.cut)


def _consistent(proof: Proof, module: Formulas, states: int, *, reset_first: bool, seconds: float) -> None:
    found = counterexample(module, states, reset_first=reset_first, held=(), wanted=(), seconds=seconds)
    if found is None:
        raise Contradiction(f"{proof.name}: no course of the block satisfies the assumptions")


def _hold(proof: Proof, where: str, broken: tuple[str, ...] | None) -> None:
    if broken is not None:
        raise Refuted(f"{proof.name}: broken {where}: {'; '.join(broken)}")
