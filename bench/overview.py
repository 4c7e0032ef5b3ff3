"""Draws the picture at the top of the README: a photograph, the chip, its descriptor, the nearest pictures.

    python bench/overview.py build/scenes/00400.png --scenes build/scenes -o docs/overview.svg

Descriptor and neighbours are computed, by the network that comes along, from the generated pictures of
``kestrel scenes``; the figures in the chip are those of the cycle model for ``edge`` at the pictures' size.
"""

import argparse
import base64
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import kestrel
from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.common.files import atomic_write
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.embedded import RESNET18_RETRIEVAL
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, to_bytes

SIZE = 128
MATCHES = 3
WIDTH, HEIGHT = 960, 190
THUMBNAIL = (120, 90)
CODES = 64
"""Bytes of the descriptor that are drawn."""


def image(path: Path, x: int, y: int, frame: str) -> str:
    """A thumbnail inside the SVG, with a frame of a colour."""
    data = io.BytesIO()
    Image.open(path).convert("RGB").resize(THUMBNAIL).save(data, "JPEG", quality=80)
    code = base64.b64encode(data.getvalue()).decode("ascii")
    width, height = THUMBNAIL
    return (f'<image x="{x}" y="{y}" width="{width}" height="{height}" href="data:image/jpeg;base64,{code}"/>'
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" stroke="{frame}" '
            'stroke-width="3"/>')


def text(x: float, y: int, words: str, size: int = 12, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y}" font-size="{size}" text-anchor="middle"{weight}>{words}</text>'


def arrow(x: int, y: int) -> str:
    return f'<path d="M{x} {y}h20m-7 -6l7 6l-7 6" fill="none" stroke="#555" stroke-width="2"/>'


def codes(vector: np.ndarray, x: int, y: int) -> str:
    """The first bytes of a descriptor as grey cells, 16 a row."""
    cells = ""
    for number, code in enumerate(vector[:CODES]):
        row, column = divmod(number, 16)
        cells += (f'<rect x="{x + 7 * column}" y="{y + 11 * row}" width="6" height="10" '
                  f'fill="rgb({code},{code},{code})"/>')
    return cells


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("query", type=Path)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)

    network = load_network(RESNET18_RETRIEVAL)
    found = kestrel.describe(network, options.scenes, kestrel.DescriptorOptions(size=SIZE))
    own = found.names.index(options.query.name)
    nearest = np.argsort(-(found.vectors @ found.vectors[own]), kind="stable")[1 : MATCHES + 1]
    bytes_ = to_bytes(found.vectors, fit_quantiser(found.vectors))[own]
    config = NAMED["edge"].with_options(residual=True)
    cycles = frame_cycles(make_plan(network, config, SIZE, SIZE)).total

    parts = [image(options.query, 12, 45, "#888"), text(72, 155, "photograph")]
    parts += [arrow(142, 90)]
    parts += ['<rect x="172" y="30" width="220" height="120" rx="6" fill="#eef3fa" stroke="#345"/>',
              text(282, 52, "chip (Verilog)", 14, bold=True),
              text(282, 74, f"{config.input_lanes} x {config.output_lanes} kernel units, 2-bit masks"),
              text(282, 94, "ResNet-18 from on-chip ROM"),
              text(282, 114, f"{cycles:,} cycles a picture"), text(282, 134, "descriptor unit (NIP)")]
    parts += [arrow(402, 90), codes(bytes_, 432, 68), text(488, 130, f"{len(bytes_)} bytes")]
    parts += [arrow(556, 90)]
    place = options.query.name[:3]
    for number, match in enumerate(nearest):
        right = found.names[match].startswith(place)
        x = 586 + number * 124
        parts += [image(options.scenes / found.names[match], x, 45, "#18824a" if right else "#c0392b")]
    parts += [text(586 + 124 * MATCHES / 2, 155, "nearest pictures: the same place from other sides")]
    with atomic_write(options.output) as temporary:
        temporary.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" fill="#222"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
            f'{"".join(parts)}</svg>\n', encoding="utf-8",
        )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
