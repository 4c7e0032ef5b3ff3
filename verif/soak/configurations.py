"""Engines and chips that are drawn at random, each from a seed and its number."""

from random import Random

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.engine_config import (
    MASK_BITS_MAX,
    ROW_GROUPS,
    WHITENING_ROWS,
    EngineConfig,
)
from kestrel.hw.spec.widths import ACTIVATION_BITS_MAX, ACTIVATION_BITS_MIN

UNITS_MAX = 32
"""Kernel units of an engine that is drawn: larger ones build and run slowly."""

LANES_MAX = 16


def drawn_engine(seed: int, number: int) -> EngineConfig:
    """Engine ``number`` of ``seed``: any lanes up to UNITS_MAX kernel units, any options, and memories that
    hold maps of tens of thousands of pixels."""
    source = Random(f"engine {seed} {number}")
    fewer = source.choice((1, 1, 2, 3, 4))
    factors = range(1, min(LANES_MAX // fewer, UNITS_MAX // fewer**2) + 1)
    lanes = fewer, fewer * max(source.choice(factors), source.choice(factors))
    input_lanes, output_lanes = lanes if source.random() < 0.7 else lanes[::-1]
    mask_bits_max = source.choice((*MASK_BITS_MAX, max(MASK_BITS_MAX)))
    width = source.randint(64, 160)
    return EngineConfig(
        name=f"drawn-{number}",
        input_lanes=input_lanes,
        output_lanes=output_lanes,
        activation_bits=source.randint(ACTIVATION_BITS_MIN, ACTIVATION_BITS_MAX),
        load_kernels=source.choice([n for n in range(1, input_lanes + 1) if input_lanes % n == 0]),
        partial_depth=source.randint(width, 4 * width),
        max_width=width,
        feature_words=(source.randint(20000, 40000), source.randint(20000, 40000)),
        weight_words=65536,
        table_words=8192,
        stream_bytes=source.randint(1, max(lanes)),
        row_groups=input_lanes >= ROW_GROUPS and source.random() < 0.6,
        mask_bits_max=mask_bits_max,
        whitening_rows=source.choice(WHITENING_ROWS),
        residual=mask_bits_max > 1 and source.random() < 0.5,
        batch=source.random() < 0.3,
        scalar_tables=source.random() < 0.3,
    )


def drawn_chip(seed: int, number: int) -> ChipConfig:
    """A chip with the lanes and options of that engine, small memories for short frames, and in half of the
    draws a descriptor unit and a self-check at start-up."""
    source = Random(f"chip {seed} {number}")
    engine = drawn_engine(seed, number).with_options(
        partial_depth=64, max_width=40, feature_words=(1200, 1200), weight_words=4096, table_words=1024
    )
    unit = DescriptorConfig(16, 1024, matrix_rows=engine.whitening_rows)
    return ChipConfig(engine, unit if source.random() < 0.5 else None, startup_check=source.random() < 0.5)
