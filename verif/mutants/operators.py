"""Mutants of a module of the hardware: one small change of its Python source each, of a kind easily made."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_SWAPPED_OPERATORS: dict[type[ast.AST], str] = {
    ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "|", ast.Add: "-", ast.Sub: "+",
    ast.LShift: ">>", ast.RShift: "<<",
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
}  # fmt: skip
_CONDITIONS = ("If", "Elif")


@dataclass(frozen=True)
class Mutant:
    """A change: the text ``old`` at ``line`` and ``column`` (from 1 and 0) of the source becomes ``new``.

    start, end: the place of the old text, in bytes of the whole source."""

    line: int
    column: int
    kind: str
    old: str
    new: str
    start: int
    end: int

    def apply(self, source: str) -> str:
        """The source with the change."""
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


def mutants(source: str) -> list[Mutant]:
    """All mutants of the source, in the order of their places.

    Changed is what describes hardware: functions other than ``__init__`` and properties of numbers, without
    their docstrings, annotations, exceptions and texts.
    """
    lines = source.encode().splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    found = set(_of_tree(ast.parse(source), source, offsets))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.kind, mutant.new))


def _of_tree(tree: ast.Module, source: str, offsets: list[int]) -> Iterator[Mutant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            for statement in node.body:
                for inner in _expressions(statement):
                    yield from _of_node(inner, source, offsets)


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, without texts, annotations and exceptions."""
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.FunctionDef)):
        return
    yield node
    for name, field in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _expressions(child)


def _of_node(node: ast.AST, source: str, offsets: list[int]) -> Iterator[Mutant]:
    def place(part: ast.AST) -> tuple[int, int]:
        assert isinstance(part, (ast.expr, ast.stmt))
        last, end = part.end_lineno or part.lineno, part.end_col_offset or part.col_offset
        return offsets[part.lineno - 1] + part.col_offset, offsets[last - 1] + end

    def text(start: int, end: int) -> str:
        return source.encode()[start:end].decode()

    def change(part: ast.AST, kind: str, new: str, span: tuple[int, int] | None = None) -> Mutant:
        start, end = span or place(part)
        line = source.encode()[:start].count(b"\n") + 1
        return Mutant(line, start - offsets[line - 1], kind, text(start, end), new, start, end)

    if isinstance(node, (ast.BinOp, ast.Compare)):
        left = node.left
        right = node.right if isinstance(node, ast.BinOp) else node.comparators[0]
        operator = node.op if isinstance(node, ast.BinOp) else node.ops[0]
        if type(operator) in _SWAPPED_OPERATORS:
            between = place(left)[1], place(right)[0]
            symbol = _symbol(operator)
            at = between[0] + text(*between).index(symbol)
            yield change(node, "operator", _SWAPPED_OPERATORS[type(operator)], (at, at + len(symbol)))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        yield change(node, "inversion", f"({text(*place(node.operand))})")
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield change(node, "constant", str(node.value + 1))
        if node.value > 0:
            yield change(node, "constant", str(node.value - 1))
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "Mux" and len(node.args) == 3:
            condition, first, second = (text(*place(argument)) for argument in node.args)
            yield change(node, "swapped operands", f"Mux({condition}, {second}, {first})")
        if name in _CONDITIONS and len(node.args) == 1:
            yield change(node.args[0], "condition", "0")
            yield change(node.args[0], "condition", "1")
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        target = ast.unparse(node.target)
        if target.startswith("m.d."):
            if isinstance(node.value, ast.List) and len(node.value.elts) > 1:
                for n, element in enumerate(node.value.elts):
                    if not isinstance(element, ast.Starred):
                        rest = [text(*place(e)) for k, e in enumerate(node.value.elts) if k != n]
                        dropped = text(*place(element))
                        new = change(node.value, "dropped statement", f"[{', '.join(rest)}]")
                        yield Mutant(element.lineno, element.col_offset, new.kind, dropped, new.new,
                                     new.start, new.end)  # fmt: skip
            else:
                yield change(node, "dropped statement", "pass")


def _symbol(operator: ast.AST) -> str:
    symbols: dict[type[ast.AST], str] = {
        ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.Add: "+", ast.Sub: "-",
        ast.LShift: "<<", ast.RShift: ">>",
        ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    }  # fmt: skip
    return symbols[type(operator)]
