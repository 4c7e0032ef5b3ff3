"""A kernel unit, the int8 dot product that is its yardstick, or another block, in standard cells with wires.

    python bench/layout.py [--activation-bits 8] [--mask-bits 3] [--density 0.65]
    python bench/layout.py --unit dot_product
    python bench/layout.py --source peer_mac.v

With --source it is any other block, a Verilog file with one module of the file's name.

qflow takes the unit's Verilog to a layout of its 0.35 um cells (``verif/physical/layout.py`` says what must
be installed). Prints and writes as JSON: cells, die, density, length of wires, vias, clock rate with and
without them, and what design rules and the comparison with the netlist say. Minutes to an hour.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.errors import InputError
from kestrel.verif.blocks.support.run import block_config, sources_of
from kestrel.verif.physical.def_file import LayoutError
from kestrel.verif.physical.energy import DOT_PRODUCT, DOT_PRODUCT_VERILOG, KERNEL_UNIT
from kestrel.verif.physical.layout import TECHNOLOGY, TOOLS, lay_out, qflow_available

OUTPUT = Path("build/bench/layout.json")
WORK = Path("build/bench/layout")


def source_of(unit: str, activation_bits: int, mask_bits: int, folder: Path) -> Path:
    """The unit's Verilog; the dot product's is written into ``folder``. Raises InputError."""
    if unit == KERNEL_UNIT:
        return sources_of(f"compute.{unit}", block_config(1, 1, activation_bits, mask_bits_max=mask_bits))[-1]
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{PREFIX}{DOT_PRODUCT}.v"
    source.write_text(DOT_PRODUCT_VERILOG, encoding="utf-8")
    return source


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--unit", choices=(KERNEL_UNIT, DOT_PRODUCT), default=KERNEL_UNIT)
    add("--source", type=Path, help="Verilog of another block, instead of --unit")
    add("--activation-bits", type=int, default=8, help="of a kernel unit")
    add("--mask-bits", type=int, default=3, help="of a kernel unit's widest masks")
    add("--density", type=float, default=0.65, help="share of the rows' area that cells take")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if not qflow_available():
        parser.error(f"missing: {', '.join(TOOLS)} or the technology {TECHNOLOGY}; Debian: apt-get install "
                     f"qflow qflow-tech-{TECHNOLOGY} graywolf qrouter magic netgen-lvs")
    if not 0.1 <= arguments.density <= 1:
        parser.error(f"--density {arguments.density}; allowed: 0.1..1")
    bits, masks = arguments.activation_bits, arguments.mask_bits
    source: Path | None = arguments.source
    if source is not None and arguments.unit != parser.get_default("unit"):
        parser.error(f"--unit {arguments.unit} and --source {source}; allowed: one of the two")
    kernel = source is None and arguments.unit == KERNEL_UNIT
    given = {name: getattr(arguments, name) for name in ("activation_bits", "mask_bits")}
    if not kernel and any(value != parser.get_default(name) for name, value in given.items()):
        parser.error("--activation-bits and --mask-bits are a kernel unit's")
    unit = arguments.unit if source is None else source.stem
    folder = WORK / (f"a{bits}-m{masks}" if kernel else unit)
    try:
        verilog = source_of(unit, bits, masks, folder) if source is None else source
        found = lay_out(verilog, folder, arguments.density)
    except (InputError, LayoutError) as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{source or folder}: {error.strerror}")
    report = {"bench": "layout", "technology": TECHNOLOGY, "unit": unit,
              **(given if kernel else {}), "density": found.density, **asdict(found)}
    print(json.dumps(report, indent=2))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if found.drc_errors == 0 and found.lvs_matches else 1


if __name__ == "__main__":
    sys.exit(main())
