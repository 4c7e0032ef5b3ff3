"""Options by their former names: they still work, and no help shows them."""

from collections.abc import Mapping, Sequence

from kestrel.hw.spec.errors import InputError

RENAMED = {"--engine": "--backend", "--engine-set": "--backend-set", "--calibration-size": "--size"}
"""Former name -> present one, where a command has the one and not the other."""

SIZE = "--size"
SIDES = ("--height", "--width")
"""Former names of the two parts of SIZE."""


def translate(arguments: Sequence[str], options: Mapping[str, object]) -> list[str]:
    """A command's arguments with the present names of its options.

    ``options``: the command's options by name, with their defaults. Raises InputError where an option is
    given by both names, or a side is no number.
    """
    given: set[str] = set()
    sides: dict[str, int] = {}
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            result += [argument, *rest]
            break
        name, equals, value = argument.partition("=")
        given.add(name)
        if name in SIDES and SIZE in options and name not in options:
            sides[name] = _side(name, value if equals else next(rest, ""))
        elif name in RENAMED and RENAMED[name] in options and name not in options:
            result.append(RENAMED[name] + equals + value)
        else:
            result.append(argument)
    for former, present in RENAMED.items():
        if former in given and present in given and former not in options and present in options:
            raise InputError(f"{former} together with {present}, its new name; allowed: one of them")
    if not sides:
        return result
    if given & {SIZE, *(name for name, present in RENAMED.items() if present == SIZE)}:
        raise InputError(f"{', '.join(sides)} together with {SIZE}; allowed: {SIZE} HEIGHTxWIDTH alone")
    return [SIZE, _size(sides, str(options[SIZE])), *result]


def _side(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} {text!r}; allowed: a whole number of pixels (or {SIZE} HEIGHTxWIDTH)")
    return int(text)


def _size(sides: Mapping[str, int], default: str) -> str:
    """``sides`` in full; what is not given is the default's."""
    height, _, width = default.partition("x")
    usual = zip(SIDES, (height, width or height), strict=True)
    return "x".join(str(sides.get(name, side)) for name, side in usual)
