"""What the units that take the image's stream have in common: rounding, and how a frame ends."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from kestrel.hw.common.handover import layer_layout, visit_layout
from kestrel.hw.memory.feature_memory import feature_write
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.status import ERROR_BITS, ERROR_FRAME_LONG, ERROR_FRAME_SHORT
from kestrel.hw.spec.widths import ACTIVATION_BITS_MAX, ACTIVATION_BITS_MIN, PIXEL_BITS


def image_ports(config: EngineConfig) -> dict[str, Member]:
    """The members of ``ImageInput`` and of ``BlockInput``."""
    return {
        "go": In(1),
        "visit": In(visit_layout(config)),
        "layer": In(layer_layout(config)),
        "activation_bits": In(4),
        "active": Out(1),
        "ending": Out(1),
        "error": Out(ERROR_BITS),
        "tdata": In(PIXEL_BITS * config.stream_bytes),
        "tvalid": In(1),
        "tlast": In(1),
        "tready": Out(1),
        "write": Out(feature_write(config)),
    }


def rounded_bytes(m: Module, config: EngineConfig, tdata: Signal, activation_bits: Signal) -> list[Signal]:
    """x = min((p + 2**(7 - A)) >> (8 - A), 2**A - 1) for every byte p of a beat."""
    a = config.activation_bits
    values = []
    for byte in range(config.stream_bytes):
        pixel = tdata.word_select(byte, PIXEL_BITS)
        value = Signal(a, name=f"value_{byte}")
        with m.Switch(activation_bits):
            for bits in range(ACTIVATION_BITS_MIN, min(a, ACTIVATION_BITS_MAX - 1) + 1):
                with m.Case(bits):
                    rounded = (pixel + (1 << (PIXEL_BITS - 1 - bits))) >> (PIXEL_BITS - bits)
                    m.d.comb += value.eq(Mux(rounded[bits], (1 << bits) - 1, rounded))
            if a == ACTIVATION_BITS_MAX:
                with m.Default():
                    m.d.comb += value.eq(pixel)
        values.append(value)
    return values


def check_frame_end(
    m: Module,
    *,
    tlast: Value,
    image_end: Value,
    visit_end: Value,
    error: Signal,
    flushing: Signal,
    ending: Signal,
) -> None:
    """Statements for a beat that is taken: TLAST must come with the frame's last beat and with no other.
    If it does, ``ending`` becomes ``visit_end``; otherwise ``error`` tells the cause, and ``flushing`` begins
    to throw the rest of a frame that is too long away."""
    with m.If(tlast & ~image_end):
        m.d.sync += error.eq(ERROR_FRAME_SHORT)
    with m.Elif(image_end & ~tlast):
        m.d.sync += [error.eq(ERROR_FRAME_LONG), flushing.eq(1)]
    with m.Else():
        m.d.sync += ending.eq(visit_end)
