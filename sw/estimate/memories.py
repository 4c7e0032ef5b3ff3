"""The memories of an engine or a chip, in closed form; a test holds them to those in its Verilog."""

from dataclasses import dataclass

from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS, descriptor_unit
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.status import COUNTER_BITS
from kestrel.hw.spec.widths import ACCUMULATOR_BITS
from kestrel.sw.planning.geometry import pool_line_words

RECORD_COUNT = 256
"""Words of the memory of cycle records: one for each layer that a table may have."""


@dataclass(frozen=True)
class Memory:
    """``instances`` alike memories of ``words`` words of ``word_bits`` bits. ``kind``: "single" port, "dual"
    (one port reads, one writes) or "rom". ``lanes``: parts of a word with a write enable of their own."""

    name: str
    instances: int
    words: int
    word_bits: int
    kind: str
    lanes: int = 1

    @property
    def bits(self) -> int:
        """Of all instances."""
        return self.instances * self.words * self.word_bits


def engine_memories(config: EngineConfig) -> tuple[Memory, ...]:
    """Those of the engine, its ROMs among them."""
    features = (
        Memory(f"features, part {part}", BANKS, words, config.word_bits, "single", config.word_lanes)
        for part, words in enumerate(config.feature_words)
    )
    line_bits = config.output_lanes * config.activation_bits
    return (
        *features,
        Memory("partial sums", 1, config.partial_depth, config.output_lanes * ACCUMULATOR_BITS, "dual"),
        Memory("pool line", 1, pool_line_words(config), line_bits, "dual"),
        Memory("weights", 1, config.weight_words, config.rom_word_bits, "rom"),
        Memory("schedule table", 1, config.table_words, TABLE_WORD_BITS, "rom"),
        Memory("cycle records", 1, RECORD_COUNT, COUNTER_BITS, "dual"),
    )


def chip_memories(config: EngineConfig) -> tuple[Memory, ...]:
    """Those of a chip with a descriptor unit: the engine's, then the unit's."""
    unit = descriptor_unit(config)
    bits = DESCRIPTOR_SQUARES_BITS + 1
    return (
        *engine_memories(config),
        Memory("descriptor squares", 1, unit.channels, bits, "dual"),
        Memory("descriptor sums", 2, unit.maps * unit.channels, bits, "dual"),
        Memory("descriptor ROM", 1, unit.rom_words, unit.word_bits, "rom"),
    )
