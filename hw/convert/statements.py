"""Decisions of processes as Verilog's if and case."""

from collections.abc import Callable, Iterator, Sequence

from kestrel.hw.convert.choices import complete, exclusive, tested
from kestrel.hw.convert.expression import Text, literal, operand
from kestrel.hw.convert.netlist import assignments
from kestrel.hw.convert.rtlil import Assign, Bits, Case, Const, Part, Statement, Switch

BitsText = Callable[[Bits], Text]


def by_cases(switch: Switch) -> bool:
    """Whether a switch is written as a case statement; else with if and else."""
    patterns = [pattern for case in switch.cases for pattern in case.patterns]
    return len(patterns) > 2 and exclusive(switch) and not any("-" in pattern for pattern in patterns)


def asked(switch: Switch) -> list[Case]:
    """The cases of an if and else chain; the last has no patterns if nothing is asked there.

    A case that does nothing is left out where that changes nothing, and so is a last question whose answer
    is known.
    """
    cases = list(switch.cases)
    for n, case in enumerate(cases):
        if not case.patterns:
            del cases[n + 1 :]
            break
    otherwise = cases.pop() if cases and not cases[-1].patterns else None
    acts = otherwise is not None and next(assignments(otherwise.body), None) is not None
    if otherwise is None and exclusive(switch) and complete(switch):
        cases[-1] = Case((), cases[-1].body)
    elif acts and otherwise is not None:
        cases.append(otherwise)
    elif exclusive(switch):
        cases = [case for case in cases if next(assignments(case.body), None)]
    while cases and not next(assignments(cases[-1].body), None):
        cases.pop()
    return cases


def reads(body: Sequence[Statement]) -> Iterator[Bits]:
    """What the text of statements reads, as often as it does."""
    for statement in body:
        if isinstance(statement, Assign):
            yield statement.value
            continue
        if by_cases(statement):
            yield statement.selector
        else:
            for case in asked(statement):
                for pattern in case.patterns:
                    for bits, _ in tested(statement, pattern):
                        yield bits
        for case in statement.cases:
            yield from reads(case.body)


def statement_lines(
    body: Sequence[Statement], target: Callable[[Part], str], text: BitsText, equals: str, indent: str
) -> list[str]:
    """The statements as lines. ``equals``: the assignment, <= or =; ``target``: text of what is assigned."""
    lines: list[str] = []
    for statement in body:
        if isinstance(statement, Assign):
            lines.append(f"{indent}{target(statement.target)} {equals} {text(statement.value)[0]};")
        elif by_cases(statement):
            lines += _case_lines(statement, target, text, equals, indent)
        else:
            lines += _if_lines(statement, target, text, equals, indent)
    return lines


def block_lines(lines: list[str], indent: str, before: str) -> list[str]:
    """``lines``, in a block after ``before``; one assignment alone needs no begin and end."""
    if len(lines) == 1:
        return [f"{indent}{before}", *lines]
    return [f"{indent}{before} begin", *lines, f"{indent}end"]


def _if_lines(
    switch: Switch, target: Callable[[Part], str], text: BitsText, equals: str, indent: str
) -> list[str]:
    lines: list[str] = []
    excluded: list[Text] = []
    for case in asked(switch):
        tests = [*excluded, _condition(switch, case.patterns, text)] if case.patterns else excluded
        inner = statement_lines(case.body, target, text, equals, indent + "  ")
        if not inner:
            excluded.append(_not(tests[-1]))
            continue
        word = f"if ({_all(tests, ' & ')[0]})" if tests else ""
        if lines:
            lines.pop()
            word = f"end else {word}".rstrip()
        lines += [f"{indent}{word} begin", *inner, f"{indent}end"]
    return lines


def _condition(switch: Switch, patterns: Sequence[str], text: BitsText) -> Text:
    """The selector matches one of the patterns."""
    matches = []
    for pattern in patterns:
        tests = [_equal(text(bits), value) for bits, value in tested(switch, pattern)]
        matches.append(_all(tests, " & ") if tests else ("1'b1", "atom"))
    return _all(matches, " | ")


def _equal(text: Text, value: Const) -> Text:
    if value.width > 1:
        return f"{operand(text)} == {literal(value)}", "eq"
    if value.bits == "1":
        return text
    return _not(text)


def _not(text: Text) -> Text:
    return f"~{text[0] if text[1] == 'atom' else f'({text[0]})'}", "unary"


def _all(texts: Sequence[Text], operator: str) -> Text:
    return texts[0] if len(texts) == 1 else (operator.join(map(operand, texts)), operator)


def _case_lines(
    switch: Switch, target: Callable[[Part], str], text: BitsText, equals: str, indent: str
) -> list[str]:
    lines = [f"{indent}case ({text(switch.selector)[0]})"]
    grouped: dict[tuple[str, ...], list[str]] = {}
    default = False
    for case in switch.cases:
        inner = tuple(statement_lines(case.body, target, text, equals, indent + "    "))
        if not case.patterns:
            default = True
            grouped.setdefault(inner, []).append("default")
            break
        grouped.setdefault(inner, []).extend(literal(Const(pattern)) for pattern in case.patterns)
    nothing = grouped.pop((), [])
    if not default or "default" in nothing:
        nothing = ["default"]
    for inner, labels in [*grouped.items(), *([((), nothing)] if nothing else [])]:
        label = "default" if "default" in labels else ", ".join(labels)
        if not inner:
            lines.append(f"{indent}  {label}: ;")
        else:
            lines += block_lines(list(inner), f"{indent}  ", f"{label}:")
    return [*lines, f"{indent}endcase"]


__all__ = ["asked", "block_lines", "by_cases", "reads", "statement_lines"]
