"""Draws a routed block: cells, and the wires of each layer in a colour.

    python bench/layout_picture.py build/bench/layout/a8-m3 -o docs/layout.png

The folder is one of ``bench/layout.py``; sizes of cells are those of the installed technology.
"""

import argparse
import io
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from kestrel.sw.common.files import atomic_write
from kestrel.verif.physical.def_file import DefFile, read_def, read_sizes
from kestrel.verif.physical.layout import TECHNOLOGIES, TECHNOLOGY

LAYERS = {"metal1": "#2a6fb0", "metal2": "#c0392b", "metal3": "#2e8b57", "metal4": "#b8860b"}
REGISTERS = "DFF"
"""How the names of registers begin, which are drawn darker."""
DOTS = 1200
"""Across the picture."""
COLOURS = 64


def draw(axes: Axes, layout: DefFile, sizes: dict[str, tuple[float, float]]) -> None:
    """Cells below, wires above, the lowest layer first."""
    for registers, colour in ((False, "#dddddd"), (True, "#a8a8a8")):
        cells = [Rectangle((cell.x, cell.y), *sizes[cell.kind]) for cell in layout.placed
                 if not cell.fills and cell.kind.startswith(REGISTERS) == registers]  # fmt: skip
        axes.add_collection(PatchCollection(cells, facecolor=colour, edgecolor="white", linewidth=0.2))
    for layer, colour in LAYERS.items():
        paths = [wire.points for wire in layout.wires if wire.layer == layer and len(wire.points) > 1]
        axes.add_collection(LineCollection(paths, colors=colour, linewidths=0.35, label=layer))
    left, bottom, right, top = layout.die
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xlabel="um", ylabel="um")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.09), ncols=len(LAYERS), frameon=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    routed = [path for path in arguments.folder.glob("layout/*.def") if not path.stem.endswith("_unroute")]
    if len(routed) != 1:
        parser.error(f"{arguments.folder}: {len(routed)} layouts; allowed: a folder of bench/layout.py")
    library = TECHNOLOGIES / TECHNOLOGY / f"{TECHNOLOGY}_stdcells.lef"
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    draw(figure.subplots(), read_def(routed[0].read_text()), read_sizes(library.read_text()))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS / 10)
    small = io.BytesIO()
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    with atomic_write(arguments.output) as path:
        path.write_bytes(small.getvalue())
    print(f"{arguments.output}: {len(small.getvalue()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
