"""Proofs that a mutant of a netlist changes nothing that matters: by yosys, which makes formulas of the block
and its mutant side by side, and Bitwuzla.

Both get the same inputs, and memories, which are outside of them, the same accesses. What is true in both
together from the first reset on is found by dropping what is not: at first each bit of a register is taken
to be the same in both. Of that stays what a reset brings about, whatever the registers were before, and what
every cycle preserves. From what stays must follow that all outputs are the same, but for those that nobody
looks at then (``observed``). If it does not, there are more facts to begin with: a register is the same when
some other one, of few bits, has a value; a bit is constant; one register of one bit implies another.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

from kestrel.verif.mutants.netlists.design import Base, NetlistMutant
from kestrel.verif.mutants.netlists.observed import condition_of
from kestrel.verif.physical.synthesis import run_yosys

SECONDS = 8.0
"""Processor time that the solver is given for a mutant."""

_NAMED = re.compile(r"^; yosys-smt2-(\w+) (\S+) (\d+)$", re.MULTILINE)
_FEW = 4
"""Bits of a register, a state say, of which every value is looked at."""
_PAIRS_MAX = 24
"""Registers of one bit of which every pair is looked at."""


def proved_equivalent(
    block: str, base: Base, mutant: NetlistMutant, folder: Path, seconds: float = SECONDS,
    enables: Mapping[str, tuple[int, int]] | None = None,
) -> bool:  # fmt: skip
    """Whether ``block``, whose netlist ``base`` is, and its mutant are proved equal; false as well if the
    solver takes longer. enables: as ``enables_of`` gives them. Raises SynthesisError."""
    run_yosys(
        [
            *_side(base, "gold"), *_side(base, "gate", f"mutate {mutant.options}"),
            "design -copy-from gold -as gold gold", "design -copy-from gate -as gate gate",
            "miter -equiv -make_outputs -flatten gold gate both", "hierarchy -top both", "opt_clean",
            "write_smt2 -wires both.smt2",
        ],
        folder,
    )  # fmt: skip
    text = (folder / "both.smt2").read_text(encoding="utf-8")
    changed = base.signal(mutant).partition("[")[0] if mutant.port == "Q" else ""
    return _Pair(text, seconds).equal(block, changed, enables or {})


def _side(base: Base, name: str, *change: str) -> list[str]:
    """Commands that stash the flat block, ``change`` made, with what memories are connected to as ports."""
    return [
        base.read, *change, f"hierarchy -top {base.top}", "flatten", f"rename {base.top} {name}",
        f"expose -evert {name}/t:kestrel_*", "opt_clean", f"design -stash {name}",
    ]  # fmt: skip


class _Pair:
    """Block and mutant as functions of the state ``s0`` before a clock edge and ``s1`` behind it."""

    def __init__(self, text: str, seconds: float) -> None:
        import bitwuzla as bw  # noqa: PLC0415  # optional

        self._bw = bw
        self._text = "\n".join([
            "(set-logic QF_AUFBV)", text, "(declare-const s0 |both_s|)", "(declare-const s1 |both_s|)",
            "(assert (|both_t| s0 s1))",
        ])  # fmt: skip
        self._end = time.process_time() + seconds
        named = {(kind, name): int(width) for kind, name, width in _NAMED.findall(text)}
        self._wires = {name: width for (kind, name), width in named.items() if kind == "wire"}
        self._registers = {
            name.removeprefix("gold."): width for (kind, name), width in named.items()
            if kind == "register" and name.startswith("gold.") and f"gate.{name[5:]}" in self._wires
        }  # fmt: skip
        self._single = [name for name, width in self._registers.items() if width == 1]
        self._reset = ["(|both_n in_rst| s0)"] if "in_rst" in self._wires else []
        self._outputs = [
            name.removeprefix("gold_") for (kind, name) in named
            if kind == "output" and name.startswith("gold_")
        ]  # fmt: skip

    def equal(self, block: str, changed: str, enables: Mapping[str, tuple[int, int]]) -> bool:
        """Whether the outputs are the same. changed: the register whose output differs, which is not taken to
        be the same before a reset; empty for none."""
        outputs = [
            self._structure(name, *enables[name]) if name in enables else self._output(block, name, "s0")
            for name in self._outputs
        ]
        facts: list[str] | None = []
        for more in (self._equalities, self._conditional, self._of_block):
            facts = self._kept([*facts, *more(facts)], changed)
            if facts is None:
                return False
            if self._broken([fact.format("s0") for fact in facts], outputs) == []:
                return True
        return False

    def _kept(self, facts: list[str], changed: str) -> list[str] | None:
        """Those of ``facts`` that hold from a reset on; None if that is not known in time."""
        before = [
            _same(name).format("s0") for name in self._registers
            if not (changed and name.endswith(changed))
        ]  # fmt: skip
        for at_reset in (True, False):
            while facts:
                known = [*before, *self._reset] if at_reset else [fact.format("s0") for fact in facts]
                broken = self._broken(known, [fact.format("s1") for fact in facts])
                if broken is None:
                    return None
                if not broken:
                    break
                facts = [fact for number, fact in enumerate(facts) if number not in set(broken)]
        return facts

    def _broken(self, known: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
        """The numbers of those of ``wanted`` that are false in a case in which ``known`` is true and not all
        of them are; empty if there is none, and None if that is not decided in time."""
        if not wanted:
            return []
        bw = self._bw
        options = bw.Options()
        options.set(bw.Option.PRODUCE_MODELS, True)
        parser = bw.Parser(bw.TermManager(), options)
        false = f"(assert (not (and true {' '.join(wanted)})))"
        asserts = "\n".join(f"(assert {fact})" for fact in known)
        parser.parse("\n".join((self._text, asserts, false)), True, False)
        solver = parser.bitwuzla()
        solver.configure_terminator(lambda: time.process_time() > self._end)
        result = solver.check_sat()
        if result == bw.Result.UNKNOWN:
            return None
        if result == bw.Result.UNSAT:
            return []
        return [
            number for number, fact in enumerate(wanted)
            if not solver.get_value(parser.parse_term(fact)).value()
        ]  # fmt: skip

    # Facts of a state, which stands for ``{0}`` in them.

    def _equalities(self, known: Sequence[str]) -> Iterator[str]:
        """A bit of a register is the same in both."""
        del known
        for name, width in self._registers.items():
            yield from (_same(name, bit, width) for bit in range(width))

    def _conditional(self, known: Sequence[str]) -> Iterator[str]:
        """Registers that are not always the same are so when another one, of few bits, has a value."""
        always = set(known)
        for name, width in self._registers.items():
            if not all(_same(name, bit, width) in always for bit in range(width)):
                for other, bits in self._registers.items():
                    if other != name and bits <= _FEW:
                        yield from (f"(=> {when} {_same(name)})" for when in _values(f"gold.{other}", bits))

    def _of_block(self, known: Sequence[str]) -> Iterator[str]:
        """Bits of the block's registers are constant, or imply each other; what depends on it begins anew."""
        yield from self._equalities(known)
        yield from self._conditional(known)
        for name, width in self._registers.items():
            for bit in range(width):
                yield from (f"(= {_bit(f'gold.{name}', bit, width)} #b{value})" for value in (0, 1))
        if len(self._single) <= _PAIRS_MAX:
            for one, other in permutations(self._single, 2):
                yield f"(=> (|both_n gold.{one}| {{0}}) (|both_n gold.{other}| {{0}}))"
                yield f"(=> (|both_n gold.{one}| {{0}}) (not (|both_n gold.{other}| {{0}})))"

    def _structure(self, name: str, first: int, last: int) -> str:
        """The field in these bits is the same, and where it is not 0 everything is."""
        gold, gate = (f"(|both_n {side}_{name}| s0)" for side in ("gold", "gate"))
        field = f"(_ extract {last} {first})"
        none = "#b" + "0" * (last - first + 1)
        return (
            f"(and (= ({field} {gold}) ({field} {gate})) "
            f"(=> (not (= ({field} {gold}) {none})) (= {gold} {gate})))"
        )

    def _output(self, block: str, name: str, state: str) -> str:
        same = f"(= (|both_n gold_{name}| {state}) (|both_n gate_{name}| {state}))"
        if (condition := condition_of(block, name)) is None:
            return same
        value = int(not condition.startswith("!"))
        signal, _, bit = condition.lstrip("!").rstrip("]").partition("[")
        looked_at = _bit(f"gold_{signal}", int(bit or 0), self._wires[f"gold_{signal}"])
        return f"(=> (= {looked_at.format(state)} #b{value}) {same})"


def _bit(name: str, bit: int, width: int) -> str:
    if width == 1:
        return f"(ite (|both_n {name}| {{0}}) #b1 #b0)"
    return f"((_ extract {bit} {bit}) (|both_n {name}| {{0}}))"


def _values(name: str, width: int) -> Iterator[str]:
    """That the register has each of its values."""
    if width == 1:
        yield from (f"(not (|both_n {name}| {{0}}))", f"(|both_n {name}| {{0}})")
    else:
        for value in range(1 << width):
            yield f"(= (|both_n {name}| {{0}}) #b{value:0{width}b})"


def _same(name: str, bit: int | None = None, width: int = 0) -> str:
    if bit is None:
        return f"(= (|both_n gold.{name}| {{0}}) (|both_n gate.{name}| {{0}}))"
    return f"(= {_bit(f'gold.{name}', bit, width)} {_bit(f'gate.{name}', bit, width)})"
