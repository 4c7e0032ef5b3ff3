"""Bench of the table watch: tables of any records and visits, with values on both sides of each limit, read
from one end to the other or here and there, also by the self-check."""

from collections.abc import Iterator
from random import Random

import cocotb

from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS, Field
from kestrel.hw.spec.table import HEADER_FIELDS, layer_fields, visit_fields, visit_words
from kestrel.verif.blocks.chip.table_watch.model import TableWatch
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import rng

CONFIG = bench_config()
RECORDS = CONFIG.table_words // RECORD_WORDS
WIDTHS = (0, 1, CONFIG.max_width, *(CONFIG.max_width + (1 << bit) for bit in range(4)))
LIMITS = {
    "visits_base": (RECORD_WORDS, 2 * RECORD_WORDS, CONFIG.table_words - RECORD_WORDS, CONFIG.table_words),
    "height": (0, 1), "width": WIDTHS, "shortcut": (0, 1, 2, 3), "shortcut_width": WIDTHS,
    "kind": (0, 1, 2, 3), "layer": (0, 1, RECORDS - 1, RECORDS),
}  # fmt: skip
"""What is drawn for a field besides any value. Ends of regions: round the size of each part."""

SIZES = [size + more for size in CONFIG.feature_words for more in (-1, 0, 1)]


def word(source: Random, layout: tuple[Field, ...], number: int, near: tuple[int, ...] = ()) -> int:
    """A word of a record."""
    value = source.getrandbits(TABLE_WORD_BITS)
    for field in layout:
        if field.word == number and source.random() < 0.9:
            edges = SIZES if field.name.endswith(("_base", "_end")) else LIMITS.get(field.name, ())
            if field.name == "layer":
                edges = (*edges, *near)
            chosen = source.choice(list(edges) or [source.getrandbits(field.width)]) & field.max
            value = value & ~(field.max << field.lsb) | chosen << field.lsb
    return value


def table(source: Random, base: int) -> Iterator[int]:
    """The words of a table with its visits at ``base``."""
    layers, visits = layer_fields(CONFIG), visit_fields(CONFIG)
    for address in range(CONFIG.table_words):
        if address == 2:
            yield base
        elif address < RECORD_WORDS:
            yield word(source, HEADER_FIELDS, address)
        elif address < base:
            yield word(source, layers, address % RECORD_WORDS)
        else:
            record = base // RECORD_WORDS
            yield word(source, visits, address % visit_words(CONFIG), (record - 1, record, record + 1))


@cocotb.test()
async def any_table(dut):
    source = rng("tables")

    def rows() -> Iterator[dict[str, int]]:
        for turn in range(40):
            any_record = source.randrange(2, RECORDS) * RECORD_WORDS
            base = any_record
            if turn % 4 == 0:
                base = source.choice((*LIMITS["visits_base"], source.getrandbits(24)))
            elif turn % 4 == 1:  # in a record: each bit of an address within one counts
                base += 1 << turn // 4 % (RECORD_WORDS - 1).bit_length()
            words = list(table(source, base))
            yield {"en": 1, "addr": 2, "data": source.getrandbits(32), "frame": 1, "words": 0, "rst": 1}
            last = source.choice(
                (0, 0, 1, CONFIG.table_words, source.randint(1, CONFIG.table_words), 1 << source.randrange(8))
            )
            straight = list(range(CONFIG.table_words))
            jumps = [2, *(source.randrange(CONFIG.table_words) for _ in range(150))]
            waiting = source.getrandbits(TABLE_WORD_BITS)
            of_frame = source.choice((1, 0.7))
            for addr in straight if turn % 3 else jumps:
                while True:
                    en = source.random() < 0.8
                    yield {
                        "en": int(en), "addr": addr if en else source.randrange(CONFIG.table_words),
                        "data": waiting, "frame": int(source.random() < of_frame), "words": last, "rst": 0,
                    }  # fmt: skip
                    waiting = words[addr] if en else source.getrandbits(TABLE_WORD_BITS)
                    if en:
                        break

    await lockstep(Block(dut), TableWatch(CONFIG), rows())
