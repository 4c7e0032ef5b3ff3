"""The descriptor unit's look at the header of its ROM."""

from amaranth.hdl import Module, Mux, Signal, signed
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
    """Reads the header, DESCRIPTOR_HEADER_USED words one after the other, and holds it to unit and map.

    ``done`` comes DESCRIPTOR_HEADER_USED + 2 cycles after ``go``; everything else is valid from then on.

    Members
    -------
    go : In(1), done : Out(1)
    layer : In                      record of the output: size and channels of the map
    raw : In(1)                     no whitening, whatever the header says
    rom_en : Out, rom_data : In
    bad_rom, bad_map : Out(1)       wrong, or too large for the unit; made for another map
    whitens, pairs : Out(1), last_channel, last_dimension : Out    C - 1, D - 1 (of the vector that is sent)
    regions, low, gain, regions_base, thresholds_base, whitening_base : Out    as in the header
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
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        descriptor, layer = self.descriptor, self.layer
        busy = Signal()
        step = Signal(range(DESCRIPTOR_HEADER_USED + 1))
        known = {}  # registers that need no reset
        for name in (
            "whitens", "pairs", "last_channel", "last_dimension", "regions", "low", "gain", "regions_base",
            "thresholds_base", "whitening_base", "bad_rom", "bad_map",
        ):  # fmt: skip
            known[name] = Signal.like(getattr(self, name), name=f"{name}_known", reset_less=True)
            m.d.comb += getattr(self, name).eq(known[name])

        channels = Signal(bits_for(descriptor.channels), reset_less=True)  # of the map, cut
        too_many = Signal(reset_less=True)
        mapped = Signal(range((1 << 16) * self.config.word_lanes))
        m.d.comb += mapped.eq((layer.in_groups - 1) * self.config.word_lanes + layer.last_in_lanes)
        m.d.sync += [channels.eq(mapped), too_many.eq(mapped > descriptor.channels)]

        field = {f.name: self.rom_data[f.lsb : f.lsb + f.width] for f in DESCRIPTOR_FIELDS}
        has_whitening = Signal(reset_less=True)
        of_word: dict[int, dict[str, object]] = {n: {} for n in range(DESCRIPTOR_HEADER_USED)}
        for f in DESCRIPTOR_FIELDS:
            if f.name in known:
                of_word[f.word][f.name] = field[f.name]
        unusable = field["whitening"] if not descriptor.whitening else 0
        of_word[0] |= {
            "whitens": field["whitening"] & ~self.raw,
            "bad_rom": (field["magic"] != DESCRIPTOR_MAGIC) | (field["version"] != DESCRIPTOR_VERSION)
            | unusable,
        }  # fmt: skip
        sizes = [field["channels"], field["dimensions"]]
        misfits = [(size == 0) | (size > descriptor.channels) for size in sizes]
        of_word[1] |= {
            "last_channel": sizes[0] - 1,
            "last_dimension": Mux(self.whitens, sizes[1], sizes[0]) - 1,
            "bad_rom": self.bad_rom | misfits[0] | misfits[1] | (~has_whitening & (sizes[0] != sizes[1])),
            "bad_map": too_many | (sizes[0] != channels),
        }
        size_differs = (field["height"] != layer.height) | (field["width"] != layer.width)
        of_word[2]["bad_map"] = self.bad_map | size_differs
        count = field["regions"]
        of_word[3]["bad_rom"] = self.bad_rom | (count == 0) | (count > DESCRIPTOR_REGIONS_MAX)
        of_word[9]["bad_rom"] = self.bad_rom | (field["words"] > descriptor.rom_words)

        m.d.comb += self.rom_en.eq(busy & (step != DESCRIPTOR_HEADER_USED))
        m.d.sync += self.done.eq(busy & (step == DESCRIPTOR_HEADER_USED))
        with m.If(busy):
            m.d.sync += step.eq(step + 1)
            with m.Switch(step):
                for number, values in of_word.items():
                    with m.Case(number + 1):
                        m.d.sync += [known[name].eq(value) for name, value in values.items()]
                        if number == 0:
                            m.d.sync += has_whitening.eq(field["whitening"])
            with m.If(step == DESCRIPTOR_HEADER_USED):
                m.d.sync += busy.eq(0)
        with m.If(self.go):
            m.d.sync += [busy.eq(1), step.eq(0)]
        return m
