"""Bench of the feature memory: one part read while the other is written, lane by lane."""

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.engine_config import BANKS
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import Step, script
from kestrel.verif.blocks.support.simulator import pack, rng, unpack
from kestrel.verif.blocks.support.writes import BankWrite

CONFIG = bench_config()
A, LANES = CONFIG.activation_bits, CONFIG.word_lanes


def any_write(source: Random, part: int, place: int) -> tuple[dict[str, Any], dict[int, BankWrite]]:
    """The input ``write`` and what it writes."""

    def one(place: int) -> BankWrite:
        return place, source.randrange(1, 1 << LANES), source.getrandbits(CONFIG.word_bits)

    if CONFIG.writes_banks:
        enables = source.randrange(1 << BANKS)
        banks = [one(source.choice((0, 1, place))) for _ in range(BANKS)]
        addr, lanes, data = (list(column) for column in zip(*banks, strict=True))
        write = {"en": enables, "part": part, "addr": addr, "lanes": lanes, "data": data}
        return write, {bank: banks[bank] for bank in range(BANKS) if enables >> bank & 1}
    bank, (addr, lanes, data) = source.randrange(BANKS), one(place)
    write = {
        "en": source.randrange(2), "part": part, "bank": bank, "addr": addr, "lanes": lanes, "data": data
    }  # fmt: skip
    return write, {bank: (addr, lanes, data)} if write["en"] else {}


def traffic(source: Random, cycles: int) -> Iterator[Step]:
    """Reads and writes at any time, never both in one part; few addresses, so that they meet. What was
    never written, and what a bank gives before its first read, is not determined. Resets change nothing
    in the memories, but the banks may then show the other part until the next read."""
    words: dict[tuple[int, int, int], list[int | None]] = {}
    output: dict[tuple[int, int], list[int | None]] = {}
    shown: int | None = None
    unknown: list[int | None] = [None] * LANES
    for _ in range(cycles):
        rst = int(source.random() < 0.01)
        part = source.randrange(2)
        places = [source.choice((0, 1, size - 1, source.randrange(size))) for size in CONFIG.feature_words]
        read_en = source.randrange(2)
        write, written = any_write(source, 1 - part, places[1 - part])
        reads = [source.choice((0, 1, places[part])) for _ in range(BANKS)]
        banks = [
            None if shown is None or None in (word := output.get((shown, bank), unknown)) else pack(
                [value or 0 for value in word], A
            )
            for bank in range(BANKS)
        ]  # fmt: skip
        yield (
            {"rst": rst, "read_en": read_en, "read_part": part, "read_addresses": reads, "write": write},
            {"banks": banks},
        )
        shown = None if rst else part
        for bank in range(BANKS):
            if read_en:
                output[part, bank] = list(words.get((part, bank, reads[bank]), unknown))
        for bank, (addr, lanes, data) in written.items():
            word = words.setdefault((1 - part, bank, addr), list(unknown))
            for lane, value in enumerate(unpack(data, A, LANES)):
                if lanes >> lane & 1:
                    word[lane] = value


@cocotb.test()
async def any_traffic(dut):
    await script(Block(dut), traffic(rng("traffic"), 6000))
