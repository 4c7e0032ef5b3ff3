"""Measures what ``kestrel estimate`` interpolates between: the blocks of a few engines, each on its own.

    python bench/estimate_tables.py --liberty nangate45_typ.lib.gz [--only NAME,NAME]

yosys synthesises every block of the core for NanGate45 (sized for ``--period``) and for ECP5, with the blocks
inside it left out: the core's own row is what joins its blocks. Then the core is synthesised in one piece
round the output lanes, as ``bench/synthesis.py`` does it. No estimate is fitted to the engines that are
``HELD_OUT``: the tests hold the stated error to them. Writes ``sw/estimate/measured.json`` after every
block, and begins with what is there: a stopped run goes on where it stopped. ``--fresh`` begins anew.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.common.files import atomic_write
from kestrel.verif.physical.synthesis import (
    BOXED,
    ecp5_cells,
    register_ns,
    standard_cells,
    unpack_liberty,
    write_sources,
    yosys_available,
)

OUTPUT = Path(__file__).resolve().parents[1] / "sw" / "estimate" / "measured.json"
WORK = Path("build/bench/estimate")

CORE_BLOCKS = (
    "image_input", "block_input", "feature_memory", "reader", "window", "array", "accumulator", "requantise",
    "pool", "writer", "feature_output", "weight_loader", "sequencer", "counters",
)  # fmt: skip
"""What the core places; ``block_input`` is there with ``residual`` only."""

BOXES = {"output_lane": ("kernel_unit",), "array": ("output_lane",), "core": CORE_BLOCKS}
UNITS = ("kernel_unit", "output_lane", *CORE_BLOCKS, "core")
CHIP = {"descriptor_unit": (), "top": ("core", "descriptor_unit")}
"""What stands beside the core; ``top`` without core and descriptor unit."""
WHOLE = "whole"
"""The core in one piece round the output lanes: what its blocks take together."""


def engine(name: str, base: str, **options: object) -> EngineConfig:
    return NAMED[base].with_options(name=name, **options)


def lanes(inputs: int, outputs: int, load: int, **options: object) -> dict[str, object]:
    return {"input_lanes": inputs, "output_lanes": outputs, "load_kernels": load,
            "stream_bytes": min(4, max(inputs, outputs)), **options}


FITTED = (
    NAMED["nano"],
    NAMED["edge"],
    engine("8x8-rows", "edge", **lanes(8, 8, 4, row_groups=True)),
    engine("4x4-narrow-residual", "edge",
           **lanes(4, 4, 2, activation_bits=5, mask_bits_max=3, residual=True)),
    engine("8x16-all", "edge",
           **lanes(8, 16, 8, residual=True, batch=True, scalar_tables=True, mask_bits_max=3)),
)
"""The engines that the estimate is fitted to; they differ in lanes, widths and options."""

WITH_CHIP = ("nano", "edge", "8x8-rows", "4x4-narrow-residual")
"""Those of which what stands beside the core is measured too; it depends on little."""

HELD_OUT = (
    engine("held-8x8-residual", "edge", **lanes(8, 8, 4, residual=True)),
    engine("held-4x8-tables-batch", "edge", **lanes(4, 8, 4, scalar_tables=True, batch=True)),
    engine("held-16x16-rows", "edge", row_groups=True),
)

WHITENING = engine("descriptor-16", "nano", whitening_rows=16)
"""Of this one the descriptor unit alone is measured."""

KERNEL_UNITS = tuple((masks, width) for masks in (1, 2, 3, 5) for width in (4, 5, 6, 8))
"""Mask widths and activation bits at which the kernel unit, most of every engine, is measured alone."""

Row = dict[str, object]


class Tables:
    """measured.json, saved after every block."""

    def __init__(self, path: Path, liberty: Path, period_ns: float, fresh: bool) -> None:
        self.path, self.liberty, self.period_ns = path, liberty, period_ns
        self.content: dict[str, object] = {
            "yosys": version("pyosys"), "library": liberty.stem, "period_ns": period_ns,
            "register_ns": register_ns(liberty, "DFF_X1"),
        }  # fmt: skip
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not fresh else {}
        for key, value in self.content.items():
            if known and known.get(key) != value:
                raise SystemExit(f"{path}: measured with {key} = {known.get(key)}, now {value}; use --fresh")
        self.engines: dict[str, dict[str, object]] = known.get("engines", {})
        self.content["engines"] = self.engines

    def blocks(self, config: EngineConfig, held_out: bool) -> dict[str, Row]:
        """The rows of one engine, to be filled in; those of another configuration by its name are dropped."""
        wanted = json.loads(json.dumps(asdict(config)))
        entry = self.engines.get(config.name)
        if entry is None or entry["config"] != wanted:
            entry = self.engines[config.name] = {"config": wanted, "held_out": held_out, "blocks": {}}
        blocks = entry["blocks"]
        assert isinstance(blocks, dict)
        return blocks

    def measure(self, folder: Path, block: str, boxed: tuple[str, ...]) -> Row:
        """One block without what is boxed."""
        module = "core" if block == WHOLE else block
        asic = standard_cells(folder, module, self.liberty, self.period_ns, boxed=boxed)
        fpga = ecp5_cells(folder, module, boxed=boxed)
        inner = {name: n for name in boxed if (n := asic.cells.get(PREFIX + name, 0))}
        return {
            "area": asic.area, "area_before_sizing": asic.area_before_sizing, "flip_flops": asic.flip_flops,
            "path_ns": asic.path_ns, "lut4": fpga.lut4, "carry": fpga.carry,
            "fpga_flip_flops": fpga.flip_flops, "dsp": fpga.dsp, "boxed": inner,
        }  # fmt: skip

    def save(self) -> None:
        text = json.dumps(self.content, indent=1)
        with atomic_write(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def jobs(names: set[str]) -> Iterator[tuple[EngineConfig, bool, list[tuple[str, tuple[str, ...]]]]]:
    """Every engine with whether it is held out, and its blocks, each with what is left out of it."""
    units = [engine(f"unit-{masks}-{width}", "nano", mask_bits_max=masks, activation_bits=width)
             for masks, width in KERNEL_UNITS]
    order = [FITTED[0], *units, *FITTED[1:], *HELD_OUT, WHITENING]
    for config in order:
        if names and config.name not in names:
            continue
        if config in units:
            yield config, False, [("kernel_unit", ())]
            continue
        if config is WHITENING:
            yield config, False, [("descriptor_unit", ())]
            continue
        held_out = config in HELD_OUT
        inner = UNITS[:2] if held_out else UNITS
        blocks = [(name, BOXES.get(name, ())) for name in inner if name != "block_input" or config.residual]
        if config.name in WITH_CHIP:
            blocks += CHIP.items()
        yield config, held_out, [*blocks, (WHOLE, BOXED["core"])]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--liberty", type=Path, default=os.environ.get("KESTREL_LIBERTY"), help="library, .lib or .lib.gz")
    add("--period", type=float, default=2.5, help="clock period in ns that gates are sized for")
    add("--only", default="", metavar="A,B", help="names of engines (default: all)")
    add("--fresh", action="store_true", help="forget what was measured before")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if not yosys_available() or not arguments.liberty:
        print("nothing measured: yosys (kestrel-engine[synthesis]) and --liberty are needed", file=sys.stderr)
        return 2
    liberty = unpack_liberty(arguments.liberty, WORK)
    tables = Tables(arguments.output, liberty, arguments.period, arguments.fresh)
    for config, held_out, blocks in jobs(set(arguments.only.split(",")) - {""}):
        rows = tables.blocks(config, held_out)
        missing = [(block, boxed) for block, boxed in blocks if block not in rows]
        if missing:
            write_sources(config, WORK / config.name)
        for block, boxed in missing:
            start = time.perf_counter()
            rows[block] = tables.measure(WORK / config.name, block, boxed)
            tables.save()
            print(f"{config.name} {block}: {rows[block]} ({time.perf_counter() - start:.0f} s)", flush=True)
    print(f"{arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
