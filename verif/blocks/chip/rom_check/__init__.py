from kestrel.hw.chip.rom_check import RomCheck
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.engine_config import EngineConfig


def chip_config(config: EngineConfig) -> ChipConfig:
    """A chip with a descriptor ROM if the configuration says how large it is."""
    words, rows = config.descriptor_words, config.whitening_rows
    return ChipConfig(config, DescriptorConfig(rom_words=words, matrix_rows=rows) if words else None)


def make(config: EngineConfig) -> RomCheck:
    return RomCheck(chip_config(config))
