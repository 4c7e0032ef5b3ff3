"""A beat of the weight stream: cut out of the ROM's words, decoded, and put onto the buses of the shadow
registers, in two stages."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from kestrel.hw.common.place import delayed, place
from kestrel.hw.compute.kernel_decoder import KernelDecoder
from kestrel.hw.memory.rom_window import RomWindow
from kestrel.hw.memory.scalar_tables import ScalarTables, scalar_starts
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.timing import bias_hold_cycles
from kestrel.hw.spec.widths import BIAS_BITS, PAD_BITS, SCALAR_BITS, centre_kernel_bits, kernel_bits


@dataclass(frozen=True)
class Beat:
    """Where a beat lies; whether it passes in this cycle; the block and the output lane that it is for."""

    window: RomWindow
    passes: Signal
    block: Signal
    out: Signal


@dataclass(frozen=True)
class Cut:
    """A beat after stage 1: its bits, the block and the output lane that they are for, and what they are."""

    bits: Signal
    block: Signal
    out: Signal
    is_pads: Signal
    is_kernels: Signal
    is_biases: Signal


@dataclass(frozen=True)
class KernelForm:
    """How kernels are stored, and what is made of them: bits of a mask code, and the digit of the codes. With
    ``config.residual`` whether they are 1x1, and the shift of these by their tap."""

    mask_bits: Value
    digit: Value
    centre: Value | None = None
    tap: Value | None = None


@dataclass(frozen=True)
class StoredScalars:
    """With ``config.scalar_tables``: the tables, the bits of a beat's masks, behind which its scalars lie,
    and whether they are of the shortcut's kernels."""

    tables: ScalarTables
    masks: Value
    shortcut: Value | int


@dataclass(frozen=True)
class Buses:
    """Of kernels, biases and pad values, as in ``kestrel.hw.common.weight_buses``."""

    kernels: data.View
    biases: data.View
    pads: data.View


def cut_beat(
    m: Module, config: EngineConfig, beat: Beat, pad_phase: Signal, kernel_phase: Signal, bias_phase: Signal
) -> Cut:  # fmt: skip
    """Stage 1: the beat's bits, cut out of the words. The phases say what it holds."""
    bits = Signal(kernel_bits(config.mask_bits_max) * config.load_kernels, reset_less=True)
    with m.If(beat.passes):
        m.d.sync += bits.eq(beat.window.bits(len(bits)))
    return Cut(
        bits=bits,
        block=delayed(m, beat.block, 1, "cut_block", reset_less=True),
        out=delayed(m, beat.out, 1, "cut_out", reset_less=True),
        is_pads=delayed(m, pad_phase, 1, "cut_pad"),
        is_kernels=delayed(m, kernel_phase, 1, "cut_kernel"),
        is_biases=delayed(m, bias_phase & beat.passes, 1, "cut_bias"),
    )


def look_scalars_up(
    m: Module, config: EngineConfig, beat: Beat, cut: Cut, stored: StoredScalars
) -> list[Value]:
    """Stage 2: the kernels' scalars, and beats of tables into their registers."""
    tables = stored.tables
    written, own, number = (
        delayed(m, value, 1, f"cut_{name}", reset_less=name != "table")
        for name, value in (("table", tables.phase & beat.passes), ("own", tables.own), ("beat", tables.beat))
    )
    tables.write(m, cut.bits, written, own, number)
    start = delayed(m, stored.masks, 1, "cut_masks", reset_less=True)
    return tables.look_up(m, cut.bits, start, scalar_starts(config), stored.shortcut)


def decode_beat(
    m: Module,
    config: EngineConfig,
    cut: Cut,
    form: KernelForm,
    buses: Buses,
    scalars: list[Value] | None = None,
) -> list[data.View]:
    """Stage 2: mask codes to digits, and everything onto the buses. Returns the decoded kernels.
    ``scalars``: those that were looked up; None where each is stored before its kernel's mask."""
    own = SCALAR_BITS if scalars is None else 0  # bits of a scalar at its kernel's mask
    m.d.sync += [
        buses.kernels.out.eq(Mux(cut.is_kernels, 1 << cut.out, 0)),
        buses.kernels.block.eq(1 << cut.block),
        buses.pads.block.eq(Mux(cut.is_pads, 1 << cut.block, 0)),
        buses.biases.block.eq(Mux(cut.is_biases, 1 << cut.block, 0)),
    ]
    kernels: list[data.View] = []
    for n in range(config.load_kernels):
        m.d.sync += [
            buses.pads.values[n].eq(cut.bits[n * PAD_BITS :]),
            buses.biases.biases[n].eq(cut.bits[n * BIAS_BITS :]),
        ]
        decoder = KernelDecoder(config)
        place(m, f"decoder_{n}", decoder, clocked=False)
        with m.Switch(form.mask_bits):
            for bits in config.mask_widths:
                with m.Case(bits):
                    size = kernel_bits(bits, own)
                    m.d.comb += decoder.code.eq(cut.bits[n * size :][:size])
        if form.centre is not None and form.tap is not None:
            m.d.comb += [decoder.centre.eq(form.centre), decoder.tap.eq(form.tap)]
            with m.If(form.centre):
                size = centre_kernel_bits(own)
                m.d.comb += decoder.code.eq(cut.bits[n * size :][:size])
        if scalars is not None:
            m.d.comb += decoder.scalar.eq(scalars[n])
        m.d.comb += [decoder.mask_bits.eq(form.mask_bits), decoder.digit.eq(form.digit)]
        m.d.sync += buses.kernels.kernels[n].eq(decoder.kernel)
        kernels.append(decoder.kernel)
    return kernels


def place_diagonal(
    m: Module, config: EngineConfig, bus: data.View, kernel: data.View, lane: Signal, diagonal: Value
) -> None:  # fmt: skip
    """Stage 2 of a diagonal tile: its kernel at its place in its block, zeros beside it. ``lane`` is its
    input lane, with the beat."""
    k = config.load_kernels
    lane = delayed(m, lane, 1, "cut_lane", reset_less=True)
    here = Signal(config.input_lanes)  # a bit an input lane
    m.d.comb += here.eq(1 << lane)
    with m.If(diagonal):
        m.d.sync += bus.block.eq(Cat(here[n : n + k].any() for n in range(0, len(here), k)))
        for n in range(k):
            m.d.sync += bus.kernels[n].as_value().eq(Mux(here[n::k].any(), kernel.as_value(), 0))


def clear_kernels(m: Module, bus: data.View, clear: Value) -> None:
    """With ``clear``: zeros for all shadow kernels, whatever else the bus was to carry."""
    with m.If(clear):
        m.d.sync += [bus.out.eq(~0), bus.block.eq(~0), bus.kernels.as_value().eq(0)]


def biases_may_pass(m: Module, config: EngineConfig, emitting: Signal) -> Value:
    """Whether the pass before has swapped its biases. ``emitting``: a pass that will do so is handed over."""
    # Counted from the cycle after the hand-over.
    wait = bias_hold_cycles(config.input_lanes) - 1
    waiting = Signal(range(wait + 1))
    with m.If(emitting):
        m.d.sync += waiting.eq(wait)
    with m.Elif(waiting != 0):
        m.d.sync += waiting.eq(waiting - 1)
    return waiting == 0
