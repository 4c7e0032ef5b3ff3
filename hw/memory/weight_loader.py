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

With ``config.residual`` tiles may have 1x1 kernels, which are cut and decoded like the others. A *diagonal*
tile has one 1x1 kernel for each of its output lanes:

    g + 4        every shadow kernel is set to zero (as much later as other beats: two cycles)
    g + 5 ..     one kernel a beat, each for the next output lane and the next input lane

With ``config.scalar_tables`` the first tile of a layer begins with the tables of its scalars, which are cut
in beats of ``table_beat_entries`` before anything else. They stay for the tiles that follow. The scalars of
a beat's kernels lie behind its masks; they are looked up while the masks are decoded.

Biases have their own hazard. The pass that started at g swaps its biases only when its first pixel reaches
the requantiser; until then the bias beats of the next tile wait (``bias_hold_cycles``).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import delayed
from kestrel.hw.common.weight_buses import bias_bus, kernel_bus, pad_bus
from kestrel.hw.memory.rom_window import RomWindow
from kestrel.hw.memory.scalar_tables import ScalarTables
from kestrel.hw.memory.weight_beat import (
    Beat,
    Buses,
    KernelForm,
    StoredScalars,
    biases_may_pass,
    clear_kernels,
    cut_beat,
    decode_beat,
    look_scalars_up,
    place_diagonal,
)
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.timing import FILL_CYCLES
from kestrel.hw.spec.widths import (
    BIAS_BITS,
    PAD_BITS,
    SCALAR_BITS,
    SCALAR_WIDTHS,
    bits_for,
    centre_kernel_bits,
    kernel_bits,
)

FILL_WORDS = FILL_CYCLES - 1
"""ROM words that are fetched before a tile's first beat: into ``low``, ``high`` and the ROM's output."""


class WeightLoader(wiring.Component):
    """Loads one tile after the other, as the module's docstring describes.

    Members
    -------
    clear : In(1)                  Sets every shadow kernel to zero; comes once a frame, so that nothing
                                   unknown is left.
    start : In(1)                  Begins a tile, with ``taken`` or ``rebase``. The tile's description must
                                   stay from the next cycle until ``ready``.
    rebase : In(1)                 With ``start``: the tile begins at ``base``; otherwise it follows the last
                                   tile.
    base : In                      The tile's first word in the ROM; as wide as ``weight_words`` needs.
    rewind : In(1)                 With ``start``: the tile is the one just loaded, for its next digit.
    emitting : In(1)               High in one cycle, with ``start`` or later: the pass handed over now will
                                   swap its biases.
    mask_bits : In(3)              Bits of a mask code in this layer.
    digit : In(2)                  The digit of the mask codes that the pass applies.
    has_pad : In(1)                The tile begins with pad values.
    has_bias : In(1)               The tile ends with biases.
    in_lanes : In                  The channels of the tile's input group, 1 to P_i.
    out_lanes : In                 The channels of the tile's output group, 1 to P_o.
    ready : Out(1)                 The tile is loaded; falls with ``taken`` or ``rebase``.
    taken : In(1)                  The pass that uses the tile starts.
    rom_en : Out(1)                Reads the weight ROM.
    rom_addr : Out                 The word's address in the ROM; as wide as ``weight_words`` needs.
    rom_data : In(rom_word_bits)   The word, one cycle after ``rom_en``.
    kernels : Out(kernel_bus)      Kernels for the shadow registers of the array.
    biases : Out(bias_bus)         Biases for the shadow registers of the requantiser.
    pads : Out(pad_bus)            Pad values for the shadow registers of the window.

    With ``config.residual``:

    centre : In(1)                 The tile's kernels are 1x1.
    tap : In(2)                    The digit of 1x1 kernels is +-2**tap.
    diagonal : In(1)               The tile is a diagonal one, of ``out_lanes`` 1x1 kernels. Kernel n becomes
                                   that of output lane ``first_out`` + n and input lane ``first_in`` + n, and
                                   all others become zero. ``has_pad`` and ``has_bias`` must be 0; ``centre``
                                   and ``in_lanes`` are not looked at.
    first_out : In                 The output lane of a diagonal tile's first kernel.
    first_in : In                  The input lane of a diagonal tile's first kernel.

    With ``config.scalar_tables``:

    scalar_bits : In(4)            Bits of a stored scalar in this layer. If these are fewer than 8, a tile
                                   that was begun with ``rebase`` begins with its tables, also when it is
                                   loaded again.
    shortcut : In(1)               Only with ``config.residual`` too: the tile is of the layer's shortcut. If
                                   such a tile has tables, they are the shortcut's and then the layer's own.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        address_bits = bits_for(config.weight_words - 1)
        residual = {}
        if config.residual:
            residual = {
                "centre": In(1),
                "tap": In(2),
                "diagonal": In(1),
                "first_out": In(bits_for(config.output_lanes - 1)),
                "first_in": In(bits_for(config.input_lanes - 1)),
            }
        if config.scalar_tables:
            residual |= {"scalar_bits": In(4)} | ({"shortcut": In(1)} if config.residual else {})
        super().__init__(
            residual
            | {
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
        self._window = RomWindow(config, address_bits)
        self._filled = Signal(range(FILL_WORDS), name="filled")
        # What a beat holds: one of these, or nothing.
        self._pad_phase = Signal(name="pad_phase")
        self._kernel_phase = Signal(name="kernel_phase")
        self._bias_phase = Signal(name="bias_phase")
        self._beat = Signal(name="beat")
        self._finished = Signal(name="finished")  # it is the tile's last one
        lanes = max(config.input_lanes, config.output_lanes)
        self._lanes_left = Signal(range(lanes + 1), name="lanes_left")
        self._outs_left = Signal.like(self.out_lanes, name="outs_left")
        self._last_block = Signal(name="last_block")
        self._block = Signal(
            bits_for(max(len(self.kernels.block), len(self.biases.block)) - 1), name="block"
        )
        self._out = Signal(bits_for(config.output_lanes - 1), name="out")
        if config.residual:
            self._lane = Signal.like(self.first_in, name="lane")  # input lane of a diagonal tile's kernel
            self._clear_phase = Signal(name="clear_phase")
        self._tables: ScalarTables | None = None
        if config.scalar_tables:
            self._tables = ScalarTables(config, self.scalar_bits)
            self._begins_layer = Signal(name="begins_layer")
            most = kernel_bits(config.mask_bits_max, 0) * config.load_kernels
            self._masks = Signal(range(most + 1), name="masks")  # bits of the beat's masks

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._measure(m)
        # Every beat passes, except that biases wait until the pass before has swapped its own.
        biases = self._bias_phase & biases_may_pass(m, self.config, self.emitting)
        if self._tables is None:
            m.d.comb += self._beat.eq(self._pad_phase | self._kernel_phase | biases)
        else:
            m.d.comb += self._beat.eq(self._tables.phase | self._pad_phase | self._kernel_phase | biases)
        self._move(m)
        with m.FSM():
            self._states(m)
        self._begin(m)
        self._drive_buses(m)
        return m

    def _measure(self, m: Module) -> None:
        """How many bits the beat takes, and where the next one begins."""
        config, k = self.config, self.config.load_kernels
        unit_bits = kernel_bits(config.mask_bits_max)  # pad values and biases are narrower
        unit = Signal(range(unit_bits + 1))
        count = Signal(range(k + 1))
        need = Signal(range(unit_bits * k + 1))
        # What of a kernel lies in one piece: with tables its mask alone.
        kernel, own = unit, SCALAR_BITS
        if self._tables is not None:
            kernel, own = Signal(range(kernel_bits(config.mask_bits_max, 0) + 1), name="mask_unit"), 0
        with m.If(self._pad_phase):
            m.d.comb += unit.eq(PAD_BITS)
        with m.Elif(self._bias_phase):
            m.d.comb += unit.eq(BIAS_BITS)
        with m.Else(), m.Switch(self.mask_bits):
            for bits in config.mask_widths:
                with m.Case(bits):
                    m.d.comb += kernel.eq(kernel_bits(bits, own))
        if config.residual:
            with m.If(self._kernel_phase & self._centre_kernels):
                m.d.comb += kernel.eq(centre_kernel_bits(own))
        lanes = max(config.input_lanes, config.output_lanes)
        m.d.comb += [
            self._last_block.eq(self._lanes_left <= k if lanes > k else 1),
            count.eq(Mux(self._last_block, self._lanes_left, k)),
            need.eq(count * unit),
        ]
        if self._tables is not None:
            self._tables.measure(m)
            m.d.comb += self._masks.eq(count * kernel)
            with m.If(self._kernel_phase):
                stored = self._tables.by_width(m, "stored", {width: width for width in SCALAR_WIDTHS})
                m.d.comb += unit.eq(kernel + stored)
            with m.If(self._tables.phase):
                m.d.comb += need.eq(self._tables.need)
        self._window.measure(m, need, self._beat)

    def _move(self, m: Module) -> None:
        """Count the beat's lanes off, and move the window behind it."""
        k = self.config.load_kernels
        self._window.move(m, self._beat)
        with m.If(self._beat if self._tables is None else self._beat & ~self._tables.phase):
            m.d.sync += [
                self._lanes_left.eq(self._lanes_left - k),
                self._block.eq(self._block + 1),
            ]
            with m.If(self._last_block):
                m.d.sync += [self._block.eq(0), self._lanes_left.eq(self.in_lanes)]
                if self.config.residual:
                    with m.If(self.diagonal):
                        m.d.sync += self._lanes_left.eq(1)
        self._window.refill(m, self.rom_addr, self.rom_en, self.rom_data)

    @contextmanager
    def _state(self, m: Module, name: str) -> Iterator[None]:
        """A state that the start of a tile leaves at once: a broken frame leaves a tile half read."""
        with m.State(name):
            yield
            with m.If(self.start):
                m.next = "FILL"

    def _states(self, m: Module) -> None:
        """From one kind of beat to the next, after the last beat of each."""
        with self._state(m, "REST"):
            pass
        with self._state(m, "FILL"):
            self._fill(m)
        if self._tables is not None:
            with self._state(m, "TABLES"):
                self._pass_tables(m, self._tables)
        with self._state(m, "PADS"):
            m.d.comb += self._pad_phase.eq(1)
            with m.If(self._last_block):
                m.next = "KERNELS"
        with self._state(m, "KERNELS"):
            m.d.comb += self._kernel_phase.eq(1)
            with m.If(self._last_block):
                m.d.sync += [self._out.eq(self._out + 1), self._outs_left.eq(self._outs_left - 1)]
                if self.config.residual:
                    m.d.sync += self._lane.eq(self._lane + 1)
                with m.If(self._outs_left == 1):
                    m.d.sync += self._lanes_left.eq(self.out_lanes)
                    m.d.comb += self._finished.eq(~self.has_bias)
                    m.next = "REST"
                    with m.If(self.has_bias):
                        m.next = "BIASES"
        with self._state(m, "BIASES"):
            m.d.comb += self._bias_phase.eq(1)
            with m.If(self._beat & self._last_block):
                m.d.comb += self._finished.eq(1)
                m.next = "REST"
        if self.config.residual:
            with self._state(m, "CLEAR"):
                m.d.comb += self._clear_phase.eq(1)
                m.next = "KERNELS"

    def _fill(self, m: Module) -> None:
        """Fetch the tile's first words; then describe its first beat."""
        m.d.comb += self.rom_en.eq(1)
        m.d.sync += self._filled.eq(self._filled + 1)
        with m.If(self._filled == FILL_WORDS - 1):
            m.d.sync += [
                self._window.offset.eq(0),
                self._block.eq(0),
                self._out.eq(0),
                self._lanes_left.eq(self.in_lanes),
                self._outs_left.eq(self.out_lanes),
            ]
            if self.config.residual:
                m.d.sync += self._lane.eq(self.first_in)
                with m.If(self.diagonal):
                    m.d.sync += [self._out.eq(self.first_out), self._lanes_left.eq(1)]
            self._to_kernels(m)
            if self._tables is not None:
                self._tables.begin(m, ~self.shortcut if self.config.residual else 1)
                with m.If(self._begins_layer & self._tables.present):
                    m.next = "TABLES"

    def _to_kernels(self, m: Module) -> None:
        """On to the tile's pad values or kernels."""
        m.next = "KERNELS"
        with m.If(self.has_pad):
            m.next = "PADS"
        if self.config.residual:
            with m.If(self.diagonal):
                m.next = "CLEAR"

    def _pass_tables(self, m: Module, tables: ScalarTables) -> None:
        """The layer's tables: of the shortcut, if it has one, then its own."""
        m.d.comb += tables.phase.eq(1)
        with m.If(tables.last):
            m.d.sync += tables.own.eq(1)
            with m.If(tables.own):
                self._to_kernels(m)

    def _begin(self, m: Module) -> None:
        """Where a tile begins in the ROM, and whether the one that was begun is ready."""
        tile = Signal.like(self.base)  # first word of this tile
        following = Signal.like(self.base)  # first word of the next one
        with m.If(self._finished):
            m.d.sync += [self.ready.eq(1), following.eq(self._window.following)]
        with m.If(self.taken | self.rebase):
            m.d.sync += self.ready.eq(0)
        with m.If(self.start):
            first = Signal.like(self.base)
            m.d.comb += first.eq(Mux(self.rebase, self.base, Mux(self.rewind, tile, following)))
            m.d.sync += [self._window.fetch.eq(first), tile.eq(first), self._filled.eq(0)]
            if self._tables is not None:
                with m.If(self.rebase | ~self.rewind):
                    m.d.sync += self._begins_layer.eq(self.rebase)

    def _drive_buses(self, m: Module) -> None:
        """What the beat holds, decoded, into the shadow registers; in a diagonal tile at its place."""
        config = self.config
        beat = Beat(self._window, self._beat, self._block, self._out)
        cut = cut_beat(m, config, beat, self._pad_phase, self._kernel_phase, self._bias_phase)
        form = KernelForm(self.mask_bits, self.digit)
        if config.residual:
            form = KernelForm(self.mask_bits, self.digit, self._centre_kernels, self.tap)
        scalars = None
        if self._tables is not None:
            stored = StoredScalars(self._tables, self._masks, self.shortcut if config.residual else 0)
            scalars = look_scalars_up(m, config, beat, cut, stored)
        kernels = decode_beat(m, config, cut, form, Buses(self.kernels, self.biases, self.pads), scalars)
        clear = self.clear
        if config.residual:
            place_diagonal(m, config, self.kernels, kernels[0], self._lane, self.diagonal)
            clear |= delayed(m, self._clear_phase, 1, "cut_clear")
        clear_kernels(m, self.kernels, clear)

    @property
    def _centre_kernels(self) -> Value:
        """The tile's kernels are 1x1."""
        return self.centre | self.diagonal
