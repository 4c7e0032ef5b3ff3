"""Pickles that hold data alone, read without running anything.

A pickle is a program for a small stack machine, and ``pickle.load`` runs whatever functions it names. Here
its opcodes are taken apart by ``pickletools.genops``, which only parses, and followed by hand: those that
make dictionaries, lists, tuples, strings, bytes, numbers, booleans and None, the memo, and the few calls that
NumPy writes an array of numbers with. Those are recognised by name and never made; an array is built from its
bytes. Every other opcode, and every other name, is refused.
"""

import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import reason_of

ALLOWED = "dictionaries, lists, tuples, strings, numbers, booleans, None and NumPy arrays of numbers"

BYTES_MAX = 256 << 20

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES",
    "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8",
})  # fmt: skip
"""Opcodes whose argument is the value."""

_NAMES = {
    **{f"numpy.{core}.multiarray _reconstruct": "array" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": "buffer" for core in ("core", "_core")},
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
    "__builtin__ bytes": "bytes",
}
"""What NumPy's arrays and scalars, and bytes before protocol 3, are written with."""

_DTYPE = re.compile("[iufb][1248]")

_MARK = object()


class _Name:
    """A name of _NAMES, which stands for nothing but itself."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Dtype:
    """A NumPy type of numbers. code: as in i8; order: < > | or =."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="


class _Array:
    """An array: empty until its state comes."""

    def __init__(self, values: np.ndarray | None = None) -> None:
        self.values = values


class _Refused(Exception):
    """What the message names is not data."""


def load_plain_pickle(path: Path) -> object:
    """The value in a pickle of any protocol, arrays and tuples as lists. Nothing in the file is executed.
    Raises InputError for a pickle that holds or does anything else, and for a file that is none."""
    if path.stat().st_size > BYTES_MAX:
        raise InputError(f"{path}: {path.stat().st_size} bytes; allowed: a pickle of at most {BYTES_MAX}")
    try:
        return _plain(_follow(path.read_bytes()), 0)
    except _Refused as error:
        raise InputError(f"{path}: the pickle {error}, and nothing of it was run; "
                         f"allowed: {ALLOWED}") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a whole pickle ({reason_of(error)}); "
                         f"allowed: one of {ALLOWED}") from error


def _follow(content: bytes) -> object:
    """What the program leaves on its stack."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        place = max(n for n, entry in enumerate(stack) if entry is _MARK)
        found = stack[place + 1 :]
        del stack[place:]
        return found

    def put(key: int) -> None:
        memo[key] = stack[-1]

    def set_items(pairs: list[Any]) -> None:
        target = _checked(stack[-1], dict)
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    simple: dict[str, Callable[[], object]] = {
        "MARK": lambda: stack.append(_MARK),
        "EMPTY_LIST": lambda: stack.append([]),
        "EMPTY_DICT": lambda: stack.append({}),
        "EMPTY_TUPLE": lambda: stack.append(()),
        "POP": stack.pop,
        "POP_MARK": to_mark,
        "DUP": lambda: stack.append(stack[-1]),
        "LIST": lambda: stack.append(to_mark()),
        "TUPLE": lambda: stack.append(tuple(to_mark())),
        "TUPLE1": lambda: stack.append((stack.pop(),)),
        "TUPLE2": lambda: stack.append(tuple(_last(stack, 2))),
        "TUPLE3": lambda: stack.append(tuple(_last(stack, 3))),
        "DICT": lambda: _new_dict(stack, to_mark()),
        "APPEND": lambda: _append(stack, [stack.pop()]),
        "APPENDS": lambda: _append(stack, to_mark()),
        "SETITEM": lambda: set_items(_last(stack, 2)),
        "SETITEMS": lambda: set_items(to_mark()),
        "MEMOIZE": lambda: put(len(memo)),
        "REDUCE": lambda: stack.append(_called(*_last(stack, 2))),
        "BUILD": lambda: _build(stack),
    }
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in simple:
            simple[name]()
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            put(int(str(argument)))
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            stack.append(memo[int(str(argument))])
        elif name == "GLOBAL":
            stack.append(_named(str(argument)))
        elif name == "STACK_GLOBAL":
            stack.append(_named(" ".join(map(str, _last(stack, 2)))))
        elif name == "STOP":
            if len(stack) != 1:
                raise ValueError(f"{len(stack)} values at its end")
            return stack[0]
        elif name not in {"PROTO", "FRAME"}:
            raise _Refused(f"has the opcode {name}")
    raise ValueError("it has no end")


def _last(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count or any(entry is _MARK for entry in stack[-count:]):
        raise IndexError("a value is missing")
    found = stack[-count:]
    del stack[-count:]
    return found


def _checked(value: object, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _append(stack: list[Any], values: list[Any]) -> None:
    _checked(stack[-1], list).extend(values)


def _new_dict(stack: list[Any], pairs: list[Any]) -> None:
    stack.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))


def _named(name: str) -> _Name:
    if name not in _NAMES:
        raise _Refused(f"names {name.replace(' ', '.')!r:.80}")
    return _Name(_NAMES[name])


def _called(function: object, arguments: object) -> object:
    """What NumPy means by a call, made by hand."""
    kind = function.kind if isinstance(function, _Name) else ""
    given = _checked(arguments, tuple)
    if kind == "array":
        return _Array()
    if kind == "dtype":
        if not _DTYPE.fullmatch(str(given[0])):
            raise _Refused(f"holds an array of type {str(given[0])!r:.40}")
        return _Dtype(str(given[0]))
    if kind == "scalar":
        return _values(given[0], given[1], (1,), fortran=False)[0].item()
    if kind == "buffer":
        content, dtype, shape, order = given
        return _Array(_values(dtype, bytes(content), _sides(shape), order == "F"))
    if kind == "bytes" and not given:  # none at all
        return b""
    if kind == "encode" and str(given[1]) in {"latin1", "latin-1"}:
        return _checked(given[0], str).encode("latin-1")
    raise _Refused("calls a function")


def _build(stack: list[Any]) -> None:
    """The state of a type (its byte order) or of an array (shape, type, order, bytes)."""
    target, state = _last(stack, 2)
    state = _checked(state, tuple)
    if isinstance(target, _Dtype):
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {state[1]!r:.20}")
        target.order = state[1]
    elif isinstance(target, _Array):
        _, shape, kind, fortran, content = state
        target.values = _values(kind, content, _sides(shape), bool(fortran))
    else:
        raise _Refused("sets the state of an object")
    stack.append(target)


def _sides(shape: object) -> tuple[int, ...]:
    return tuple(_checked(side, int) for side in _checked(shape, tuple))


def _values(kind: object, content: object, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    if not isinstance(kind, _Dtype):
        raise _Refused("holds an array of objects")
    data = content.encode("latin-1") if isinstance(content, str) else bytes(_checked(content, bytes))
    order = "<" if kind.order == "=" else kind.order
    return np.frombuffer(data, np.dtype(order + kind.code)).reshape(shape, order="F" if fortran else "C")


def _plain(value: object, depth: int) -> object:
    """Without tuples and arrays, as JSON has it."""
    if depth > 100:
        raise ValueError("nested more than 100 deep")
    if isinstance(value, _Array):
        if value.values is None:
            raise ValueError("an array without its numbers")
        return value.values.tolist()
    if isinstance(value, dict):
        return {key: _plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, depth + 1) for entry in value]
    if value is not None and not isinstance(value, str | bytes | bytearray | int | float):
        raise _Refused("is no data")
    return value
