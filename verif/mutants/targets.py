"""Which bench looks at which module of the hardware."""

from dataclasses import dataclass

_BLOCKS = "tests/verif/blocks/test_"
_CHIP = f"{_BLOCKS}chip_blocks.py"


@dataclass(frozen=True)
class Target:
    """A module of the hardware. blocks: the blocks made from it, by their folders in ``verif/blocks``; bench:
    the tests of these blocks; words: which of the tests, as pytest's ``-k`` has it."""

    blocks: tuple[str, ...]
    bench: str
    words: str = ""


TARGETS: dict[str, Target] = {
    "chip/axi_lite.py": Target(("chip.axi_lite",), _CHIP, "axi_lite"),
    "chip/byte_packer.py": Target(("chip.byte_packer",), _CHIP, "byte_packer"),
    "chip/control.py": Target(("chip.control", "chip.control_checked"), _CHIP, "control"),
    "chip/crc.py": Target(("chip.rom_check",), _CHIP, "self_check"),
    "chip/register_file.py": Target(("chip.register_file",), _CHIP, "register_file"),
    "chip/rom_check.py": Target(("chip.rom_check",), _CHIP, "self_check"),
    "chip/stream_input.py": Target(("chip.stream_input",), _CHIP, "test_input"),
    "chip/stream_output.py": Target(("chip.stream_output",), _CHIP, "stream_output"),
    "chip/table_watch.py": Target(("chip.table_watch",), _CHIP, "table_watch"),
    "common/isqrt.py": Target(("common.isqrt",), f"{_BLOCKS}descriptor.py", "isqrt"),
    "common/register_slice.py": Target(
        ("chip.stream_input", "chip.stream_output"), _CHIP, "test_input or stream_output"
    ),
    "compute/accumulator.py": Target(
        ("compute.accumulator_lane", "compute.accumulator"), f"{_BLOCKS}accumulator.py"
    ),
    "compute/array.py": Target(("compute.array",), f"{_BLOCKS}array.py"),
    "compute/kernel_decoder.py": Target(
        ("compute.digit_decoder", "compute.kernel_decoder"), f"{_BLOCKS}kernel_decoder.py"
    ),
    "compute/kernel_unit.py": Target(("compute.kernel_unit",), f"{_BLOCKS}kernel_unit.py"),
    "compute/output_lane.py": Target(("compute.output_lane",), f"{_BLOCKS}output_lane.py"),
    "compute/pool.py": Target(("compute.pool_lane", "compute.pool"), f"{_BLOCKS}pool.py"),
    "compute/requantise.py": Target(
        ("compute.requantise_lane", "compute.requantise"), f"{_BLOCKS}requantise.py"
    ),
    "compute/window.py": Target(("compute.window",), f"{_BLOCKS}window.py"),
    "control/counters.py": Target(("control.counters",), f"{_BLOCKS}counters.py", "equal_their_model"),
    "control/sequencer.py": Target(("control.sequencer",), f"{_BLOCKS}sequencer.py"),
    "control/tile_counter.py": Target(("control.tile_counter",), f"{_BLOCKS}tile_counter.py"),
    "descriptor/header.py": Target(("descriptor.header",), f"{_BLOCKS}descriptor.py", "header"),
    "descriptor/multiply.py": Target(("descriptor.multiply",), f"{_BLOCKS}descriptor.py", "multiply"),
    "descriptor/output.py": Target(("descriptor.output",), f"{_BLOCKS}descriptor.py", "output"),
    "descriptor/reciprocal.py": Target(("descriptor.reciprocal",), f"{_BLOCKS}descriptor.py", "reciprocal"),
    "descriptor/rows.py": Target(("descriptor.rows",), f"{_BLOCKS}descriptor.py", "rows"),
    "descriptor/squares.py": Target(("descriptor.squares",), f"{_BLOCKS}descriptor.py", "squares"),
    "descriptor/vectors.py": Target(("descriptor.vectors",), f"{_BLOCKS}descriptor.py", "vectors"),
    "descriptor/whitening.py": Target(("descriptor.whitening",), f"{_BLOCKS}descriptor.py", "whitening"),
    "memory/block_input.py": Target(("memory.block_input",), f"{_BLOCKS}block_input.py"),
    "memory/feature_memory.py": Target(("memory.feature_memory",), f"{_BLOCKS}feature_memory.py"),
    "memory/feature_output.py": Target(("memory.feature_output",), f"{_BLOCKS}feature_output.py"),
    "memory/image_input.py": Target(("memory.image_input",), f"{_BLOCKS}image_input.py"),
    "memory/raster.py": Target(("memory.raster",), f"{_BLOCKS}raster.py"),
    "memory/reader.py": Target(("memory.reader",), f"{_BLOCKS}reader.py"),
    "memory/weight_loader.py": Target(("memory.weight_loader",), f"{_BLOCKS}weight_loader.py"),
    "memory/writer.py": Target(("memory.writer",), f"{_BLOCKS}writer.py"),
}
"""By the path in ``hw/``. Modules without a bench of their own are not mutated: what they do is looked at
only within the engine and the chip."""
