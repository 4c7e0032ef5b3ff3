from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import layer_layout, tile_layout
from kestrel.hw.control.tile_counter import TileCounter
from kestrel.hw.spec.engine_config import EngineConfig


class TileCounterAlone(wiring.Component):
    """The sequencer's counter of tiles as a block, with the members of ``TileCounter`` as ports; ``shortcut``
    is that the tile is one of a shortcut."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "layer": In(layer_layout(config)),
                "first": In(1),
                "next": In(1),
                "tile": Out(tile_layout(config)),
                "first_of_visit": Out(1),
                "last_digit": Out(1),
                "last_in": Out(1),
                "last_out": Out(1),
                **({"shortcut": Out(1)} if config.residual else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        del platform
        m = Module()
        counter = TileCounter(self.config, self.layer)
        counter.add_to(m, self.tile)
        m.d.comb += [counter.first.eq(self.first), counter.next.eq(self.next)]
        for name in ("first_of_visit", "last_digit", "last_in", "last_out"):
            m.d.comb += getattr(self, name).eq(getattr(counter, name))
        if counter.shortcut is not None:
            m.d.comb += self.shortcut.eq(counter.shortcut.active)
        return m


def make(config: EngineConfig) -> TileCounterAlone:
    return TileCounterAlone(config)
