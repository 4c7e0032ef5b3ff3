"""Runs the bench of one block of the engine."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from amaranth.lib import wiring

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.verif.build.rtl import block_sources
from kestrel.verif.build.verilator import Results, build_cocotb, run_cocotb

CONFIG_VARIABLE = "KESTREL_CONFIG"
BLOCK_VARIABLE = "KESTREL_BLOCK"


def block_config(
    input_lanes: int,
    output_lanes: int,
    activation_bits: int,
    load_kernels: int = 1,
    *,
    partial_depth: int = 64,
    max_width: int = 16,
    row_groups: bool = False,
    residual: bool = False,
    batch: bool = False,
    scalar_tables: bool = False,
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
        feature_words=(300, 300),  # no power of two: every bit of an address counts, not only of an end
        weight_words=256,
        table_words=256,
        stream_bytes=1,
        row_groups=row_groups,
        residual=residual,
        batch=batch,
        scalar_tables=scalar_tables,
        mask_bits_max=mask_bits_max,
    )


def config_label(config: EngineConfig) -> str:
    """What tells configurations of ``block_config`` apart, for a test's name."""
    return (
        f"{config.input_lanes}x{config.output_lanes}-a{config.activation_bits}-k{config.load_kernels}"
        f"-w{config.max_width}-b{config.mask_bits_max}{'-rows' * config.row_groups}"
        f"{'-residual' * config.residual}{'-batch' * config.batch}{'-tables' * config.scalar_tables}"
    )


def block_maker(block: str) -> Callable[[EngineConfig], wiring.Component]:
    """``make`` of a block's folder in ``kestrel.verif.blocks``: ``memory.reader``."""
    return import_module(f"kestrel.verif.blocks.{block}").make


def sources_of(block: str, config: EngineConfig) -> list[Path]:
    """Verilog of a block and of everything placed in it, the block last."""
    return block_sources(block_maker(block), config)


def bench_settings(block: str, config: EngineConfig) -> dict[str, str]:
    """Environment variables that tell a bench which block it has before it."""
    return {BLOCK_VARIABLE: block, CONFIG_VARIABLE: json.dumps(asdict(config))}


def run_block(
    block: str, config: EngineConfig, workdir: Path, seed: int, sources: Sequence[Path] | None = None,
    bench: str = "bench", *, coverage: bool = False, timeout: float = 300,
) -> Results:  # fmt: skip
    """Builds ``block``, named as its folder in ``kestrel.verif.blocks`` (``memory.reader``), or ``sources``,
    a changed copy of its files, and runs the module ``bench`` in that folder. With ``coverage`` the run
    leaves ``COVERAGE_FILE`` in ``workdir``. Raises BenchFailed, also after ``timeout`` seconds.
    """
    files = sources_of(block, config) if sources is None else sources
    top = files[-1].stem
    build = build_cocotb(files, top, optimise=0, coverage=coverage)
    module = f"kestrel.verif.blocks.{block}.{bench}"
    return run_cocotb(build, top, module, workdir, bench_settings(block, config), seed, timeout=timeout)
