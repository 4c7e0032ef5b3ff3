"""The error that user input raises when it cannot be used."""


class InputError(ValueError):
    """What a user gave cannot be used. The message is one line that names the file or option, the value and
    what is allowed; the command line prints it and exits with code 2."""


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
