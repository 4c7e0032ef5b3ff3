"""Outputs that are looked at in some cycles only, as the blocks' docstrings say."""

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
}  # fmt: skip


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
