"""The error that user input raises when it cannot be used."""


class InputError(ValueError):
    """What a user gave cannot be used. The message is one line that names the file or option, the value and
    what is allowed; the command line prints it and exits with code 2."""
