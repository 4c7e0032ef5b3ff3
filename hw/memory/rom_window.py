"""Two words of the weight ROM, as a window that moves along the stream without stalling."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import kernel_bits


class RomWindow:
    """The words of {high, low}, of which the ROM's output holds the next one.

    Attributes
    ----------
    offset : Signal      The first bit of the beat in the window; within ``low``.
    fetch : Signal       The next word to fetch, three words ahead of ``low``.
    """

    def __init__(self, config: EngineConfig, address_bits: int) -> None:
        self._word = word = config.rom_word_bits
        beat_bits = kernel_bits(config.mask_bits_max) * config.load_kernels
        self._low = Signal(word, name="low", reset_less=True)
        self._high = Signal(word, name="high", reset_less=True)
        self.offset = Signal(range(word), name="offset")
        self._moved = Signal(range(word + beat_bits + 1), name="moved")  # of the next beat
        self._advance = Signal(name="advance")  # the window moves on by a word
        self.fetch = Signal(address_bits, name="fetch")

    def bits(self, count: int) -> Value:
        """The beat's first ``count`` bits."""
        return Cat(self._low, self._high).bit_select(self.offset, count)

    @property
    def following(self) -> Value:
        """With a tile's last beat: the first word of the next tile."""
        ends_late = self._moved > self._word
        return Mux(ends_late, self.fetch - 1, self.fetch - 2)

    def measure(self, m: Module, need: Value, beat: Value) -> None:
        """Find where the next beat begins, behind the ``need`` bits of this one, if one passes."""
        m.d.comb += [
            self._moved.eq(self.offset + need),
            self._advance.eq(beat & (self._moved >= self._word)),
        ]

    def move(self, m: Module, beat: Value) -> None:
        """On behind the beat, if one passes."""
        with m.If(beat):
            m.d.sync += self.offset.eq(Mux(self._advance, self._moved - self._word, self._moved))

    def refill(self, m: Module, rom_addr: Signal, rom_en: Signal, rom_data: Signal) -> None:
        """A word more from the ROM, if the window moves on or ``rom_en`` is driven for another reason."""
        m.d.comb += rom_addr.eq(self.fetch)
        with m.If(self._advance):
            m.d.comb += rom_en.eq(1)
        with m.If(rom_en):
            m.d.sync += [
                self._low.eq(self._high),
                self._high.eq(rom_data),
                self.fetch.eq(self.fetch + 1),
            ]
