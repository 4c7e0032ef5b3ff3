"""Writes into the feature memory as benches expect them: into one bank, or into several."""

from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.engine_config import BANKS, EngineConfig

BankWrite = tuple[int, int, int]
"""Address, lanes and data."""


def expected_write(config: EngineConfig, part: int, banks: Mapping[int, BankWrite]) -> dict[str, Any]:
    """A ``feature_write`` that writes these banks; what is not written is not determined."""
    if not config.writes_banks:
        ((bank, (addr, lanes, data)),) = banks.items()
        return {"en": 1, "part": part, "bank": bank, "addr": addr, "lanes": lanes, "data": data}
    columns = [[banks[bank][n] if bank in banks else None for bank in range(BANKS)] for n in range(3)]
    return {
        "en": sum(1 << bank for bank in banks), "part": part,
        "addr": columns[0], "lanes": columns[1], "data": columns[2],
    }  # fmt: skip


def no_write(config: EngineConfig) -> dict[str, Any]:
    """Nothing is written."""
    nothing = {"en": 0, "part": None, "addr": None, "lanes": None, "data": None}
    return nothing if config.writes_banks else nothing | {"bank": None}
