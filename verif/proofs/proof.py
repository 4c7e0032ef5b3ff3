"""What a proof is: a property of a block's Verilog, how it is shown, and a fault that breaks it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring


@dataclass(frozen=True)
class Induction:
    """The claims hold from the first reset on, for ever.

    No register has a value before the first reset. They hold in the first ``depth`` cycles behind it; and
    where they have held for ``depth`` cycles, whatever the registers are, they hold in the next one.
    """

    depth: int = 1

    def __str__(self) -> str:
        return f"induction, depth {self.depth}"


@dataclass(frozen=True)
class AllInputs:
    """The claims hold ``cycles`` clock edges after any state, reachable or not, whatever the inputs are.

    With 0 edges: for all values of the inputs and of the registers.
    """

    cycles: int = 0

    def __str__(self) -> str:
        return f"all states and inputs, {self.cycles} clock edges"


@dataclass(frozen=True)
class Proof:
    """A property of one block.

    name: one word or several, with hyphens; says: the property, in one sentence; make: the block; claims:
    SystemVerilog that is put into the module of the block, with ``assert`` and ``assume`` in
    ``always @*``, registers of its own, and the block's own signals under their names in the Verilog. A
    name ``past_x`` needs no declaration: it is ``x`` one clock edge before, ``past_past_x`` two. around: for
    a block without a clock, a module ``proof`` that holds instances of the block; claims are then part of
    it. method: how it is shown. fault: a pattern that is found once in the module's Verilog, and what takes
    its place; with it the claims must not hold. cut: signals that may have any value, where the property is
    that of the logic behind them. slow: takes longer than the tests of every day allow.
    """

    name: str
    says: str
    make: Callable[[], wiring.Component]
    claims: str
    method: Induction | AllInputs
    fault: tuple[str, str]
    around: bool = False
    cut: tuple[str, ...] = ()
    slow: bool = False


def with_past(claims: str) -> str:
    """The claims, and behind them the declarations of the ``past_`` registers in them."""
    names = dict.fromkeys(re.findall(r"\bpast_\w+", claims))
    for name in list(names):
        while (name := name.removeprefix("past_")).startswith("past_"):
            names[name] = None
    declared = [
        f"reg [$bits({name.removeprefix('past_')})-1:0] {name};\n"
        f"always @(posedge clk) {name} <= {name.removeprefix('past_')};\n"
        for name in sorted(names, key=lambda name: name.count("past_"))
    ]
    return claims + "".join(declared)
