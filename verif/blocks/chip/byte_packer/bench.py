"""Bench of the byte packer: packets of any length with pauses on both sides, resets in the middle."""

from collections.abc import Iterator

import cocotb

from kestrel.hw.spec.widths import BYTE
from kestrel.verif.blocks.chip.byte_packer.model import BytePacker
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import always, pauses, rng

LANES = bench_config().word_lanes


@cocotb.test()
async def packets(dut):
    """The lengths round one word and two first, then any."""
    source = rng("packets")
    model = BytePacker(LANES)

    def rows() -> Iterator[dict[str, int]]:
        def row(valid: int, data: int, last: int, ready: int, rst: int = 0) -> dict[str, int]:
            return {"i_tvalid": valid, "i_tdata": data, "i_tlast": last, "o_tready": ready, "rst": rst}

        def anything() -> tuple[int, int]:
            return source.getrandbits(BYTE), source.getrandbits(1)

        yield row(1, *anything(), 1, rst=1)
        lengths = [1, 2, LANES - 1, LANES, LANES + 1, 2 * LANES - 1, 2 * LANES, 2 * LANES + 1]
        for share in (0.0, 0.3, 0.8):
            offers = pauses(source, share) if share else always
            takes = pauses(source, source.choice((0.2, 0.7))) if share else always
            for length in [*lengths, *(source.randint(1, 5 * LANES) for _ in range(40))]:
                if source.random() < 0.05:
                    yield row(1, *anything(), 1, rst=1)
                for n in range(max(length, 1)):
                    while not offers():
                        yield row(0, *anything(), int(takes()))
                    byte = source.choice((0, 0xFF, source.getrandbits(BYTE)))
                    taken = False
                    while not taken:
                        taken = model.takes
                        yield row(1, byte, int(n == length - 1), int(takes()))

    await lockstep(Block(dut), model, rows())
