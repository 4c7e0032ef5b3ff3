"""What reading a damaged file raises, by the libraries that do it."""

import struct
import tokenize
import zipfile
import zlib

ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError,  # another version; a password
    tokenize.TokenError, SyntaxError, OverflowError,  # the header of an array, which NumPy reads as Python
    SystemError,  # an array of text whose letters are none
    struct.error, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError,
)  # fmt: skip
"""A zip archive, its JSON, its arrays. InputError is among them: it has to be caught before."""


def reason_of(error: BaseException, path: object = None) -> str:
    """What a library says, for a message of ours: its first line, at most 100 characters, without ``path``,
    which the message names already."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return (line if path is None else line.replace(str(path), "file"))[:100]
