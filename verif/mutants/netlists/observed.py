"""Outputs that are looked at in some cycles only, as the blocks' docstrings say."""

from collections.abc import Callable, Mapping

from amaranth.lib import data

from kestrel.hw.common.weight_buses import bias_bus, kernel_bus, pad_bus
from kestrel.hw.memory.feature_memory import feature_write
from kestrel.hw.spec.engine_config import EngineConfig

_STREAMS = (("_tvalid", ("_tdata", "_tkeep", "_tlast")), ("__valid", ("__payload",)))
"""What a stream carries counts where it is valid."""

_MEMORIES = ((".wen", (".waddr", ".wdata")), (".ren", (".raddr",)))
"""An address counts with a read or a write, a word with a write."""

_OF_BLOCKS: dict[str, dict[str, tuple[str, ...]]] = {
    # What a read gives that is refused is told by nobody.
    "chip.register_file": {"!read_fault": ("rdata",)},
    "chip.axi_lite": {
        "s_axil_bvalid": ("s_axil_bresp",), "s_axil_rvalid": ("s_axil_rdata", "s_axil_rresp"),
        "write": ("waddr", "wdata", "wstrb"),
    },
    "chip.rom_check": {"identified": ("identity",)},
    "control.sequencer": {"table_en": ("table_addr",), "go": ("visit", "tile")},
    "descriptor.output": {"tvalid": ("tdata", "tlast"), "read": ("read_index",)},
    "descriptor.whitening": {"row_valid": ("row", "row_index")},
}  # fmt: skip


_WRITE = {"write": (feature_write, "en")}
_STRUCTURES: dict[str, dict[str, tuple[Callable[[EngineConfig], data.StructLayout], str]]] = {
    "memory.block_input": _WRITE, "memory.image_input": _WRITE, "memory.writer": _WRITE,
    "memory.weight_loader": {
        "pads": (pad_bus, "block"), "kernels": (kernel_bus, "block"), "biases": (bias_bus, "block"),
    },
}  # fmt: skip
"""Of a block's outputs, the layout and the field that says, where it is not 0, that the others count."""


def enables_of(block: str, config: EngineConfig) -> Mapping[str, tuple[int, int]]:
    """The first and the last bit of that field, of the block's outputs that have one."""
    found: dict[str, tuple[int, int]] = {}
    for name, (layout, enable) in _STRUCTURES.get(block, {}).items():
        field = layout(config)[enable]
        found[name] = field.offset, field.offset + field.width - 1
    return found


def condition_of(block: str, output: str) -> str | None:
    """The output of the block, or its bit (``result[0]``), that is 1 where ``output`` is looked at, or with
    ``!`` before it 0; None if it always is."""
    for condition, outputs in _OF_BLOCKS.get(block, {}).items():
        if output in outputs:
            return condition
    for condition, outputs in (*_STREAMS, *_MEMORIES):
        for ending in outputs:
            if output.endswith(ending):
                return output.removesuffix(ending) + condition
    return None
