"""The names of what is written, so that two chips can stand in one design."""

import re
from dataclasses import dataclass

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.rom_parameters import SUFFIX
from kestrel.hw.emit.verilog import VerilogFile
from kestrel.hw.spec.errors import InputError

DEFAULT = PREFIX.rstrip("_")
_ALLOWED = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_WORD = re.compile(rf"\b{PREFIX}(?=\w)")
_IMAGE = re.compile(rf'"(\w+{re.escape(SUFFIX)})"')


@dataclass(frozen=True)
class Names:
    """``prefix`` begins the name of every module and file. That of a ROM image begins with it only if it is
    not the usual one, with which the images of ``kestrel export`` are found under their own names.

    Raises InputError for a prefix with which a Verilog name cannot begin.
    """

    prefix: str = DEFAULT

    def __post_init__(self) -> None:
        if not _ALLOWED.fullmatch(self.prefix):
            raise InputError(
                f"prefix {self.prefix!r}; allowed: a letter, then up to 39 letters, digits and underscores"
            )

    def module(self, name: str) -> str:
        """``kestrel_axi`` of ``axi``."""
        return f"{self.prefix}_{name}"

    def data(self, file: str) -> str:
        """Name of a file of words for $readmemh: ``weights.mem``, or with the prefix."""
        return file if self.prefix == DEFAULT else self.module(file)

    def renamed(self, file: VerilogFile) -> VerilogFile:
        """Verilog with the usual names, under these."""
        if self.prefix == DEFAULT:
            return file
        text = _WORD.sub(f"{self.prefix}_", file.text)
        text = _IMAGE.sub(lambda found: f'"{self.data(found[1])}"', text)
        return VerilogFile(_WORD.sub(f"{self.prefix}_", file.name), text)
