"""The names of the ROM images, as parameters of the module that places the ROMs.

Amaranth writes modules without parameters, so the names would be the same in every instance: two chips with
different networks could not stand in one design.
"""

import re

from kestrel.hw.common.place import PREFIX

SUFFIX = ".mem"
_IMAGE = re.compile(rf'\.INIT_FILE\("(\w+){re.escape(SUFFIX)}"\)')


def file_parameter(rom: str) -> str:
    """Name of the parameter that holds the file of a ROM: WEIGHTS_FILE of ``weights``."""
    return f"{rom.upper()}_FILE"


def with_rom_parameters(text: str) -> str:
    """A module's Verilog, in which the images of the ROMs that it places have become parameters; the names
    that were there are their defaults. Other text stays as it is."""
    roms = sorted(set(_IMAGE.findall(text)))
    if not roms:
        return text
    declared = ",\n".join(f'    parameter {file_parameter(rom)} = "{rom}{SUFFIX}"' for rom in roms)
    text = _IMAGE.sub(lambda found: f".INIT_FILE({file_parameter(found[1])})", text)
    head = rf"^(module {PREFIX}\w+) *\("
    return re.sub(head, rf"\1 #(\n{declared}\n) (", text, count=1, flags=re.MULTILINE)
