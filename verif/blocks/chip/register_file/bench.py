"""Bench of the register file: any reads and writes, of registers and beside them, while it is busy or not,
with causes set in the same cycle as they are cleared."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.registers import ADDRESS_BITS, BY_NAME, REGISTER_BITS, REGISTERS
from kestrel.hw.spec.status import COUNTER_BITS
from kestrel.verif.blocks.chip.register_file.model import BY_WORD, RegisterFile
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.observed import Bin, Observed
from kestrel.verif.blocks.support.simulator import pauses, rng


def any_word(source: Random, bits: int = REGISTER_BITS) -> int:
    """All zeros and ones more often than the rest."""
    choice = source.random()
    return 0 if choice < 0.1 else (1 << bits) - 1 if choice < 0.3 else source.getrandbits(bits)


def any_address(source: Random) -> int:
    """A word: of a register that can be written, of one of all, just behind one, or any."""
    plain = [r.address >> 2 for r in REGISTERS if r.access != "ro"]
    return source.choice((
        source.choice(plain), source.choice(list(BY_WORD)), source.choice(list(BY_WORD)) + 1,
        source.getrandbits(ADDRESS_BITS - 2), (BY_NAME["counters"].address >> 2) + source.randrange(16),
    )) % (1 << ADDRESS_BITS - 2)  # fmt: skip


def inputs(source: Random, busy: bool, *, rst: int = 0, **known: int) -> dict[str, Any]:
    """A cycle."""
    row: dict[str, Any] = {
        "write": int(source.random() < 0.6), "waddr": any_address(source), "wdata": any_word(source),
        "wstrb": any_word(source, 4), "read": source.getrandbits(1), "raddr": any_address(source),
        "busy": int(busy), "counter_value": source.getrandbits(COUNTER_BITS), "rst": rst,
    }  # fmt: skip
    for register in REGISTERS:
        if register.access == "ro" and register.name not in ("record_cycles", "counters"):
            row[register.name] = register.unpack(source.getrandbits(REGISTER_BITS))
        elif register.access == "w1c":
            word = source.getrandbits(REGISTER_BITS) if source.random() < 0.3 else 0
            row[f"{register.name}_set"] = register.unpack(word)
    return row | known


@cocotb.test()
async def any_access(dut):
    source = rng("accesses")
    idle = pauses(source, 0.4, mean_burst=8)

    def rows() -> Iterator[dict[str, Any]]:
        yield inputs(source, False, rst=1)
        for _ in range(2500):
            yield inputs(source, not idle(), rst=int(source.random() < 0.002))

    await lockstep(Block(dut), RegisterFile(), rows())


STATES = ("idle", "busy")


def accesses() -> list[Bin]:
    """Each register, read and written, while the chip is busy and while it is not."""
    return [(r.name, access, state) for r in REGISTERS for access in ("read", "write") for state in STATES]


def look(row: Mapping[str, Any], outputs: Mapping[str, Any]) -> Iterator[Bin]:
    """Bins of a cycle. Only with a byte that is strobed a register counts as written."""
    del outputs
    state = STATES[row["busy"]]
    written = row["write"] and row["wstrb"]
    for access, address, holds in (("read", row["raddr"], True), ("write", row["waddr"], written)):
        if holds and address in BY_WORD and not row["rst"]:
            yield BY_WORD[address].name, access, state


@cocotb.test()
async def every_register_in_every_state(dut):
    """Each word of each register, and those beside them, written and read while busy and while not: with all
    ones, with none, and with each byte alone."""
    source = rng("registers")
    places = [n for n, r in BY_WORD.items() if r.count == 1]
    places += [0x15, 0x1FF, 0x200, 0x2FF, 0x300, 0x307, 0x308]  # ends of the counters' words, and beyond

    def rows() -> Iterator[dict[str, Any]]:
        yield inputs(source, False, rst=1)
        for busy in (False, True):
            for place in places:
                for strobes in (0, 1, 2, 4, 8, 15):
                    for data in (0, (1 << REGISTER_BITS) - 1):
                        yield inputs(source, busy, write=1, waddr=place, raddr=place, wdata=data,
                                     wstrb=strobes)  # fmt: skip

    observed = Observed(RegisterFile(), "register x access x busy", accesses(), lambda: look)
    await lockstep(Block(dut), observed, rows())
    observed.finish()
