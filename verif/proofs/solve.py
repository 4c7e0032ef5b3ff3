"""From Verilog with claims to formulas, by yosys, and from formulas to a verdict, by the solver Bitwuzla."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kestrel.verif.physical.synthesis import run_yosys, yosys_available

_CLAIM = re.compile(r"^; yosys-smt2-assert (\d+) \S+ (?:\S+/)?([\w.]+):(\d+)", re.MULTILINE)


class Undecided(RuntimeError):
    """The solver did not come to an end in the time that it was given."""


@dataclass(frozen=True)
class Formulas:
    """A module as functions of its state. claims: the text of each claim, by its number in the formulas."""

    module: str
    text: str
    claims: dict[int, str]


def solver_available() -> bool:
    """Whether yosys and the solver are installed (``pip install kestrel-engine[proofs]``)."""
    return yosys_available() and find_spec("bitwuzla") is not None


def formulas(files: Sequence[Path], top: str, folder: Path, cut: Sequence[str] = ()) -> Formulas:
    """The Verilog ``files`` in ``folder``, flattened into the module ``top``; ``cut`` names signals that may
    have any value. Raises SynthesisError."""
    run_yosys(
        [
            *(f"read_verilog -formal -sv {file.name}" for file in files),
            f"prep -flatten -top {top}",
            *(f"cutpoint w:{name}" for name in cut),
            "async2sync", "dffunmap", "memory_map -rom-only", "opt_clean", "write_smt2 module.smt2",
        ],
        folder,
    )  # fmt: skip
    text = (folder / "module.smt2").read_text(encoding="utf-8")
    lines = {file.name: file.read_text(encoding="utf-8").splitlines() for file in files}
    claims = {int(n): lines[file][int(line) - 1].strip() for n, file, line in _CLAIM.findall(text)}
    return Formulas(top, text, claims)


def counterexample(
    module: Formulas, states: int, *, reset_first: bool, held: Sequence[int], wanted: Sequence[int],
    seconds: float, apart: bool = False,
) -> tuple[str, ...] | None:  # fmt: skip
    """Looks for a course of ``states`` cycles in which the claims are true in the cycles ``held`` and one of
    them is false in one of the cycles ``wanted``. With ``reset_first`` cycle 0 is a reset.

    Returns the text of a claim that can be false, or None if there is no such course. With no cycles
    ``wanted`` any course that keeps to the assumptions counts, and the result is empty. Each claim may take
    ``seconds``; raises Undecided if one takes longer. ``apart`` reads the formulas anew for each claim, with
    which the solver can rewrite sums; claims that need none of this are decided faster without.
    """
    import bitwuzla as bw  # noqa: PLC0415  # optional

    name = module.module
    lines = ["(set-logic QF_AUFBV)", module.text]
    lines += [f"(declare-const s{n} |{name}_s|)" for n in range(states)]
    lines += [f"(assert (|{name}_u| s{n}))\n(assert (|{name}_h| s{n}))" for n in range(states)]
    lines += [f"(assert (|{name}_t| s{n} s{n + 1}))" for n in range(states - 1)]
    if reset_first:
        lines.append(f"(assert (|{name}_n rst| s0))")
    lines += [f"(assert (|{name}_a| s{n}))" for n in held]
    text = "\n".join(lines)

    def begin(*more: str) -> Any:
        parser = bw.Parser(bw.TermManager(), bw.Options())
        parser.parse("\n".join((text, *more)), True, False)
        return parser

    def decided(parser: Any, *assumed: Any) -> bool:
        end = time.monotonic() + seconds
        solver = parser.bitwuzla()
        solver.configure_terminator(lambda: time.monotonic() > end)
        result = solver.check_sat(*assumed)
        if result == bw.Result.UNKNOWN:
            raise Undecided(f"{name}: no verdict after {seconds:.0f} s")
        return result == bw.Result.SAT

    if not wanted:
        return () if decided(begin()) else None
    shared = None if apart else begin()
    for n, claim in module.claims.items():  # one by one: together they are harder
        false = f"(not (and true {' '.join(f'(|{name}_a {n}| s{state})' for state in wanted)}))"
        if shared is None:
            found = decided(begin(f"(assert {false})"))
        else:
            found = decided(shared, shared.parse_term(false))
        if found:
            return (claim,)
    return None
