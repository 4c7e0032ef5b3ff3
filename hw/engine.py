"""The engine: the core with its ROMs."""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from kestrel.hw.common.connections import Interface
from kestrel.hw.common.memories import rom
from kestrel.hw.common.place import place
from kestrel.hw.core import Core, engine_ports
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS


class Engine(wiring.Component):
    """What stands alone: ``Core`` says what the ports are.

    In Verilog the ROMs are loaded from files. ``images`` are for simulation with Amaranth: the words of
    ``table`` and ``weights``.
    """

    def __init__(self, config: EngineConfig, images: Mapping[str, Sequence[int]] | None = None) -> None:
        self.config = config
        self.images = images or {}
        super().__init__(engine_ports(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, core = self.config, Core(self.config)
        place(m, "core", core)
        outside: Any = wiring.flipped(self)
        wiring.connect(m, outside, Interface(core, "", self.signature))
        for name, width, words in (
            ("table", TABLE_WORD_BITS, config.table_words),
            ("weights", config.rom_word_bits, config.weight_words),
        ):
            en, addr, data = (getattr(core, f"{name}_{port}") for port in ("en", "addr", "data"))
            image = self.images.get(name, ())
            rom(m, name, width=width, depth=words, en=en, addr=addr, rdata=data, init=image)
        return m
