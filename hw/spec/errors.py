"""The error that user input raises when it cannot be used."""

import re

MESSAGE_MAX = 1200
"""Characters of a message; of a longer one the middle is left out."""

_LEFT_OUT = " [...] "


class InputError(ValueError):
    """What a user gave cannot be used. The message is one line that names the file or option, the value and
    what is allowed; the command line prints it and exits with code 2. It stays one line of bearable length
    whatever the value: lines are joined, characters that do not print appear as escapes, and a long message
    loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_bearable(message))


class InputWarning(UserWarning):
    """What a user gave can be used, but not as it stands: something of it was left out or taken by a rule.

    ``where``: the file or folder; ``what``: the rule that was applied, the same text for all that it was
    applied to, so that a thousand of them can be told in one line.
    """

    def __init__(self, where: object, what: str) -> None:
        self.where = str(where)
        self.what = what
        super().__init__(self.where, self.what)  # both, so that it survives pickling

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def _bearable(message: str) -> str:
    message = re.sub(r"\s*\n\s*", " ", message)
    plain = "".join(c if c.isprintable() or _is_byte(c) else repr(c)[1:-1] for c in message)
    if len(plain) <= MESSAGE_MAX:
        return plain
    half = (MESSAGE_MAX - len(_LEFT_OUT)) // 2
    return f"{plain[:half]}{_LEFT_OUT}{plain[-half:]}"


def _is_byte(character: str) -> bool:
    """Whether it stands for a byte of a file's name that is no text; whoever prints it knows what to do."""
    return "\udc80" <= character <= "\udcff"
