"""The weight loader with its ROM, and a shadow of the registers that its buses write.

When a tile is ready its kernels, biases and pad values must be there two cycles later, when the last beat has
been written; and ``ready`` must come in exactly the modelled cycle.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.hw.spec.masks import decode_digit
from kestrel.hw.spec.timing import FILL_CYCLES, bias_hold_cycles
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.simulator import Scoreboard, fail

CONFIG = bench_config()
P_I, P_O, K = CONFIG.input_lanes, CONFIG.output_lanes, CONFIG.load_kernels
WRITE_CYCLES = 3
"""From the cut of the last beat to the cycle in which its bus write has taken effect."""


@dataclass(frozen=True)
class Load:
    """A tile to load: the inputs that describe it, its first ROM word if it does not follow the last tile,
    the beats of pad values and kernels and those of biases, and what must then be in the registers (by lane;
    only lanes that the tile says something about). ``rewind``: the tile once more, for another digit."""

    tile: dict[str, int]
    base: int | None
    weight_beats: int
    bias_beats: int
    kernels: dict[tuple[int, int], tuple[int, list[int]]]
    biases: dict[int, int]
    pads: dict[int, int]
    rewind: bool = False


class Loader:
    """Drives the loader, serves its ROM, and keeps the registers behind its buses."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.block = Block(dut)
        self.rom: list[int] = []
        self.kernels: dict[tuple[int, int], tuple[int, list[int]]] = {}
        self.biases: dict[int, int] = {}
        self.pads: dict[int, int] = {}
        self.quiet = dict.fromkeys(self.block.inputs, 0)
        self.block.drive(self.quiet)

    async def cycle(self, **inputs: Any) -> bool:
        """One clock cycle with these inputs; returns ``ready`` in it."""
        block = self.block
        block.drive({"clear": 0, "start": 0, "rebase": 0, "emitting": 0, "taken": 0, **inputs})
        await FallingEdge(self.dut.clk)
        ready = bool(block.sample("ready"))
        self._register()
        read, address = block.sample("rom_en"), block.sample("rom_addr")
        await RisingEdge(self.dut.clk)
        if read:
            # Beyond the image the ROM gives anything; the loader fetches ahead.
            block.drive({"rom_data": self.rom[address] if address < len(self.rom) else 0x5A})
        return ready

    def _register(self) -> None:
        bus = self.block.sample("kernels")
        for o in range(P_O):
            for block in range(P_I // K):
                if bus["out"] >> o & 1 and bus["block"] >> block & 1:
                    for k, kernel in enumerate(bus["kernels"]):
                        digits = [decode_digit(code, CONFIG.digit_bits) for code in kernel["digits"]]
                        self.kernels[o, block * K + k] = (kernel["alpha"], digits)
        for name, target in (("biases", self.biases), ("pads", self.pads)):
            bus = self.block.sample(name)
            values = bus["biases" if name == "biases" else "values"]
            for block in range(bus["block"].bit_length()):
                if bus["block"] >> block & 1:
                    target.update({block * K + k: value for k, value in enumerate(values)})

    async def load(self, load: Load, board: Scoreboard[Any], source: Random, emitting: int | None) -> None:
        """Load a tile, compare registers and the cycle of ``ready``. ``emitting``: the cycle after start in
        which the pass handed over with it emits."""
        beats = FILL_CYCLES + load.weight_beats
        if load.bias_beats:
            hold = 0 if emitting is None else emitting + bias_hold_cycles(P_I)
            beats = max(beats, hold) + load.bias_beats
        rebase = load.base is not None and not load.rewind
        await self.cycle(
            start=1, rebase=int(rebase), base=load.base if rebase else source.randrange(len(self.rom)),
            rewind=int(load.rewind), emitting=int(emitting == 0), taken=1,
        )  # fmt: skip
        for n in range(1, beats + 1):
            ready = await self.cycle(**load.tile, emitting=int(emitting == n))
            if ready != (n == beats):
                raise fail(f"ready is {ready} in cycle {n} after start, expected in cycle {beats}: {load}")
        for _ in range(WRITE_CYCLES - 1 + source.choice((0, 0, 4))):
            if not await self.cycle(**load.tile):
                raise fail("ready fell without taken")
        board.expect([(load.kernels, load.biases, load.pads)])
        board.receive(
            (
                {key: self.kernels[key] for key in load.kernels},
                {key: self.biases[key] for key in load.biases},
                {key: self.pads[key] for key in load.pads},
            )
        )
