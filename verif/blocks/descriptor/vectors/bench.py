"""Bench of the descriptor unit's vectors: passes of every kind in any order, each element and each cycle."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.hw.descriptor.passes import Pass
from kestrel.hw.spec.descriptor import DESCRIPTOR_FRACTION, DESCRIPTOR_REGIONS_MAX, descriptor_unit
from kestrel.sw.retrieval.pooling.cycles import COPIED, ROOTED, SQUARED
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.simulator import PERIOD_NS, fail, rng

LENGTH = {Pass.COPY: COPIED, Pass.SQUARE_ROWS: SQUARED, Pass.SQUARE_BEST: SQUARED}
"""Cycles of a pass beyond its elements; ROOTED for the others."""


class Vectors:
    """The block, driven operation by operation, and what must be in it. ``map``: the one that is at work."""

    def __init__(self, dut, source):
        self.dut, self.source = dut, source
        self.block = Block(dut)
        self.squares: list[int] = []  # with the sign of the element
        self.signs: list[int] = []
        self.maps = descriptor_unit(bench_config()).maps
        self.sums_of: list[list[int]] = [[] for _ in range(self.maps)]
        self.best_of: list[list[int]] = [[] for _ in range(self.maps)]
        self.map = 0
        self.largest = 0

    @property
    def sums(self) -> list[int]:
        return self.sums_of[self.map]

    @sums.setter
    def sums(self, values: list[int]) -> None:
        self.sums_of[self.map] = values

    @property
    def best(self) -> list[int]:
        return self.best_of[self.map]

    @best.setter
    def best(self, values: list[int]) -> None:
        self.best_of[self.map] = values

    async def cycle(self, **inputs):
        """One cycle with these inputs; what is not named is anything that does no harm."""
        quiet = {"start": 0, "rewind": 0, "square_valid": 0, "square": self.source.getrandbits(32),
                 "unseen": 0, "row_valid": 0, "read": 0, "x": self.source.getrandbits(32),
                 "x_amount": self.source.getrandbits(6), "y": self.source.getrandbits(17)}  # fmt: skip
        if self.maps > 1:
            quiet["map"] = self.map
        self.block.drive(quiet | inputs)
        await FallingEdge(self.dut.clk)
        names = ("busy", "done", "add", "value", "element", "shifted", "product")
        found = {name: self.block.sample(name) for name in names}
        await RisingEdge(self.dut.clk)
        return found

    async def multiply(self):
        """A product for the parent, while no pass runs."""
        x, amount, y = (self.source.getrandbits(bits) for bits in (32, 6, 17))
        await self.cycle(x=x, x_amount=amount)
        shifted = (await self.cycle(y=y))["shifted"]
        await self.cycle()
        product = (await self.cycle())["product"]
        wanted = (x << 31 >> amount) & 0xFFFFFFFF
        if (shifted, product) != (wanted, wanted * y):
            raise fail(f"{x} by {amount} is {shifted}, times {y} {product}; not {wanted}, {wanted * y}")

    async def reset(self):
        self.block.drive({"rst": 1})
        await self.cycle(start=1)
        self.block.drive({"rst": 0})

    async def load_squares(self, values):
        """As the sums of squares come."""
        await self.cycle(rewind=1)
        for value in values:
            while self.source.random() < 0.1:
                await self.cycle()
            await self.cycle(square_valid=1, square=value)
        self.squares, self.signs = list(values), [0] * len(values)

    async def load_rows(self, values):
        """As the whitening's rows come: in the place of squares, of any size."""
        await self.cycle(unseen=1)
        for index, value in enumerate(values):
            await self.cycle(row_valid=1, row_index=index,
                             row={"magnitude": abs(value), "sign": int(value < 0)})  # fmt: skip
        self.squares, self.signs = [abs(v) for v in values], [int(v < 0) for v in values]
        self.largest = max(map(abs, values))
        await self.cycle()

    def expect(self, mode, fresh, amount, reciprocal):
        """What the pass makes of the vectors; the squares that it adds to the total."""

        def roots():
            shifted = [(s << 31 >> amount) & 0xFFFFFFFF for s in self.squares]
            ratios = [s * reciprocal >> 16 & 0xFFFFFFFF for s in shifted]
            found = [int(np.sqrt(float(q))) for q in ratios]
            found = [r - (r * r > q) for r, q in zip(found, ratios, strict=True)]
            return [-r if sign else r for r, sign in zip(found, self.signs, strict=True)]

        if mode == Pass.SUM:
            before = [0] * len(self.squares) if fresh else self.sums
            self.sums = [b + abs(r) for b, r in zip(before, roots(), strict=True)]
        elif mode in (Pass.COPY, Pass.TURN):
            new = self.sums if mode == Pass.COPY else roots()
            self.best = list(new) if fresh else [max(a, b) for a, b in zip(new, self.best, strict=True)]
            self.largest = max(map(abs, self.best))
        elif mode == Pass.UNIT:
            self.sums = roots()
        else:
            source = self.best if mode == Pass.SQUARE_BEST else self.squares
            if mode == Pass.SQUARE_BEST:
                self.signs = [int(b < 0) for b in source]
            shift = self.largest.bit_length() + DESCRIPTOR_FRACTION - 1
            self.squares = [(abs(b) << 31 >> shift) ** 2 for b in source]
            return self.squares
        return []

    async def run(self, mode, fresh, amount=0, reciprocal=0, stop=0):
        """A pass, held to its cycles and its squares. True if it was stopped by a reset."""
        count = len(self.squares)
        await self.cycle(start=1, mode=mode, fresh=fresh, last_index=count - 1, amount=amount,
                         reciprocal=reciprocal)  # fmt: skip
        total = count + LENGTH.get(mode, ROOTED)
        added = []
        for number in range(1, total):
            found = await self.cycle()
            if not found["busy"] or found["done"] != (number == total - 1):
                raise fail(f"{mode.name}: busy {found['busy']}, done {found['done']} in cycle {number}")
            if found["add"]:
                added.append(found["value"])
            if number == stop:
                return True
        if (await self.cycle())["busy"]:
            raise fail(f"{mode.name}: busy after its end")
        expected = self.expect(mode, fresh, amount, reciprocal)
        if added != expected:
            raise fail(f"{mode.name}: squares {added}, not {expected}")
        return False

    async def check(self, of_best):
        wanted = self.best if of_best else self.sums
        found = []
        for index in range(len(wanted)):
            await self.cycle(read=1, read_best=of_best, read_index=index)
            element = (await self.cycle())["element"]
            found.append(-element["magnitude"] if element["sign"] else element["magnitude"])
        if found != wanted:
            raise fail(f"{'best' if of_best else 'sums'}: {found}, not {wanted}")


@cocotb.test()
async def passes(dut):
    source = rng("passes")
    vectors = Vectors(dut, source)
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await vectors.reset()

    def numbers(count, bits, signed=False):
        most = 1 << source.randint(1, bits)
        kind = source.random()
        found = [0 if kind < 0.1 else source.randrange(most) for _ in range(count)]
        return [-v if signed and source.random() < 0.5 else v for v in found]

    def factor():
        """Place and reciprocal of a total that is not below any square."""
        total = max(1, sum(vectors.squares))
        place = total.bit_length() - 1
        return {"amount": place, "reciprocal": ((1 << 48) - 1) // (total << 31 >> place)}

    for number in range(40):
        vectors.map = source.randrange(vectors.maps)
        count = source.choice((1, 2, 3, 17, source.randint(1, 60)) if number else (512,))
        regions, whitened = source.randint(1, 3), source.random() < 0.5
        if number == 1:  # sums as large as they get
            count, regions, whitened = 1, DESCRIPTOR_REGIONS_MAX, False
        for region in range(regions):
            await vectors.load_squares(numbers(count, 32))
            await vectors.run(Pass.SUM, int(region == 0), **factor())
        await vectors.check(0)
        await vectors.multiply()
        for turn in range(source.randint(1, 3)):
            if whitened:
                await vectors.load_rows(numbers(count, 32, signed=True))
                await vectors.run(Pass.SQUARE_ROWS, 0)
                await vectors.run(Pass.TURN, int(turn == 0), **factor())
            else:
                if turn:
                    await vectors.load_squares(numbers(count, 32))
                    await vectors.run(Pass.SUM, source.getrandbits(1), **factor())
                await vectors.run(Pass.COPY, int(turn == 0))
            await vectors.check(1)
        if not whitened and source.random() < 0.3:  # which leaves ``best`` as it is
            await vectors.run(Pass.SUM, source.getrandbits(1), **factor())
        await vectors.run(Pass.SQUARE_BEST, 0)
        if source.random() < 0.3:
            stop = source.randint(1, count + ROOTED - 2)
            await vectors.run(Pass.UNIT, 0, **factor(), stop=stop)
            await vectors.reset()
            vectors.sums = []  # a part of them was written
            continue
        await vectors.run(Pass.UNIT, 0, **factor())
        await vectors.check(0)
        for other in range(vectors.maps):  # the vectors of other maps are as they were left
            vectors.map = other
            await vectors.check(0)


@cocotb.test()
async def squares_of_every_length(dut):
    """Rows as short and as long as they get: the longest decides how far all are shifted."""
    source = rng("lengths")
    vectors = Vectors(dut, source)
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await vectors.reset()
    for bit in range(32):
        for largest in (1 << bit, (2 << bit) - 1):
            rows = [largest, source.randrange(largest + 1), *([0] * source.randrange(2))]
            source.shuffle(rows)
            await vectors.load_rows([row * source.choice((-1, 1)) for row in rows])
            await vectors.run(Pass.SQUARE_ROWS, 0)
