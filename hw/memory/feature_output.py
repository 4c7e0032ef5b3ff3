"""Feature output: sends the last feature map as a stream of words."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, visit_layout
from kestrel.hw.common.place import place
from kestrel.hw.memory.raster import Raster, connect_raster
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import BYTE


class FeatureOutput(wiring.Component):
    """Sends one memory word a beat, row by row, pixel by pixel, channels innermost; a byte an activation.

    TKEEP marks the channels that exist; TLAST comes with the frame's last beat. A word read from the
    memory stays on the memory's output while the beat before it waits, so nothing is buffered twice.

    Members
    -------
    go : In(1)                            Begins a visit, described by ``visit`` and ``layer``.
    visit : In(visit_layout)              Which rows of the map are sent, and where they lie; taken with
                                          ``go``.
    layer : In(layer_layout)              The record of the output: ``in_groups`` counts the words of a
                                          pixel, ``last_in_lanes`` the channels of its last one. It must stay
                                          until ``ending``.
    active : Out(1)                       High from the cycle after ``go`` to that of ``ending``.
    ending : Out(1)                       High in one cycle, the one after the visit's last beat.
    read_en : Out(1)                      Reads the feature memory.
    address : Out(feature_address_bits)   The address in every bank of the feature memory.
    banks : In(3 x word_bits)             The words of the banks, one cycle after ``read_en``.
    tdata : Out(8 * word_lanes)           The beat: lane 0 in the lowest byte, 0 in lanes that do not exist.
    tkeep : Out(word_lanes)               Which bytes of the beat exist.
    tlast : Out(1)                        The beat is the frame's last one.
    tvalid : Out(1)                       A beat is offered; it stays until it is taken.
    tready : In(1)                        The beat is taken.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "active": Out(1),
                "ending": Out(1),
                "read_en": Out(1),
                "address": Out(feature_address_bits(config)),
                "banks": In(data.ArrayLayout(config.word_bits, BANKS)),
                "tdata": Out(BYTE * config.word_lanes),
                "tkeep": Out(config.word_lanes),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        lanes = config.word_lanes

        raster = Raster(config)
        place(m, "raster", raster)
        connect_raster(m, raster, self.visit, layer, "read")

        # Two stages: the memory's output (fetched) and the stream's registers.
        reading = Signal()
        move = Signal()
        fetched = Signal()
        m.d.comb += [
            move.eq(~self.tvalid | self.tready),
            self.read_en.eq(reading & move),
            self.address.eq(raster.address),
            raster.go.eq(self.go),
            raster.step.eq(self.read_en),
        ]
        with m.If(self.read_en & raster.ends_strip):
            m.d.sync += reading.eq(0)

        fetched_bank = Signal(2, reset_less=True)
        fetched_last = Signal(reset_less=True)
        fetched_ends_pixel = Signal(reset_less=True)
        with m.If(move):
            m.d.sync += [fetched.eq(reading), self.tvalid.eq(fetched)]
        with m.If(self.read_en):
            m.d.sync += [
                fetched_bank.eq(raster.bank),
                fetched_last.eq(raster.ends_image),
                fetched_ends_pixel.eq(raster.ends_pixel),
            ]
        m.d.sync += self.ending.eq(self.tvalid & self.tready & ~reading & ~fetched)
        with m.If(self.ending):
            m.d.sync += self.active.eq(0)

        word = Signal(config.word_bits)
        with m.Switch(fetched_bank):
            for n in range(BANKS):
                with m.Case(n):
                    m.d.comb += word.eq(self.banks[n])
        tdata = Signal.like(self.tdata, reset_less=True)
        tkeep = Signal.like(self.tkeep, reset_less=True)
        tlast = Signal(reset_less=True)
        m.d.comb += [self.tdata.eq(tdata), self.tkeep.eq(tkeep), self.tlast.eq(tlast)]
        with m.If(move & fetched):
            m.d.sync += tlast.eq(fetched_last)
            for lane in range(lanes):
                exists = ~fetched_ends_pixel | (lane < layer.last_in_lanes)
                value = word.word_select(lane, config.activation_bits)
                m.d.sync += [
                    tdata.word_select(lane, BYTE).eq(Mux(exists, value, Const(0, BYTE))),
                    tkeep[lane].eq(exists),
                ]

        with m.If(self.go):
            m.d.sync += [self.active.eq(1), reading.eq(1)]
        return m
