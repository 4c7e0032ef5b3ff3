"""Proofs that a mutant of a netlist changes nothing that can be observed, by yosys' ``sat``.

Block and mutant get the same inputs. By induction: where all registers are the same in both, so are every
output, every input of a memory, and all registers one cycle later, also if the registers have values that no
course of the block gives them, constant ones aside. At the beginning, the registers are the same in the
cycle behind a reset, whatever they were before; where the mutant changes the output of a register, that is
not even taken to be the same in both before the reset.
"""

import re
from pathlib import Path

from kestrel.verif.mutants.netlists.design import Base, NetlistMutant
from kestrel.verif.physical.synthesis import SynthesisError, run_yosys

SECONDS = 20
"""What the solver is given for one question."""

_NOT_PROVED = re.compile(r"proof did fail|interrupted|time.?out", re.IGNORECASE)
_REGISTERS = "registers.txt"


def proved_equivalent(base: Base, mutant: NetlistMutant, folder: Path, seconds: int = SECONDS) -> bool:
    """Whether block and mutant are proved equal. Raises SynthesisError, but not for a question that the
    solver does not decide in time."""
    try:
        run_yosys(_miter(base, mutant), folder)
        names = (folder / _REGISTERS).read_text(encoding="utf-8").split()
        registers = [name.partition("/")[2] for name in names]
        changed = base.signal(mutant).partition("[")[0] if mutant.port == "Q" else ""
        run_yosys(["read_rtlil both.il", *_questions(changed, registers, seconds)], folder)
    except SynthesisError as error:
        if _NOT_PROVED.search(str(error)):
            return False
        raise
    return True


def _miter(base: Base, mutant: NetlistMutant) -> list[str]:
    """Commands that write the two side by side, and the names of the registers."""
    return [
        *_side(base, "gold"), *_side(base, "gate", f"mutate {mutant.options}"),
        "design -copy-from gold -as gold gold", "design -copy-from gate -as gate gate",
        f"select -write {_REGISTERS} gold/t:$dff %co1:+[Q] gold/w:* %i",
        "miter -equiv -flatten gold gate both", "hierarchy -top both", "opt_expr", "opt_merge", "opt_clean",
        "write_rtlil both.il",
    ]  # fmt: skip


def _questions(changed: str, registers: list[str], seconds: int) -> list[str]:
    """The step and the beginning. changed: the register whose output the mutant changes; empty for none."""
    ask = f"sat -verify -seq 2 -timeout {seconds} -prove trigger 0"
    pairs = [(f"\\gold.{name}", f"\\gate.{name}") for name in registers]
    proved = "".join(f" -prove {gold} {gate}" for gold, gate in pairs)
    same = {gold: f" -set-at 1 {gold} {gate}" for gold, gate in pairs}
    before = [text for gold, text in same.items() if not (changed and gold.endswith(changed))]
    questions = [f"{ask}{proved}{''.join(same.values())} both"]
    if registers:
        questions.append(f"{ask} -prove-skip 1 -set-at 1 \\in_rst 1{proved}{''.join(before)} both")
    return questions


def _side(base: Base, name: str, *change: str) -> list[str]:
    """Commands that stash the flat block, ``change`` made, with what memories are connected to as ports.

    ``opt`` makes constants of registers that only ever get the value that a reset gives them."""
    return [
        base.read, *change, f"hierarchy -top {base.top}", "flatten", f"rename {base.top} {name}",
        f"expose -evert {name}/t:kestrel_*", "opt", "dffunmap", "opt_clean", f"design -stash {name}",
    ]  # fmt: skip
