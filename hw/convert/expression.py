"""Verilog expressions of bits and operations.

Every expression has by itself the width of its value, and so have its operands: nothing is extended or cut
off by the rules of Verilog. Operators of different kinds are parted by parentheses.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from kestrel.hw.convert.netlist import Operation
from kestrel.hw.convert.rtlil import Bits, Const, Part

_BINARY = {
    "and": "&", "or": "|", "xor": "^", "add": "+", "sub": "-", "eq": "==", "ne": "!=",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "shl": "<<", "shr": ">>", "mul": "*", "sshr": ">>>",
}  # fmt: skip
_UNARY = {"not": "~", "neg": "-", "any": "|", "all": "&", "parity": "^"}
CHAINS = {"and", "or", "xor", "add"}
"""Kinds of which several in a row need no parentheses."""

Text = tuple[str, str]
"""An expression and the kind of its outermost operator; "atom" needs no parentheses anywhere."""


def literal(const: Const) -> str:
    """A constant: one bit in binary, more in hexadecimal."""
    return f"1'b{const.bits}" if const.width == 1 else f"{const.width}'h{int(const.bits, 2):x}"


def bits_text(bits: Bits, part_text: Callable[[Part], Text]) -> Text:
    """The bits, with ``part_text`` for those of a wire; a bit several times in a row is repeated."""
    items = [(literal(part), "atom") if isinstance(part, Const) else part_text(part) for part in bits]
    if len(items) == 1:
        return items[0]
    runs = [(text, len(list(run))) for (text, _), run in groupby(items)]
    texts = [text if count == 1 else f"{{{count}{{{text}}}}}" for text, count in runs]
    return (texts[0] if len(texts) == 1 else f"{{{', '.join(texts)}}}"), "atom"


def operation_text(operation: Operation, operands: Sequence[Text], width: int) -> Text:
    """An operation of operands given as text; ``width`` is the result's."""
    kind = operation.kind
    if kind in {"join", "hold"}:
        return operands[0]
    if kind == "mux":
        condition, yes, no = operands
        last = no[0] if no[1] == "mux" else operand(no)
        return f"{operand(condition)} ? {operand(yes)} : {last}", "mux"
    if kind == "pick":
        (word, _), (index, _) = operands
        return (f"{word}[{index}]" if width == 1 else f"{word}[{index} +: {width}]"), "atom"
    if kind in _UNARY:
        text, inner = operands[0]
        return f"{_UNARY[kind]}{text if inner == 'atom' else f'({text})'}", "unary"
    (left, left_kind), (right, right_kind) = operands
    if operation.signed:
        left, left_kind = f"$signed({left})", "atom"
        if kind != "sshr":
            right, right_kind = f"$signed({right})", "atom"
    left = left if kind in CHAINS and left_kind == kind else operand((left, left_kind))
    right = right if kind in CHAINS and right_kind == kind else operand((right, right_kind))
    return f"{left} {_BINARY[kind]} {right}", kind


def operand(text: Text) -> str:
    """Text that may stand beside any operator."""
    return text[0] if text[1] in {"atom", "unary"} else f"({text[0]})"
