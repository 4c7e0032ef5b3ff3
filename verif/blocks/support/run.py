"""Runs the bench of one block of the engine."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.verif.build.rtl import block_sources
from kestrel.verif.build.verilator import Results, build_cocotb, run_cocotb

CONFIG_VARIABLE = "KESTREL_CONFIG"


def block_config(
    input_lanes: int,
    output_lanes: int,
    activation_bits: int,
    load_kernels: int = 1,
    *,
    partial_depth: int = 64,
    max_width: int = 16,
    row_groups: bool = False,
    mask_bits_max: int = max(MASK_BITS),
) -> EngineConfig:
    """A configuration for benches of blocks: small memories."""
    return EngineConfig(
        name="bench",
        input_lanes=input_lanes,
        output_lanes=output_lanes,
        activation_bits=activation_bits,
        load_kernels=load_kernels,
        partial_depth=partial_depth,
        max_width=max_width,
        feature_words=(256, 256),
        weight_words=256,
        table_words=256,
        stream_bytes=1,
        row_groups=row_groups,
        mask_bits_max=mask_bits_max,
    )


def config_label(config: EngineConfig) -> str:
    """What tells configurations of ``block_config`` apart, for a test's name."""
    return (
        f"{config.input_lanes}x{config.output_lanes}-a{config.activation_bits}-k{config.load_kernels}"
        f"-w{config.max_width}-b{config.mask_bits_max}{'-rows' * config.row_groups}"
    )


def block_name(block: str) -> str:
    """The name of a block's Verilog module, without the prefix: ``reader`` for ``memory.reader``."""
    room, _, name = block.partition(".")
    if room == "descriptor":
        return f"descriptor_{name}"
    return name


def run_block(
    block: str, config: EngineConfig, workdir: Path, seed: int, sources: Sequence[Path] | None = None
) -> Results:
    """Builds ``block``, named as its folder in ``kestrel.verif.blocks`` (``memory.reader``), or ``sources``,
    a changed copy of its files, and runs the bench in that folder. Raises BenchFailed.
    """
    name = block_name(block)
    top = PREFIX + name
    build = build_cocotb(block_sources(name, config) if sources is None else sources, top, optimise=0)
    settings = {CONFIG_VARIABLE: json.dumps(asdict(config))}
    return run_cocotb(build, top, f"kestrel.verif.blocks.{block}.bench", workdir, settings, seed, timeout=300)
