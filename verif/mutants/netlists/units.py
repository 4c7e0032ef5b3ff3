"""Blocks whose netlists are mutated, with configurations and benches in which their tests run them."""

from dataclasses import dataclass, replace

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.verif.blocks.support.run import block_config, config_label


@dataclass(frozen=True)
class Unit:
    """A block, named as its folder in ``verif/blocks``, in one configuration, and the benches there."""

    block: str
    config: EngineConfig
    benches: tuple[str, ...] = ("bench",)

    @property
    def label(self) -> str:
        """What tells the configuration from the block's others."""
        return config_label(self.config)

    @property
    def modules(self) -> tuple[str, str]:
        """What the block's module is called in Verilog: one of them."""
        room, _, name = self.block.rpartition(".")
        return PREFIX + name, f"{PREFIX}{room}_{name}"


_ANY = block_config(1, 1, 4)
_DESCRIPTOR = (block_config(2, 2, 8), replace(block_config(2, 2, 8, max_width=12), whitening_rows=8))
_SEVERAL = replace(block_config(2, 2, 8, max_width=8), descriptor_maps=3)
_BLOCKS = replace(block_config(1, 1, 5, max_width=7, residual=True), feature_words=(1024, 1024))
_ROWS = block_config(6, 2, 6, max_width=8, row_groups=True)


def _roomy(config: EngineConfig) -> EngineConfig:
    return replace(config, feature_words=(1024, 1024), weight_words=2048, table_words=1024)


_CONFIGS: dict[str, tuple[EngineConfig, ...]] = {
    "chip.axi_lite": (_ANY,),
    "chip.byte_packer": (_ANY, block_config(3, 3, 5)),
    "chip.control": (_ANY,),
    "chip.control_checked": (_ANY,),
    "chip.register_file": (_ANY,),
    "chip.rom_check": (_ANY, replace(block_config(6, 3, 5, 2), descriptor_words=256)),
    "chip.stream_input": (_ANY, replace(block_config(3, 3, 4), stream_bytes=3)),
    "chip.stream_output": (_ANY, block_config(3, 3, 5)),
    "chip.table_watch": (
        _ANY,
        replace(block_config(2, 4, 8, residual=True), feature_words=(128, 96), table_words=192),
        replace(block_config(3, 3, 5, residual=True, batch=True), feature_words=(64, 300)),
    ),
    "common.isqrt": _DESCRIPTOR[:1],
    "compute.accumulator": (
        block_config(1, 2, 4, partial_depth=5, max_width=5), block_config(2, 4, 8),
        block_config(3, 3, 5, mask_bits_max=1), block_config(2, 2, 5, residual=True),
    ),
    "compute.accumulator_lane": (
        _ANY, block_config(16, 1, 8), block_config(4, 1, 8, mask_bits_max=3),
    ),
    "compute.array": (
        block_config(2, 4, 4, 2), block_config(4, 4, 8, 2, row_groups=True),
        block_config(12, 3, 5, 3, row_groups=True), block_config(4, 2, 5, 2, mask_bits_max=1),
    ),
    "compute.digit_decoder": tuple(block_config(1, 1, 8, mask_bits_max=bits) for bits in (5, 3, 2, 1)),
    "compute.kernel_decoder": (
        *(block_config(1, 1, 8, mask_bits_max=bits) for bits in (5, 3, 1)),
        block_config(1, 1, 8, mask_bits_max=2, residual=True),
        block_config(1, 1, 8, mask_bits_max=5, residual=True, scalar_tables=True),
    ),
    "compute.kernel_unit": tuple(
        block_config(1, 1, a, mask_bits_max=bits) for a, bits in ((4, 5), (8, 3), (8, 2), (5, 1))
    ),
    "compute.output_lane": (
        block_config(3, 1, 5, 3), block_config(7, 1, 8, row_groups=True),
        block_config(12, 1, 8, row_groups=True), block_config(4, 1, 8, 2, mask_bits_max=1),
    ),
    "compute.pool": (
        block_config(3, 3, 5, max_width=5), block_config(3, 6, 8, row_groups=True),
        block_config(1, 1, 4, max_width=3, residual=True), block_config(2, 4, 8, residual=True),
    ),
    "compute.pool_lane": (_ANY, block_config(1, 1, 5, residual=True)),
    "compute.requantise": (
        block_config(1, 1, 8), block_config(4, 2, 4, 4), block_config(6, 3, 8, 2, row_groups=True),
        block_config(2, 2, 5, residual=True),
    ),
    "compute.requantise_lane": (
        _ANY, block_config(1, 1, 8), block_config(3, 1, 4, row_groups=True),
        block_config(16, 1, 8, row_groups=True),
    ),
    "compute.window": (
        block_config(1, 1, 4, max_width=5), block_config(6, 3, 5, load_kernels=3, max_width=8),
        block_config(8, 4, 8, load_kernels=2, max_width=8, row_groups=True),
        block_config(2, 4, 5, max_width=8, residual=True),
    ),
    "control.counters": (_ANY,),
    "control.sequencer": tuple(
        map(
            _roomy,
            (
                block_config(2, 6, 6, max_width=8, mask_bits_max=3),
                block_config(4, 4, 8, max_width=8, row_groups=True),
                block_config(2, 4, 8, residual=True),
                block_config(4, 4, 8, max_width=8, row_groups=True, scalar_tables=True),
            ),
        )
    ),
    "control.tile_counter": (
        block_config(4, 2, 8), block_config(2, 6, 8, residual=True),
        block_config(6, 2, 8, residual=True, mask_bits_max=3),
    ),
    "descriptor.header": (*_DESCRIPTOR, _SEVERAL),
    "descriptor.multiply": _DESCRIPTOR[:1],
    "descriptor.output": _DESCRIPTOR[:1],
    "descriptor.reciprocal": _DESCRIPTOR[:1],
    "descriptor.rows": _DESCRIPTOR,
    "descriptor.squares": (block_config(1, 1, 4, max_width=8), block_config(3, 3, 5)),
    "descriptor.vectors": (_DESCRIPTOR[0], _SEVERAL),
    "descriptor.whitening": _DESCRIPTOR,
    "memory.block_input": (
        replace(_BLOCKS, input_lanes=16, output_lanes=8, stream_bytes=2, activation_bits=8),
        replace(_BLOCKS, input_lanes=3, output_lanes=9, row_groups=True),
        replace(_BLOCKS, input_lanes=4, output_lanes=2, stream_bytes=4, batch=True),
    ),
    "memory.feature_memory": (
        replace(_ANY, feature_words=(2, 9)), block_config(3, 6, 5, row_groups=True),
        block_config(2, 2, 5, residual=True),
    ),
    "memory.feature_output": (block_config(1, 1, 4, max_width=4), block_config(6, 3, 5, max_width=8)),
    "memory.image_input": (
        replace(block_config(4, 2, 8, max_width=8), stream_bytes=3), replace(_ROWS, stream_bytes=2),
        replace(block_config(4, 2, 8, max_width=8, residual=True), stream_bytes=3),
    ),
    "memory.raster": (block_config(1, 1, 4, max_width=8), block_config(3, 3, 5, row_groups=True)),
    "memory.reader": (
        block_config(2, 6, 8, max_width=16), block_config(4, 4, 5, row_groups=True),
        block_config(2, 6, 8, residual=True),
        block_config(6, 3, 5, load_kernels=3, residual=True, row_groups=True, batch=True),
    ),
    "memory.writer": (
        block_config(6, 2, 5, max_width=8), block_config(3, 6, 8, max_width=8, row_groups=True),
        block_config(2, 4, 8, max_width=8, residual=True),
    ),
    "descriptor.unit": (block_config(2, 2, 8, max_width=12), _SEVERAL),
    "board.host_bridge": (block_config(2, 2, 8),),
}  # fmt: skip

_LOADERS = {
    ("bench",): (
        block_config(6, 3, 8, 3), block_config(3, 3, 8, 3, mask_bits_max=2),
        block_config(4, 2, 8, 2, mask_bits_max=1),
    ),
    ("bench", "residual_bench"): (
        block_config(2, 4, 8, 2, residual=True), block_config(3, 3, 8, 1, residual=True, mask_bits_max=2),
    ),
    ("tables_bench",): (
        block_config(4, 2, 8, 4, scalar_tables=True),
        block_config(6, 3, 8, 3, residual=True, scalar_tables=True, mask_bits_max=3),
    ),
}  # fmt: skip

UNITS: tuple[Unit, ...] = (
    *(Unit(block, config) for block, configs in _CONFIGS.items() for config in configs),
    *(
        Unit("memory.weight_loader", replace(config, weight_words=2048), benches)
        for benches, configs in _LOADERS.items()
        for config in configs
    ),
)
"""Each configuration of a block once. Modules without a bench of their own are mutated within the block that
places them; what the engine and the chip wire up is looked at by frames alone."""

BLOCKS: tuple[str, ...] = tuple(dict.fromkeys(unit.block for unit in UNITS))
