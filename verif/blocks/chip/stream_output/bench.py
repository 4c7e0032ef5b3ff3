"""Bench of the output stream's side: packets with pauses on both sides, aborts in any cycle, resets."""

from collections.abc import Iterator

import cocotb

from kestrel.hw.spec.widths import BYTE
from kestrel.verif.blocks.chip.stream_output.model import StreamOutput
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import always, pauses, rng

LANES = bench_config().word_lanes


@cocotb.test()
async def packets(dut):
    """The core offers and withdraws as it likes, as after an abort; the sink takes nothing for long."""
    source = rng("packets")
    model = StreamOutput()

    def rows() -> Iterator[dict[str, int]]:
        def row(valid: int, last: int, rst: int = 0) -> dict[str, int]:
            return {
                "from_tvalid": valid, "from_tdata": source.getrandbits(BYTE * LANES),
                "from_tkeep": source.getrandbits(LANES), "from_tlast": last,
                "m_axis_tready": int(takes()), "abort": int(source.random() < aborts), "rst": rst,
            }  # fmt: skip

        for turn in range(40):
            offers = pauses(source, 0.4) if turn % 3 else always
            takes = pauses(source, source.choice((0.3, 0.8)), mean_burst=5) if turn % 4 else always
            aborts, lasts = source.choice((0, 0.02, 0.2)), source.choice((0.05, 0.3, 1))
            yield row(1, 0, rst=1)
            for _ in range(120):
                yield row(int(offers()), int(source.random() < lasts))

    await lockstep(Block(dut), model, rows())
