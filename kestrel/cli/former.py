"""The former names of options, which still work but are not shown in the help."""

from collections.abc import Mapping, Sequence

from kestrel.hw.spec.errors import InputError

RENAMED = {"--engine": "--backend", "--engine-set": "--backend-set", "--calibration-size": "--size"}
"""Present names by former ones, for commands that have an option by its present name only."""

SIZE = "--size"
SIDES = ("--height", "--width")
"""The former names of the two sides in SIZE."""


def translate(arguments: Sequence[str], options: Mapping[str, object]) -> list[str]:
    """A command's arguments with the present names of its options.

    ``options`` are the command's options by name, with their defaults. Raises InputError if an option is
    given by both names, or if a side is not a number.
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
    """Both sides as the text of SIZE; a side that is not given is that of the default."""
    height, _, width = default.partition("x")
    usual = zip(SIDES, (height, width or height), strict=True)
    return "x".join(str(sides.get(name, side)) for name, side in usual)
