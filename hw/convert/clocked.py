"""Registers gathered into clocked blocks, as one would write them by hand.

Amaranth describes each register by statements of its own. Registers of one clock and one reset share a block
here, and their decisions are taken together where they are the same. Assignments of a block take effect
together, so those to different registers may change places, while those to one register keep their order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kestrel.hw.convert.netlist import Netlist, assignments, known
from kestrel.hw.convert.rtlil import Assign, Bits, Case, Part, Statement, Switch, joined, width_of

Statements = tuple[Statement, ...]


@dataclass(frozen=True)
class Block:
    """At the rising edge of ``clock``: if ``reset``, which has one bit or none, then ``cleared``, else
    ``body``."""

    clock: str
    reset: Bits
    cleared: tuple[Statement, ...]
    body: tuple[Statement, ...]


def clocked_blocks(netlist: Netlist) -> list[Block]:
    """All registers of a netlist, those with a reset first."""
    groups: dict[tuple[str, Bits], tuple[list[Statement], list[Statement]]] = {}
    for register, driver in netlist.registers.items():
        reset, cleared, body = _reset(driver.body, netlist.wires[register].width)
        group = groups.setdefault((driver.clock, reset), ([], []))
        group[0].extend(cleared)
        group[1].extend(body)
    ordered = sorted(groups.items(), key=lambda item: not item[0][1])
    return [
        Block(clock, reset, merged(cleared), merged(body))
        for (clock, reset), (cleared, body) in ordered
        if cleared or body
    ]


def mapped(body: Sequence[Statement], change: Callable[[Bits], Bits]) -> tuple[Statement, ...]:
    """The statements with everything that they read changed."""
    return tuple(
        Assign(s.target, change(s.value))
        if isinstance(s, Assign)
        else Switch(change(s.selector), tuple(Case(c.patterns, mapped(c.body, change)) for c in s.cases))
        for s in body
    )


def merged(body: Sequence[Statement]) -> tuple[Statement, ...]:
    """The statements, with switches on the same value made one where the order of assignments allows it."""
    result: list[Statement] = []
    last: dict[str, int] = {}
    for statement in body:
        targets = {assign.target.wire for assign in assignments((statement,))}
        if not targets:
            continue
        earliest = max((last.get(wire, 0) for wire in targets), default=0)
        place = len(result)
        if isinstance(statement, Switch):
            for n in range(earliest, len(result)):
                other = result[n]
                if isinstance(other, Switch) and (together := _together(other, statement)):
                    result[n], place = together, n
                    break
        if place == len(result) and result and (joint := _side_by_side(result[-1], statement)):
            result[-1] = joint
            place -= 1
        elif place == len(result):
            result.append(statement)
        last |= dict.fromkeys(targets, place)
    return tuple(
        s
        if isinstance(s, Assign)
        else Switch(s.selector, tuple(Case(c.patterns, merged(c.body)) for c in s.cases))
        for s in result
    )


def _together(one: Switch, other: Switch) -> Switch | None:
    """Both switches as one, if they are on the same value and have the same cases."""
    if one.selector != other.selector or [c.patterns for c in one.cases] != [c.patterns for c in other.cases]:
        return None
    cases = zip(one.cases, other.cases, strict=True)
    return Switch(one.selector, tuple(Case(a.patterns, a.body + b.body) for a, b in cases))


def _side_by_side(one: Statement, other: Statement) -> Assign | None:
    """Both assignments as one, if neighbouring bits get neighbouring bits."""
    if not isinstance(one, Assign) or not isinstance(other, Assign):
        return None
    targets = sorted((one, other), key=lambda assign: -assign.target.low)
    target = joined(*(assign.target for assign in targets))
    value = joined(*(part for assign in targets for part in assign.value))
    if len(target) == len(value) == 1 and isinstance(target[0], Part):
        return Assign(target[0], value)
    return None


def _reset(body: Statements, width: int) -> tuple[Bits, Statements, Statements]:
    """Splits a register's statements into the reset, what it does, and the rest.

    A reset is a last decision, on one bit, that gives the whole register a constant.
    """
    last = body[-1] if body else None
    if isinstance(last, Switch) and width_of(last.selector) == 1 and len(last.cases) == 1:
        case = last.cases[0]
        if case.patterns == ("1",) and len(case.body) == 1:
            assign = case.body[0]
            if not isinstance(assign, Assign):
                return (), (), body
            if assign.target.width == width and known(assign.value) is not None:
                return last.selector, case.body, body[:-1]
    return (), (), body
