"""Bench of the input stream's side: frames with pauses on both sides, aborts in any cycle, resets."""

from collections.abc import Iterator

import cocotb

from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.verif.blocks.chip.stream_input.model import StreamInput
from kestrel.verif.blocks.support.lockstep import Block, bench_config, lockstep
from kestrel.verif.blocks.support.simulator import always, pauses, rng

BITS = PIXEL_BITS * bench_config().stream_bytes


@cocotb.test()
async def frames(dut):
    """The lengths of one beat and two first. Aborts come more and less often, also with ``start`` and twice
    in a row; a core takes beats whether it has been started or not."""
    source = rng("frames")
    model = StreamInput()

    def rows() -> Iterator[dict[str, int]]:
        def row(valid: int, data: int, last: int, rst: int = 0) -> dict[str, int]:
            return {
                "s_axis_tvalid": valid, "s_axis_tdata": data, "s_axis_tlast": last, "to_tready": int(takes()),
                "start": int(source.random() < starts), "abort": int(source.random() < aborts), "rst": rst,
            }  # fmt: skip

        for turn in range(30):
            offers = pauses(source, 0.4) if turn % 3 else always
            takes = pauses(source, source.choice((0.3, 0.8))) if turn % 4 else always
            starts, aborts = source.choice((0.02, 0.3)), source.choice((0, 0.02, 0.2))
            yield row(1, source.getrandbits(BITS), source.getrandbits(1), rst=1)
            for length in [1, 1, 1, 1, 1, 2, *(source.randint(1, 9) for _ in range(12))]:
                for n in range(length):
                    while not offers():
                        yield row(0, source.getrandbits(BITS), source.getrandbits(1))
                    data = source.getrandbits(BITS)
                    taken = False
                    while not taken:
                        taken = model.takes
                        yield row(1, data, int(n == length - 1))

    await lockstep(Block(dut), model, rows())
