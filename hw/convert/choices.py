"""Processes that are not a register's, as operations.

A Verilog process ``always @*`` waits for a change, and one whose inputs have their values from the start
never sees any; a continuous assignment is carried out at time 0 by every simulator. So a choice becomes
conditional operators, and only one among many values stays a list of cases (``Lookup``), in a function whose
value is assigned continuously.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from kestrel.hw.convert.clocked import merged
from kestrel.hw.convert.netlist import Lookup, Netlist, Operation, assignments, constant, known, whole
from kestrel.hw.convert.rtlil import Assign, Bits, Const, Statement, Switch, joined, slice_of, width_of

CASES_MAX = 4
"""A choice among more values than this, all its parts together, is written as a list of cases."""


def lower_choices(netlist: Netlist) -> None:
    """Replaces processes by operations, except for those with many cases, and conditions by gates."""
    for wire, driver in list(netlist.drivers.items()):
        if isinstance(driver, Operation) and driver.kind == "mux" and netlist.wires[wire].width == 1:
            if any(known(bits) is not None for bits in driver.operands):
                netlist.drivers[wire] = Operation("join", (_mux(netlist, *driver.operands),))
        elif isinstance(driver, Lookup):
            width = netlist.wires[wire].width
            edges = {0, width}
            for assign in assignments(driver.body):
                edges |= {assign.target.low, assign.target.low + assign.target.width}
            bounds = sorted(edges)
            if _cases(driver.body, bounds) > CASES_MAX:
                netlist.drivers[wire] = Lookup(merged(driver.body))
                continue
            parts = [_evaluate(netlist, driver.body, low, high - low, ()) for low, high in pairwise(bounds)]
            bits = joined(*(part for bits in reversed(parts) for part in bits))
            made = whole(netlist, bits)
            if made is not None and made.startswith("$new") and made in netlist.drivers:
                netlist.drivers[wire] = netlist.drivers.pop(made)
                del netlist.wires[made]
            else:
                netlist.drivers[wire] = Operation("join", (bits,))


def exclusive(switch: Switch) -> bool:
    """Whether at most one case matches any value, a default aside."""
    patterns = [pattern for case in switch.cases for pattern in case.patterns]
    return all(
        any({a, b} == {"0", "1"} for a, b in zip(one, other, strict=True))
        for n, one in enumerate(patterns)
        for other in patterns[:n]
    )


def complete(switch: Switch) -> bool:
    """Whether the cases of an exclusive switch match every value without a default."""
    patterns = [pattern for case in switch.cases for pattern in case.patterns]
    return sum(1 << pattern.count("-") for pattern in patterns) == 1 << width_of(switch.selector)


def tested(switch: Switch, pattern: str) -> Iterator[tuple[Bits, Const]]:
    """The parts of the selector that a pattern looks at, each with the value it is to have."""
    low = width_of(switch.selector)
    for part in switch.selector:
        low -= part.width
        text = pattern[len(pattern) - low - part.width : len(pattern) - low]
        begin = 0
        while begin < len(text):
            end = begin + 1
            while end < len(text) and (text[end] == "-") == (text[begin] == "-"):
                end += 1
            if text[begin] != "-":
                yield slice_of((part,), len(text) - end, end - begin), Const(text[begin:end])
            begin = end


def _cases(body: Sequence[Statement], bounds: Sequence[int], patterns: int = 0) -> int:
    """Values that are chosen in the cases of switches, each as often as it has patterns and parts."""
    total = 0
    for statement in body:
        if isinstance(statement, Assign):
            first = statement.target.low
            total += patterns * sum(first <= bound < first + statement.target.width for bound in bounds)
        else:
            for case in statement.cases:
                total += _cases(case.body, bounds, max(patterns, 1) * max(len(case.patterns), 1))
    return total


def _evaluate(netlist: Netlist, body: Sequence[Statement], low: int, width: int, before: Bits) -> Bits:
    """What ``width`` bits of the target, from ``low`` upwards, are after the statements."""
    value = before
    for statement in body:
        if isinstance(statement, Assign):
            offset = low - statement.target.low
            if 0 <= offset < statement.target.width:
                value = slice_of(statement.value, offset, width)
        else:
            value = _chosen(netlist, statement, low, width, value)
    return value


def _chosen(netlist: Netlist, switch: Switch, low: int, width: int, before: Bits) -> Bits:
    """What the bits are after the switch."""
    otherwise = before
    results: list[tuple[tuple[str, ...], Bits]] = []
    for case in switch.cases:
        value = _evaluate(netlist, case.body, low, width, before)
        if not case.patterns:
            otherwise = value
            break
        results.append((case.patterns, value))
    if exclusive(switch):
        if complete(switch) and results:
            otherwise = max((value for _, value in results), key=[value for _, value in results].count)
        grouped: dict[Bits, list[str]] = {}
        for patterns, value in results:
            if value != otherwise:
                grouped.setdefault(value, []).extend(patterns)
        results = [(tuple(patterns), value) for value, patterns in grouped.items()]
    while results and results[-1][1] == otherwise:
        results.pop()
    result = otherwise
    for patterns, value in reversed(results):
        result = _mux(netlist, _condition(netlist, switch, patterns), value, result)
    return result


def _condition(netlist: Netlist, switch: Switch, patterns: Sequence[str]) -> Bits:
    """One bit: the selector matches one of the patterns."""
    matches = []
    for pattern in patterns:
        tests = []
        for bits, value in tested(switch, pattern):
            if value.width == 1:
                tests.append(bits if value.bits == "1" else netlist.compute(1, "not", bits))
            else:
                tests.append(netlist.compute(1, "eq", bits, (value,)))
        matches.append(_reduced(netlist, "and", tests))
    return _reduced(netlist, "or", matches)


def _reduced(netlist: Netlist, kind: str, bits: Sequence[Bits]) -> Bits:
    if not bits:
        return constant(1, 1)
    result = bits[0]
    for other in bits[1:]:
        result = netlist.compute(1, kind, result, other)
    return result


def _mux(netlist: Netlist, condition: Bits, yes: Bits, no: Bits) -> Bits:
    """A conditional operator; of one bit, and with a constant, the gate that it is."""
    always = known(condition)
    if always is not None:
        return yes if always else no
    if yes == no:
        return yes
    if width_of(yes) == 1:
        if (value := known(no)) is not None:
            if known(yes) is not None:
                return condition if known(yes) else _not(netlist, condition)
            if value == 0:
                return netlist.compute(1, "and", condition, yes)
            return netlist.compute(1, "or", _not(netlist, condition), yes)
        if (value := known(yes)) is not None:
            if value == 1:
                return netlist.compute(1, "or", condition, no)
            return netlist.compute(1, "and", _not(netlist, condition), no)
    inner = whole(netlist, yes)
    driver = netlist.drivers.get(inner) if inner and inner.startswith("$new") else None
    if isinstance(driver, Operation) and driver.kind == "mux" and driver.operands[2] == no:
        condition = netlist.compute(1, "and", condition, driver.operands[0])
        yes = driver.operands[1]
    return netlist.compute(width_of(yes), "mux", condition, yes, no)


def _not(netlist: Netlist, bit: Bits) -> Bits:
    """The bit inverted."""
    wire = whole(netlist, bit)
    driver = netlist.drivers.get(wire) if wire else None
    if isinstance(driver, Operation) and driver.kind == "not" and wire and wire.startswith("$new"):
        return driver.operands[0]
    return netlist.compute(1, "not", bit)


__all__ = ["complete", "exclusive", "lower_choices", "tested"]
