"""The drawing of an engine or chip: its blocks with the numbers of the configuration, as SVG.

There are two arrangements of the same boxes, a wide and a tall one, of which the page shows the one that
suits its width. Colours come from the page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.hw.spec.widths import ACCUMULATOR_BITS
from kestrel.sw.estimate.estimate import Estimate
from kestrel.sw.planning.geometry import pool_line_words

BOX_WIDTH, BOX_HEIGHT = 186, 84
GAP_X, GAP_Y = 36, 30
MARGIN = 16
UNITS_SHOWN = 16
"""The most kernel units of a row or column that are drawn one by one."""

Place = tuple[int, int]
Point = tuple[float, float]

WIDE: Mapping[str, Place] = {
    "table": (0, 0), "sequencer": (1, 0), "rom": (2, 0), "loader": (3, 0), "sums": (4, 0),
    "image": (0, 1), "features": (1, 1), "window": (2, 1), "array": (3, 1), "accumulator": (4, 1),
    "output": (0, 2), "writer": (1, 2), "pool": (2, 2), "requantise": (3, 2),
}  # fmt: skip
TALL: Mapping[str, Place] = {
    "image": (0, 0), "output": (1, 0), "features": (0, 1), "window": (0, 2), "rom": (1, 2), "array": (0, 3),
    "loader": (1, 3), "accumulator": (0, 4), "sums": (1, 4), "requantise": (0, 5), "sequencer": (1, 5),
    "pool": (0, 6), "table": (1, 6), "writer": (0, 7),
}  # fmt: skip
"""Column and row of each box."""

Link = tuple[str, str, str, str]
COMMON: tuple[Link, ...] = (("rom", "loader", "", ""), ("table", "sequencer", "", ""))
LINKS_WIDE: tuple[Link, ...] = (
    *COMMON, ("image", "features", "", ""), ("features", "window", "", ""), ("window", "array", "", ""),
    ("array", "accumulator", "", ""), ("loader", "array", "", ""), ("sums", "accumulator", "", ""),
    ("accumulator", "requantise", "bottom", "right"), ("requantise", "pool", "", ""),
    ("pool", "writer", "", ""), ("writer", "features", "", ""), ("features", "output", "left", "right"),
)  # fmt: skip
LINKS_TALL: tuple[Link, ...] = (
    *COMMON, ("image", "features", "", ""), ("features", "window", "", ""), ("window", "array", "", ""),
    ("array", "accumulator", "", ""), ("loader", "array", "", ""), ("sums", "accumulator", "", ""),
    ("accumulator", "requantise", "", ""), ("requantise", "pool", "", ""), ("pool", "writer", "", ""),
    ("writer", "features", "left", "left"), ("features", "output", "right", "bottom"),
)  # fmt: skip
"""From, to, and the sides of both where they are not those that face each other."""

BOTH_WAYS = ("sums",)


@dataclass(frozen=True)
class Box:
    """A block: its name, and two lines of numbers. kind: "logic", "memory" or "port", for the colour."""

    name: str
    lines: tuple[str, ...]
    kind: str


def boxes(found: Estimate) -> dict[str, Box]:
    """The boxes of a configuration, by the names that the arrangements have for them."""
    c = found.plan.config
    first, second = c.feature_words
    kilobytes = sum(memory.bits for memory in found.memories if memory.name.startswith("features")) / 8000
    options = [name for name, on in (("shortcuts", c.residual), ("batches", c.batch)) if on]
    rows = ROW_GROUPS if c.row_groups else 1
    masks = f"masks to {c.mask_bits_max} bit{'s' * (c.mask_bits_max > 1)}"
    return {
        "image": Box("image input", (f"{c.stream_bytes} byte{'s' * (c.stream_bytes > 1)} a beat",
                                     "rows, or 2x2 blocks" if c.residual else "rows of pixels"), "port"),
        "features": Box("feature memory", (f"2 parts x {BANKS} banks, {kilobytes:,.0f} kB",
                                           f"{first:,} + {second:,} x {c.word_bits} bits"), "memory"),
        "window": Box("reader, window", (f"3x3 of {c.input_lanes} maps", f"{c.activation_bits}-bit values"),
                      "logic"),
        "array": Box("array", (f"{c.input_lanes} x {c.output_lanes} kernel units",
                               f"{c.macs_per_cycle:,} MAC a cycle"), "logic"),
        "accumulator": Box("accumulator", (f"{c.output_lanes} lanes, {ACCUMULATOR_BITS} bits",
                                           f"up to {c.passes_max} pass{'es' * (c.passes_max > 1)}"), "logic"),
        "sums": Box("partial sums", (f"{c.partial_depth:,} x {c.output_lanes * ACCUMULATOR_BITS} bits",
                                     f"{c.partial_depth * c.output_lanes * ACCUMULATOR_BITS / 8000:,.0f} kB"),
                    "memory"),
        "requantise": Box("requantise", (f"{rows * c.output_lanes} lanes",
                                         f"to {c.activation_bits} bits"
                                         + (", three rows at once" if c.row_groups else "")), "logic"),
        "pool": Box("pool", ("2x2, 3x3 of stride 2" if c.residual else "2x2",
                             f"line of {pool_line_words(c):,} words"), "logic"),
        "writer": Box("writer", (f"words of {c.word_lanes} values",
                                 ", ".join(options) or "one map at a time"), "logic"),
        "output": Box("feature output" if found.top == "engine" else "descriptor unit",
                      (f"{c.word_lanes} values a beat",) if found.top == "engine" else
                      (f"to {c.descriptor_channels} dimensions",
                       f"whitening, {c.whitening_rows} rows" if c.descriptor_whitening else "no whitening"),
                      "port"),
        "rom": Box("weight ROM", (f"{c.weight_words:,} x {c.rom_word_bits} bits",
                                  f"{c.weight_words * c.rom_word_bits / 8000:,.0f} kB"), "memory"),
        "loader": Box("weight loader", (f"{c.load_kernels} kernel{'s' * (c.load_kernels > 1)} a cycle",
                                        masks + (", tables" if c.scalar_tables else "")), "logic"),
        "sequencer": Box("sequencer", ("a visit after the other", "starts every block"), "logic"),
        "table": Box("schedule table", (f"{c.table_words:,} x 32 bits",), "memory"),
    }  # fmt: skip


def drawing(found: Estimate, *, tall: bool = False) -> str:
    """The SVG, with a title and a description for those who do not see it."""
    places, links = (TALL, LINKS_TALL) if tall else (WIDE, LINKS_WIDE)
    known = boxes(found)
    columns, rows = (1 + max(place[n] for place in places.values()) for n in (0, 1))
    width = 2 * MARGIN + columns * BOX_WIDTH + (columns - 1) * GAP_X
    height = 2 * MARGIN + rows * BOX_HEIGHT + (rows - 1) * GAP_Y
    about = "; ".join(f"{box.name}: {', '.join(box.lines)}" for box in known.values())
    name = "tall" if tall else "wide"
    parts = [
        f'<svg class="arch {name}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(f"Architecture of {found.plan.config.name}. {about}", quote=True)}">',
        *(_link(places, link) for link in links),
        *(_box(known[key], _corner(place), key, found) for key, place in places.items()),
        "</svg>",
    ]
    return "\n".join(parts)


def _corner(place: Place) -> Point:
    return (MARGIN + place[0] * (BOX_WIDTH + GAP_X), MARGIN + place[1] * (BOX_HEIGHT + GAP_Y))


def _box(box: Box, corner: Point, key: str, found: Estimate) -> str:
    x, y = corner
    lines = [
        f'<text class="{"name" if number == 0 else "small"}" x="{x + 10}" y="{y + 24 + 20 * number}">'
        f"{escape(text)}</text>"
        for number, text in enumerate((box.name, *box.lines))
    ]
    grid = _units(found, x, y) if key == "array" else ""
    return (f'<g class="{box.kind}"><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7"/>'
            f"{grid}{''.join(lines)}</g>")  # fmt: skip


def _units(found: Estimate, x: float, y: float) -> str:
    """The kernel units in the corner of the array's box, one square each."""
    config = found.plan.config
    shown = min(UNITS_SHOWN, config.output_lanes), min(UNITS_SHOWN, config.input_lanes)
    side = 28 / max(*shown, 4)
    squares = (
        f"M{x + BOX_WIDTH - 8 - (column + 1) * side:.2f} {y + 8 + row * side:.2f}h{side * 0.8:.2f}"
        f"v{side * 0.8:.2f}h{-side * 0.8:.2f}z"
        for column in range(shown[0]) for row in range(shown[1])
    )
    return f'<path class="units" d="{"".join(squares)}"/>'


def _link(places: Mapping[str, Place], link: Link) -> str:
    start, end, leaves, enters = link
    a, b = places[start], places[end]
    if not leaves:
        across = a[1] == b[1]
        leaves, enters = (("right", "left") if a[0] < b[0] else ("left", "right")) if across else (
            ("bottom", "top") if a[1] < b[1] else ("top", "bottom"))
    points = _path(_anchor(a, leaves), _anchor(b, enters), leaves, enters)
    text = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    arrows = 'marker-start="url(#tip)" ' if start in BOTH_WAYS else ""
    return f'<polyline class="wire" {arrows}marker-end="url(#tip)" points="{text}"/>'


def _anchor(place: Place, side: str) -> Point:
    x, y = _corner(place)
    return {
        "left": (x, y + BOX_HEIGHT / 2), "right": (x + BOX_WIDTH, y + BOX_HEIGHT / 2),
        "top": (x + BOX_WIDTH / 2, y), "bottom": (x + BOX_WIDTH / 2, y + BOX_HEIGHT),
    }[side]  # fmt: skip


def _path(a: Point, b: Point, leaves: str, enters: str) -> list[Point]:
    if leaves == enters == "left":  # round the left side
        x = min(a[0], b[0]) - MARGIN / 2 - 2
        return [a, (x, a[1]), (x, b[1]), b]
    if leaves in ("left", "right") and enters in ("left", "right"):
        x = (a[0] + b[0]) / 2
        return [a, b] if a[1] == b[1] else [a, (x, a[1]), (x, b[1]), b]
    if leaves in ("top", "bottom") and enters in ("top", "bottom"):
        return [a, b]
    corner = (a[0], b[1]) if leaves in ("top", "bottom") else (b[0], a[1])
    return [a, corner, b]
