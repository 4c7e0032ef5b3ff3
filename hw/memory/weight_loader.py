"""Weight loader: reads the ROM stream and fills the shadow registers of the next pass.

Cycle by cycle, from the cycle g in which ``start`` is high:

    g + 1 .. g + 3   the first three ROM words are fetched: into ``low``, ``high`` and the ROM's output
    g + 4 ..         one beat a cycle: up to K = load_kernels pad values, kernels or biases are cut out of
                     {high, low} at bit ``offset``; when the offset leaves ``low`` the words move up by one
    + 1              the cut bits are decoded: mask codes to the digits of the pass that is running
    + 2              the buses write into the shadow registers
    ``ready`` rises in the cycle after the last beat was cut, early enough to be used at once: the first
    pixel of the next pass swaps its weights later than the last write.

So loading takes FILL_CYCLES and the beats, and never stalls on the ROM: a word has 64 bits a kernel and
the widest kernel has 53.

Biases have their own hazard. The pass that started at g swaps its biases only when its first pixel reaches
the requantiser; until then the bias beats of the next tile wait (``bias_hold_cycles``).
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import delayed, place
from kestrel.hw.common.weight_buses import bias_bus, kernel_bus, pad_bus
from kestrel.hw.compute.kernel_decoder import KernelDecoder
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.timing import bias_hold_cycles
from kestrel.hw.spec.widths import BIAS_BITS, PAD_BITS, bits_for, kernel_bits


class WeightLoader(wiring.Component):
    """See the module's docstring.

    Members
    -------
    clear : In(1)            zeroes every shadow kernel (once a frame, so that nothing unknown is left)
    start : In(1)            begin a tile, with ``taken`` or ``rebase``; its description must stay from the
                             next cycle until ready
    rebase, base : In        with start: the tile begins at ROM word ``base`` instead of after the last tile
    rewind : In(1)           with start: the tile just loaded again (its next digit)
    emitting : In(1)         with start or later, one cycle: the pass handed over now swaps its biases
    mask_bits, digit, has_pad, has_bias, in_lanes, out_lanes : In   the tile
    ready : Out(1)           the tile is loaded; falls with ``taken`` or ``rebase``
    taken : In(1)            the pass using the tile starts
    rom_en, rom_addr, rom_data   the weight ROM, one cycle latency
    kernels, biases, pads : Out  buses to the shadow registers
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        address_bits = bits_for(config.weight_words - 1)
        super().__init__(
            {
                "clear": In(1),
                "start": In(1),
                "rebase": In(1),
                "base": In(address_bits),
                "rewind": In(1),
                "emitting": In(1),
                "mask_bits": In(3),
                "digit": In(2),
                "has_pad": In(1),
                "has_bias": In(1),
                "in_lanes": In(bits_for(config.input_lanes)),
                "out_lanes": In(bits_for(config.output_lanes)),
                "ready": Out(1),
                "taken": In(1),
                "rom_en": Out(1),
                "rom_addr": Out(address_bits),
                "rom_data": In(config.rom_word_bits),
                "kernels": Out(kernel_bus(config)),
                "biases": Out(bias_bus(config)),
                "pads": Out(pad_bus(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        k = config.load_kernels
        word = config.rom_word_bits
        unit_bits = kernel_bits(config.mask_bits_max)  # pad values and biases are narrower

        # --- the stream: two words and what the ROM shows make a window that moves without stalling -------
        fetch = Signal.like(self.base)  # next word to fetch
        tile = Signal.like(self.base)  # first word of this tile
        following = Signal.like(self.base)  # first word of the next one
        low = Signal(word, reset_less=True)
        high = Signal(word, reset_less=True)
        offset = Signal(range(word))
        window = Cat(low, high)

        beat = Signal()
        need = Signal(range(unit_bits * k + 1))
        moved = Signal(range(word + unit_bits * k + 1))
        advance = Signal()
        m.d.comb += [
            moved.eq(offset + need),
            advance.eq(beat & (moved >= word)),
            self.rom_addr.eq(fetch),
        ]

        # --- what a beat holds ---------------------------------------------------------------------------
        pad_phase, kernel_phase, bias_phase = Signal(), Signal(), Signal()
        lanes = max(config.input_lanes, config.output_lanes)
        lanes_left = Signal(range(lanes + 1))
        outs_left = Signal.like(self.out_lanes)
        count = Signal(range(k + 1))
        unit = Signal(range(unit_bits + 1))
        block = Signal(bits_for(max(len(self.kernels.block), len(self.biases.block)) - 1))
        out = Signal(bits_for(config.output_lanes - 1))
        last_block = Signal()
        # Counted from the cycle after the hand-over.
        bias_wait = bias_hold_cycles(config.input_lanes) - 1
        waiting = Signal(range(bias_wait + 1))

        with m.If(pad_phase):
            m.d.comb += unit.eq(PAD_BITS)
        with m.Elif(bias_phase):
            m.d.comb += unit.eq(BIAS_BITS)
        with m.Else(), m.Switch(self.mask_bits):
            for bits in config.mask_widths:
                with m.Case(bits):
                    m.d.comb += unit.eq(kernel_bits(bits))
        m.d.comb += [
            last_block.eq(lanes_left <= k if lanes > k else 1),
            count.eq(Mux(last_block, lanes_left, k)),
            need.eq(count * unit),
            beat.eq(pad_phase | kernel_phase | (bias_phase & (waiting == 0))),
        ]

        with m.If(self.emitting):
            m.d.sync += waiting.eq(bias_wait)
        with m.Elif(waiting != 0):
            m.d.sync += waiting.eq(waiting - 1)

        finished = Signal()
        with m.If(beat):
            m.d.sync += [
                offset.eq(Mux(advance, moved - word, moved)),
                lanes_left.eq(lanes_left - k),
                block.eq(block + 1),
            ]
            with m.If(last_block):
                m.d.sync += [block.eq(0), lanes_left.eq(self.in_lanes)]
                with m.If(pad_phase):
                    m.d.sync += [pad_phase.eq(0), kernel_phase.eq(1)]
                with m.If(kernel_phase):
                    m.d.sync += [out.eq(out + 1), outs_left.eq(outs_left - 1)]
                    with m.If(outs_left == 1):
                        m.d.sync += kernel_phase.eq(0)
                        with m.If(self.has_bias):
                            m.d.sync += [bias_phase.eq(1), lanes_left.eq(self.out_lanes)]
                        with m.Else():
                            m.d.comb += finished.eq(1)
                with m.If(bias_phase):
                    m.d.sync += bias_phase.eq(0)
                    m.d.comb += finished.eq(1)
        with m.If(advance):
            m.d.comb += self.rom_en.eq(1)
            m.d.sync += [low.eq(high), high.eq(self.rom_data), fetch.eq(fetch + 1)]

        # --- a tile from start to ready --------------------------------------------------------------------
        with m.If(finished):
            # ``fetch`` is three words ahead of ``low``.
            m.d.sync += [self.ready.eq(1), following.eq(Mux(moved > word, fetch - 1, fetch - 2))]
        with m.If(self.taken | self.rebase):
            m.d.sync += self.ready.eq(0)

        filling = Signal(2)
        with m.If(filling != 0):
            m.d.comb += self.rom_en.eq(1)
            m.d.sync += [fetch.eq(fetch + 1), low.eq(high), high.eq(self.rom_data), filling.eq(filling + 1)]
        with m.If(filling == 3):
            m.d.sync += [
                offset.eq(0),
                block.eq(0),
                out.eq(0),
                lanes_left.eq(self.in_lanes),
                outs_left.eq(self.out_lanes),
                pad_phase.eq(self.has_pad),
                kernel_phase.eq(~self.has_pad),
                bias_phase.eq(0),
            ]
        with m.If(self.start):
            first = Signal.like(self.base)
            m.d.comb += first.eq(Mux(self.rebase, self.base, Mux(self.rewind, tile, following)))
            m.d.sync += [
                fetch.eq(first),
                tile.eq(first),
                filling.eq(1),
                pad_phase.eq(0),
                kernel_phase.eq(0),
                bias_phase.eq(0),
            ]

        # --- stage 1: cut ----------------------------------------------------------------------------------
        cut = Signal(unit_bits * k, reset_less=True)
        with m.If(beat):
            m.d.sync += cut.eq(window.bit_select(offset, unit_bits * k))
        cut_block = delayed(m, block, 1, "cut_block", reset_less=True)
        cut_out = delayed(m, out, 1, "cut_out", reset_less=True)
        cut_pad = delayed(m, pad_phase, 1, "cut_pad")
        cut_kernel = delayed(m, kernel_phase, 1, "cut_kernel")
        cut_bias = delayed(m, bias_phase & beat, 1, "cut_bias")

        # --- stage 2: decode, onto the buses ---------------------------------------------------------------
        m.d.sync += [
            self.kernels.out.eq(Mux(cut_kernel, 1 << cut_out, 0)),
            self.kernels.block.eq(1 << cut_block),
            self.pads.block.eq(Mux(cut_pad, 1 << cut_block, 0)),
            self.biases.block.eq(Mux(cut_bias, 1 << cut_block, 0)),
        ]
        for n in range(k):
            m.d.sync += [
                self.pads.values[n].eq(cut[n * PAD_BITS :]),
                self.biases.biases[n].eq(cut[n * BIAS_BITS :]),
            ]
            decoder = KernelDecoder(config)
            place(m, f"decoder_{n}", decoder, clocked=False)
            with m.Switch(self.mask_bits):
                for bits in config.mask_widths:
                    with m.Case(bits):
                        m.d.comb += decoder.code.eq(cut[n * kernel_bits(bits) :][: kernel_bits(bits)])
            m.d.comb += [decoder.mask_bits.eq(self.mask_bits), decoder.digit.eq(self.digit)]
            m.d.sync += self.kernels.kernels[n].eq(decoder.kernel)
        with m.If(self.clear):
            m.d.sync += [
                self.kernels.out.eq(~0),
                self.kernels.block.eq(~0),
                self.kernels.kernels.as_value().eq(0),
            ]
        return m
