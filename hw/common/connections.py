"""Interfaces between blocks, and how they are joined.

A block's Verilog ports have plain names, ``s_axis_tdata``; members of an interface are those with a common
prefix. The signatures here are those of the side that drives: a stream's source, a ROM's reader.
"""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, visit_layout
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.status import ERROR_BITS

EitherSide = wiring.Signature | wiring.FlippedSignature
"""A signature as seen from the driving side, or from the other one."""


def stream(bits: int, keep: int = 0) -> wiring.Signature:
    """AXI4-Stream of ``bits`` data bits; with ``keep`` so many bits of TKEEP."""
    return wiring.Signature(
        {"tdata": Out(bits)}
        | ({"tkeep": Out(keep)} if keep else {})
        | {"tlast": Out(1), "tvalid": Out(1), "tready": In(1)}
    )


def rom_reader(address_bits: int, word_bits: int) -> wiring.Signature:
    """Port of a ROM: ``data`` come in the cycle after ``en`` and ``addr`` and stay until the next read."""
    return wiring.Signature({"en": Out(1), "addr": Out(address_bits), "data": In(word_bits)})


def output_visit(config: EngineConfig, banks: int) -> wiring.Signature:
    """How the core hands visits of kind output to a unit beside the feature output.

    chosen : In(1)         the unit takes them; must not change while the core is busy
    go : Out(1)            one cycle, with ``visit``; ``layer`` stays until ``ending``
    banks : Out(3 x word)  the feature memory's words, one cycle after ``read_en`` and ``address``, which is
                           that of every bank
    active, ending, error : In   at work; one cycle at a good end, or instead of it a cause (ERRORS)
    """
    return wiring.Signature(
        {
            "chosen": In(1),
            "go": Out(1),
            "visit": Out(visit_layout(config)),
            "layer": Out(layer_layout(config)),
            "banks": Out(data.ArrayLayout(config.word_bits, banks)),
            "active": In(1),
            "ending": In(1),
            "error": In(ERROR_BITS),
            "read_en": In(1),
            "address": In(feature_address_bits(config)),
        }
    )


def ports(prefix: str, signature: EitherSide) -> dict[str, wiring.Member]:
    """Members of a component that are the interface ``signature``, their names starting with ``prefix``."""
    return {prefix + name: member for name, member in signature.members.items()}


class Interface:
    """The members PREFIX... of a component as an interface with a signature, for ``wiring.connect``."""

    def __init__(self, component: Any, prefix: str, signature: EitherSide) -> None:
        self.signature = signature
        for name in signature.members:
            setattr(self, name, getattr(component, prefix + name))


def join(m: Module, signature: wiring.Signature, source: tuple[Any, str], sink: tuple[Any, str]) -> None:
    """Connect the interface ``signature`` of ``source``, a component and the prefix of its members' names, to
    that of ``sink``. A component's own port counts as what lies outside: its image input is a source."""
    wiring.connect(m, Interface(*source, signature), Interface(*sink, signature.flip()))


def feed(m: Module, block: wiring.Component, **values: Any) -> None:
    """Drive inputs of ``block``, by name. Raises ValueError for a name that is not one of an input."""
    for name, value in values.items():
        members = block.signature.members
        if name not in members or members[name].flow != In:
            raise ValueError(f"{type(block).__name__} has no input {name}")
        m.d.comb += getattr(block, name).eq(value)
