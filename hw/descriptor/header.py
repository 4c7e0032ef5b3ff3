"""The descriptor unit's reader of the header of its ROM."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import layer_layout
from kestrel.hw.descriptor.output import LOW_BITS
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FIELDS,
    DESCRIPTOR_HEADER_USED,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_REGIONS_MAX,
    DESCRIPTOR_VERSION,
    DESCRIPTOR_WORD_BITS,
    DescriptorConfig,
)
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import bits_for


class DescriptorHeader(wiring.Component):
    """Reads the DESCRIPTOR_HEADER_USED words of a map's header one after the other, and compares them with
    what the unit can do and with the map that it is to describe.

    ``done`` comes DESCRIPTOR_HEADER_USED + 2 cycles after ``go``; everything else is valid from then on.

    Members
    -------
    go : In(1)                    Begins to read at the header's first word.
    done : Out(1)                 High in one cycle: the header has been read.
    layer : In(layer_layout)      The record of the output, with size and channels of the map.
    raw : In(1)                   Nothing is whitened, whatever the header says.
    rom_en : Out(1)               Reads the next word of the ROM.
    rom_data : In(32)             The word, one cycle after ``rom_en``.
    bad_rom : Out(1)              The ROM's image is none, or it is too large for the unit.
    bad_map : Out(1)              The image was made for another map.
    whitens : Out(1)              The vector is whitened.
    pairs : Out(1)                Two rows of the matrix, added up, make a dimension.
    last_channel : Out            C - 1 for C channels of the map; as wide as the unit's channels need.
    last_dimension : Out          D - 1 for D dimensions of the vector that is sent.
    regions : Out                 Regions of the map, 1 to DESCRIPTOR_REGIONS_MAX.
    low : Out(signed(18))         The element that gives the code 0, in units of 2**-DESCRIPTOR_FRACTION.
    gain : Out(32)                What elements less ``low`` are multiplied by (DESCRIPTOR_GAIN_SHIFT).
    regions_base : Out            Address of the first region's record in the ROM.
    thresholds_base : Out         Address of the first threshold in the ROM.
    whitening_base : Out          Address of the whitening's first word in the ROM.
    more : Out(1)                 The frame has another map, whose header lies at ``following``.
    following : Out               Its address in the ROM. Both in a unit for several maps only.
    """

    def __init__(self, config: EngineConfig, descriptor: DescriptorConfig) -> None:
        self.config = config
        self.descriptor = descriptor
        index, address = bits_for(descriptor.channels - 1), bits_for(descriptor.rom_words - 1)
        super().__init__(
            {
                "go": In(1),
                "done": Out(1),
                "layer": In(layer_layout(config)),
                "raw": In(1),
                "rom_en": Out(1),
                "rom_data": In(DESCRIPTOR_WORD_BITS),
                "bad_rom": Out(1),
                "bad_map": Out(1),
                "whitens": Out(1),
                "pairs": Out(1),
                "last_channel": Out(index),
                "last_dimension": Out(index),
                "regions": Out(bits_for(DESCRIPTOR_REGIONS_MAX)),
                "low": Out(signed(LOW_BITS)),
                "gain": Out(DESCRIPTOR_WORD_BITS),
                "regions_base": Out(address),
                "thresholds_base": Out(address),
                "whitening_base": Out(address),
            }
            | ({"more": Out(1), "following": Out(address)} if descriptor.maps > 1 else {})
        )
        # Registers of the outputs, which need no reset.
        self._known = {
            name: Signal.like(getattr(self, name), name=f"{name}_known", reset_less=True)
            for name in (
                "whitens", "pairs", "last_channel", "last_dimension", "regions", "low", "gain",
                "regions_base", "thresholds_base", "whitening_base", "bad_rom", "bad_map",
                *(("more", "following") if descriptor.maps > 1 else ()),
            )
        }  # fmt: skip
        self._has_whitening = Signal(name="has_whitening", reset_less=True)
        self._channels = Signal(bits_for(descriptor.channels), name="channels", reset_less=True)
        self._too_many = Signal(name="too_many", reset_less=True)  # channels for the unit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy = Signal()
        step = Signal(range(DESCRIPTOR_HEADER_USED + 1))
        for name, register in self._known.items():
            m.d.comb += getattr(self, name).eq(register)
        self._count_channels(m)
        m.d.comb += self.rom_en.eq(busy & (step != DESCRIPTOR_HEADER_USED))
        m.d.sync += self.done.eq(busy & (step == DESCRIPTOR_HEADER_USED))
        with m.If(busy):
            m.d.sync += step.eq(step + 1)
            with m.Switch(step):
                for word in range(DESCRIPTOR_HEADER_USED):
                    with m.Case(word + 1):
                        self._take_word(m, word)
            with m.If(step == DESCRIPTOR_HEADER_USED):
                m.d.sync += busy.eq(0)
        with m.If(self.go):
            m.d.sync += [busy.eq(1), step.eq(0)]
        return m

    def _count_channels(self, m: Module) -> None:
        """The channels of the map, which the record gives as words and the lanes of the last one."""
        layer, lanes = self.layer, self.config.word_lanes
        mapped = Signal(range((1 << 16) * lanes))
        m.d.comb += mapped.eq((layer.in_groups - 1) * lanes + layer.last_in_lanes)
        m.d.sync += [self._channels.eq(mapped), self._too_many.eq(mapped > self.descriptor.channels)]

    def _take_word(self, m: Module, word: int) -> None:
        """A word arrives: its fields into registers, and what is to be checked in it."""
        fields = [f for f in DESCRIPTOR_FIELDS if f.word == word]
        m.d.sync += [
            self._known[f.name].eq(self._field(f.name)) for f in fields if f.name in self._known
        ]
        checks = {
            "magic": self._check_identity,
            "channels": self._check_sizes,
            "height": self._check_map,
            "regions": self._check_regions,
            "words": self._check_words,
        }
        for f in fields:
            if f.name in checks:
                checks[f.name](m)

    def _field(self, name: str) -> Value:
        """A field of the word that arrives."""
        field = next(f for f in DESCRIPTOR_FIELDS if f.name == name)
        return self.rom_data[field.lsb : field.lsb + field.width]

    def _check_identity(self, m: Module) -> None:
        """It is a descriptor ROM, and whitens only if the unit can."""
        known, whitening = self._known, self._field("whitening")
        unusable = 0 if self.descriptor.whitening else whitening
        wrong_magic = self._field("magic") != DESCRIPTOR_MAGIC
        wrong_version = self._field("version") != DESCRIPTOR_VERSION
        m.d.sync += [
            known["whitens"].eq(whitening & ~self.raw),
            known["bad_rom"].eq(wrong_magic | wrong_version | unusable),
            self._has_whitening.eq(whitening),
        ]

    def _check_sizes(self, m: Module) -> None:
        """The unit is large enough, the channels are the map's, and they are the dimensions if nothing is
        whitened."""
        known, largest = self._known, self.descriptor.channels
        channels, dimensions = self._field("channels"), self._field("dimensions")
        misfits = [(size == 0) | (size > largest) for size in (channels, dimensions)]
        differ = ~self._has_whitening & (channels != dimensions)
        m.d.sync += [
            known["last_channel"].eq(channels - 1),
            known["last_dimension"].eq(Mux(self.whitens, dimensions, channels) - 1),
            known["bad_rom"].eq(self.bad_rom | misfits[0] | misfits[1] | differ),
            known["bad_map"].eq(self._too_many | (channels != self._channels)),
        ]

    def _check_map(self, m: Module) -> None:
        """Height and width are the map's."""
        height, width = self._field("height"), self._field("width")
        differs = (height != self.layer.height) | (width != self.layer.width)
        m.d.sync += self._known["bad_map"].eq(self.bad_map | differs)

    def _check_regions(self, m: Module) -> None:
        """There are regions, and not too many."""
        count = self._field("regions")
        m.d.sync += self._known["bad_rom"].eq(self.bad_rom | (count == 0) | (count > DESCRIPTOR_REGIONS_MAX))

    def _check_words(self, m: Module) -> None:
        """The image fits the ROM."""
        words = self._field("words")
        m.d.sync += self._known["bad_rom"].eq(self.bad_rom | (words > self.descriptor.rom_words))
        if "following" in self._known:
            m.d.sync += self._known["following"].eq(words)
