"""Latencies. The Verilog is built from them, and ``kestrel.sw.planning.cycles`` counts with them."""

from kestrel.hw.spec.blocks import COLOURS, pair_words
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.table import HEADER_WORDS_USED, layer_words, visit_words_used
from kestrel.hw.spec.widths import tree_levels

WINDOW_LATENCY = 4
"""Cycles from a column's address to its window."""

UNIT_LATENCY = 2
"""Cycles from a window to a kernel unit's product."""

LEVELS_PER_STAGE = 2
"""Levels of two-input adders between two registers in a lane's tree."""

AFTER_ARRAY = 4
"""Cycles from the array's sums to the write: 1 to accumulate, 2 to requantise, 1 to pool."""

FILL_CYCLES = 4
"""Cycles from a tile's load start to its first beat."""

INPUT_LATENCY = 1
"""Cycles from a visit's last beat to its end."""

OUTPUT_LATENCY = 3
"""Cycles from the address of an output word to its beat; there is one more from the last beat to the
visit's end."""


def visit_fetch(config: EngineConfig) -> int:
    """Cycles from the hand-over of a visit's last pass to the load start of the next visit's first tile."""
    return visit_words_used(config) + 2


def layer_fetch(config: EngineConfig) -> int:
    """Cycles that a new layer adds to ``visit_fetch``."""
    return layer_words(config) + 2


def start_cycles(config: EngineConfig) -> int:
    """Cycles from the start of a frame to the first hand-over."""
    return HEADER_WORDS_USED + 2 + visit_fetch(config) + layer_fetch(config) + 2


def block_input_cycles(config: EngineConfig, height: int, width: int, first_row: int, rows: int) -> int:
    """Cycles of a visit to an image of ``height`` x ``width`` pixels that is stored in blocks, if the stream
    does not pause: ``rows`` rows of blocks from ``first_row`` on, in a batch on into the images that follow.
    Like those of other visits they are counted from the cycle after ``go`` to that of ``ending``.

    Pair i of the visit has b(i) beats and n(i) words. Its last beat is taken max(b(i), n(i - 1)) cycles after
    that of the pair before, and the visit ends n cycles after the last one. In a row of the image all pairs
    have as many words, and all but the last one of an odd width as many beats.
    """
    beats = -(-COLOURS // config.stream_bytes)
    pairs = -(-width // 2)
    last_beats = beats if width % 2 else 2 * beats
    first_beats = last_beats if pairs == 1 else 2 * beats
    cycles = words = 0
    block_rows = -(-height // 2)
    image_rows = [2 * (n % block_rows) + odd for n in range(first_row, first_row + rows) for odd in (0, 1)]
    for row in (n for n in image_rows if n < height):
        cycles += max(first_beats, words)
        words = len(pair_words(config, odd=row % 2 == 1, top=row == 0, last=row == height - 1))
        if pairs > 1:
            cycles += (pairs - 2) * max(2 * beats, words) + max(last_beats, words)
    return cycles + words


def lane_latency(input_lanes: int) -> int:
    """Cycles from a window to an output lane's sum."""
    return UNIT_LATENCY + -(-tree_levels(input_lanes) // LEVELS_PER_STAGE)


def group_latency(config: EngineConfig) -> int:
    """Cycles from a window to the registers before an output lane's sums over row groups."""
    return UNIT_LATENCY + tree_levels(config.group_lanes) // LEVELS_PER_STAGE


def drain_cycles(config: EngineConfig) -> int:
    """Cycles from that in which a pass presents its last address to that of its last write."""
    return WINDOW_LATENCY + lane_latency(config.input_lanes) + AFTER_ARRAY


def bias_hold_cycles(input_lanes: int) -> int:
    """Cycles from the hand-over of a pass that emits to the first cycle in which a bias of a later tile may
    be cut.

    The pass's first pixel swaps the biases at the end of cycle 5 + lane_latency after the hand-over; a bias
    beat writes at the end of the second cycle after it was cut.
    """
    return lane_latency(input_lanes) + 3
