"""A kernel unit in standard cells with wires: placed, routed, checked.

    python bench/layout.py [--activation-bits 8] [--mask-bits 3] [--density 0.65]

qflow takes the unit's Verilog to a layout of its 0.35 um cells (``verif/physical/layout.py`` says what must
be installed). Prints and writes as JSON: cells, die, density, length of wires, vias, clock rate with and
without them, and what design rules and the comparison with the netlist say. Minutes to an hour.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.verif.blocks.support.run import block_config, sources_of
from kestrel.verif.physical.layout import TECHNOLOGY, TOOLS, LayoutError, lay_out, qflow_available

BLOCK = "compute.kernel_unit"
OUTPUT = Path("build/bench/layout.json")
WORK = Path("build/bench/layout")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--activation-bits", type=int, default=8)
    add("--mask-bits", type=int, default=3, help="of the widest masks")
    add("--density", type=float, default=0.65, help="share of the rows' area that cells take")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if not qflow_available():
        parser.error(f"missing: {', '.join(TOOLS)} or the technology {TECHNOLOGY}; Debian: apt-get install "
                     f"qflow qflow-tech-{TECHNOLOGY} graywolf qrouter magic netgen-lvs")
    if not 0.1 <= arguments.density <= 1:
        parser.error(f"--density {arguments.density}; allowed: 0.1..1")
    bits, masks = arguments.activation_bits, arguments.mask_bits
    try:
        source = sources_of(BLOCK, block_config(1, 1, bits, mask_bits_max=masks))[-1]
        found = lay_out(source, WORK / f"a{bits}-m{masks}", arguments.density)
    except (InputError, LayoutError) as error:
        parser.error(str(error))
    report = {"bench": "layout", "technology": TECHNOLOGY, "block": BLOCK, "activation_bits": bits,
              "mask_bits": masks, "density": found.density, **asdict(found)}
    print(json.dumps(report, indent=2))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if found.drc_errors == 0 and found.lvs_matches else 1


if __name__ == "__main__":
    sys.exit(main())
