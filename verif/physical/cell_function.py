"""Boolean functions of liberty cells, such as ``!(A1 & A2) | B``, evaluated bit by bit on integers.

The operators, in the order of precedence of the Liberty Reference Manual, are ``!`` (before its operand),
``^``, ``&`` and ``|``. Parentheses group. The manual's other spellings (``'``, ``*``, ``+``, a space for
"and") are refused.
"""

import operator
import re
from collections.abc import Callable, Sequence

from kestrel.hw.spec.errors import InputError

CellFunction = Callable[[Sequence[int]], int]
"""A function from the values of the pins, in order, to the value of the output. Bits beyond the pins' widths
may be set, since a complement is that of an integer of unlimited width."""

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[!&|^()])")
_BINARY: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    ("|", operator.or_), ("&", operator.and_), ("^", operator.xor),
)  # fmt: skip
"""The binary operators from the loosest to the tightest binding."""


def compile_function(text: str, pins: tuple[str, ...]) -> CellFunction:
    """Compiles the function ``text`` of a cell's input ``pins``. Raises InputError for anything else."""
    parser = _Parser(text, pins)
    function = parser.binary(0)
    if parser.tokens:
        raise parser.refusal()
    return function


class _Parser:
    """A recursive-descent parser; ``tokens`` are those still to be read, with the next one last."""

    def __init__(self, text: str, pins: tuple[str, ...]) -> None:
        self.text, self.pins = text, pins
        self.tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.refusal()
            self.tokens.append(match[1])
            position = match.end()
        self.tokens.reverse()

    def refusal(self) -> InputError:
        return InputError(
            f"liberty: function {self.text!r} of pins {', '.join(self.pins)}; "
            "allowed: ! ^ & | and parentheses, and these pins"
        )

    def binary(self, level: int) -> CellFunction:
        """Operands joined by the operator of ``level`` in ``_BINARY``, or a single operand."""
        if level == len(_BINARY):
            return self.operand()
        sign, apply = _BINARY[level]
        result = self.binary(level + 1)
        while self.tokens and self.tokens[-1] == sign:
            self.tokens.pop()
            result = _joined(apply, result, self.binary(level + 1))
        return result

    def operand(self) -> CellFunction:
        symbol = self.tokens.pop() if self.tokens else ""
        if symbol == "!":
            return _complement(self.operand())
        if symbol == "(":
            inner = self.binary(0)
            if not self.tokens or self.tokens.pop() != ")":
                raise self.refusal()
            return inner
        if symbol not in self.pins:
            raise self.refusal()
        return operator.itemgetter(self.pins.index(symbol))


def _joined(apply: Callable[[int, int], int], left: CellFunction, right: CellFunction) -> CellFunction:
    return lambda values: apply(left(values), right(values))


def _complement(inner: CellFunction) -> CellFunction:
    return lambda values: ~inner(values)
