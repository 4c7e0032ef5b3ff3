"""2x2/2 maximum pooling of the results as they come, or none; for residual networks 3x3/2 as well."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.common.pixel import pixel_layout, result_layout
from kestrel.hw.common.place import delayed, place
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import bits_for


class PoolLane(wiring.Component):
    """Maxima of one output lane.

    Members
    -------
    y : In(A)            The result of this pixel, one a cycle.
    above : In(A)        The line memory's word: the maximum of the pixel pair in the row above.
    lower : In(1)        The pixel lies in an odd row, so that ``above`` counts.
    across : Out(A)      The maximum of this pixel and the one before it.
    pooled : Out(A)      The maximum of ``across`` and, if ``lower``, of ``above``.

    With ``residual``, for windows of 3x3:

    alone : In(1)        The pixel before does not count: ``across`` is ``y``.
    keep : In(1)         For the next pixel ``across`` counts as the pixel before it, not ``y``.
    """

    def __init__(self, activation_bits: int, residual: bool = False) -> None:
        self.residual = residual
        a = activation_bits
        super().__init__(
            {"y": In(a), "above": In(a), "lower": In(1), "across": Out(a), "pooled": Out(a)}
            | ({"alone": In(1), "keep": In(1)} if residual else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before = Signal.like(self.y, reset_less=True)
        takes = self.y > before
        m.d.sync += before.eq(self.y)
        if self.residual:
            takes |= self.alone
            with m.If(self.keep):
                m.d.sync += before.eq(self.across)
        m.d.comb += [
            self.across.eq(Mux(takes, self.y, before)),
            self.pooled.eq(Mux(self.lower & (self.above > self.across), self.above, self.across)),
        ]
        return m


@dataclass(frozen=True)
class _Course:
    """Where the pixel of ``y`` lies in its window, and what the line memory does meanwhile.

    lower: the memory's word counts; complete: the maximum across is complete; emits: results leave in this
    row; read, read_address, write, write_address: the memory's ports."""

    lower: Value
    complete: Value
    emits: Value
    read: Value
    read_address: Value
    write: Value
    write_address: Value


class Pool(wiring.Component):
    """Takes results row by row; pooled ones leave at every second pixel of every second row.

    The maxima of pixel pairs of an even row wait in a line memory for the row below. A strip of a layer that
    is pooled 2x2 begins on an even row.

        cycle 0   ``ahead``; with ``config.residual`` the line memory is read
        cycle 1   ``y``; in an odd row the line memory is read for the pair that ends one cycle later
        cycle 2   ``result``, ``data``

    The pixels of a pass that pools must come without gaps, and ``pool`` must stay until the last result.

    **3x3 windows** (``pool_3x3``) reach over rows 2y - 1 to 2y + 1 and columns 2x - 1 to 2x + 1, as far as
    they exist. The maximum across is complete at an odd column, and at the last one of an odd width; it is
    that of the pixel, and of a running maximum of the two before. Row 2y - 1 belongs to two windows:

        even row   the memory's word becomes the maximum of itself (but for the first row) and this row's
        odd row    the maximum of the word and this row's is the result; the word becomes this row's
        last row   of an odd height: the maximum of the word and this row's is the result

    The memory has a word for each output group and pooled column, one group behind the other, so the state
    outlives a strip, which may begin on any row. Strips that do not pool may come in between, with nothing
    to be seen.

    Members
    -------
    ahead : In(pixel_layout)      The pixel of the results that come in the next cycle.
    y : In(P_o x A)               The results of the output lanes.
    pool : In(1)                  The layer pools.
    result : Out(result_layout)   What there is to write, and what ends with it.
    data : Out(P_o x A)           The activations to be written.
    pool_3x3 : In(1)              Only with ``config.residual``: a layer that pools has windows of 3x3 with
                                  padding 1.
    grouped : In(1)               Only with ``config.row_groups``: the layer runs in row groups. ``result``
                                  and ``data`` then belong to ``y`` and come in the same cycle.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        lanes = data.ArrayLayout(config.activation_bits, config.output_lanes)
        optional = {"grouped": In(1)} if config.row_groups else {}
        if config.residual:
            optional["pool_3x3"] = In(1)
        super().__init__(
            optional
            | {
                "ahead": In(pixel_layout(config)),
                "y": In(lanes),
                "pool": In(1),
                "result": Out(result_layout(config)),
                "data": Out(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        a = config.activation_bits

        pixel = delayed(m, self.ahead, 1, "pixel")
        column = Signal(range(config.max_width))
        course = self._windows(m, pixel, column) if config.residual else self._squares(m, pixel, column)
        above = Signal(config.output_lanes * a)
        across = Signal(config.output_lanes * a)
        pooled = Signal(config.output_lanes * a) if config.residual else across
        if config.residual:
            # In an odd row the word begins anew; in an even one of 2x2 windows the two are the same.
            self._line(m, course, above, Mux(pixel.odd, across, pooled))
        else:
            self._memory(m, course.read, course, above, across)
        value = Signal.like(self.data, reset_less=True)
        m.d.comb += self.data.eq(value)
        for n in range(config.output_lanes):
            lane = PoolLane(a, config.residual)
            place(m, f"lane_{n}", lane)
            m.d.comb += [
                lane.y.eq(self.y[n]),
                lane.above.eq(above.word_select(n, a)),
                lane.lower.eq(course.lower),
                across.word_select(n, a).eq(lane.across),
            ]
            if config.residual:
                m.d.comb += [
                    pooled.word_select(n, a).eq(lane.pooled),
                    lane.alone.eq(self._wide & (column == 0)),
                    lane.keep.eq(self._wide & ~column[0]),
                ]
            m.d.sync += value[n].eq(Mux(self.pool, lane.pooled, self.y[n]))
        result = self.result
        if config.row_groups:
            # The values of the other rows need no registers if none of the three waits here.
            result = Signal.like(self.result, name="result_pooled")
            m.d.comb += self.result.eq(result)
            with m.If(self.grouped):
                m.d.comb += [
                    self.result.valid.eq(pixel.valid),
                    self.result.row_end.eq(pixel.valid & pixel.row_end),
                    self.result.last.eq(pixel.valid & pixel.last),
                    self.result.last_out.eq(pixel.last_out),
                    self.result.rows.eq(pixel.rows),
                    self.data.eq(self.y),
                ]
        m.d.sync += [
            result.valid.eq(pixel.valid & (~self.pool | (course.emits & course.complete))),
            result.row_end.eq(pixel.valid & pixel.row_end & (~self.pool | course.emits)),
            result.last.eq(pixel.valid & pixel.last),
            result.last_out.eq(pixel.last_out),
        ]
        return m

    @property
    def _depth(self) -> int:
        """Words of the line memory."""
        return max(2, self.config.max_width // 2)

    @property
    def _wide(self) -> Value:
        """The layer pools in windows of 3x3."""
        return self.pool & self.pool_3x3

    def _squares(self, m: Module, pixel: data.View, column: Signal) -> _Course:
        """Windows of 2x2, in an engine that has no others."""
        lower = Signal()  # in an odd row
        with m.If(pixel.valid):
            m.d.sync += column.eq(column + 1)
            with m.If(pixel.row_end):
                m.d.sync += [column.eq(0), lower.eq(~lower)]
            with m.If(pixel.last):
                m.d.sync += lower.eq(0)
        pair = pixel.valid & column[0]
        address = column[1 : 1 + bits_for(self._depth - 1)]
        return _Course(
            lower=lower,
            complete=column[0],
            emits=lower,
            # Read while the pair's first pixel passes.
            read=self.pool & pixel.valid & lower & ~column[0],
            read_address=address,
            write=self.pool & pair & ~lower,
            write_address=address,
        )

    def _windows(self, m: Module, pixel: data.View, column: Signal) -> _Course:
        """Windows of both kinds. The last column of an odd width may be a window's only one in its row: the
        memory is read a cycle earlier than for pairs."""
        address_bits = bits_for(self._depth - 1)
        wide = self._wide
        base = Signal(address_bits)  # of the output group; stays 0 with windows of 2x2
        address = Signal(address_bits)
        next_column = Signal.like(column, name="next_column")  # of the pixel that is ahead
        next_base = Signal.like(base, name="next_base")
        m.d.comb += [next_column.eq(column), next_base.eq(base), address.eq(base + column[1:])]
        with m.If(pixel.valid):
            m.d.comb += next_column.eq(Mux(pixel.row_end, 0, column + 1))
            with m.If(wide & pixel.last):
                m.d.comb += next_base.eq(Mux(pixel.last_out, 0, address + 1))
        m.d.sync += [column.eq(next_column), base.eq(next_base)]
        read_address = Signal.like(address, name="read_address")
        m.d.comb += read_address.eq(next_base + next_column[1:])
        complete = column[0] | (wide & pixel.row_end)
        return _Course(
            lower=pixel.odd | (wide & ~pixel.top),
            complete=complete,
            emits=pixel.odd | (wide & pixel.bottom),
            read=self.pool & self.ahead.valid & ~next_column[0] & (wide | self.ahead.odd),
            read_address=read_address,
            write=self.pool & pixel.valid & complete & (wide | ~pixel.odd),
            write_address=address,
        )

    def _line(self, m: Module, course: _Course, above: Signal, word: Value) -> None:
        """The line memory where a word may be wanted in the very cycle in which it is written, as it is in
        maps one or two pixels wide: it is then handed on."""
        stored, written = Signal.like(above), Signal.like(above, reset_less=True)
        meets = Signal()
        handed_on = Signal()
        m.d.comb += [
            meets.eq(course.write & (course.write_address == course.read_address)),
            above.eq(Mux(handed_on, written, stored)),
        ]
        with m.If(course.read):
            m.d.sync += handed_on.eq(meets)
            with m.If(meets):
                m.d.sync += written.eq(word)
        self._memory(m, course.read & ~meets, course, stored, word)

    def _memory(self, m: Module, read: Value, course: _Course, rdata: Signal, wdata: Value) -> None:
        ram_1r1w(
            m,
            "line",
            width=len(rdata),
            depth=self._depth,
            ren=read,
            raddr=course.read_address,
            rdata=rdata,
            wen=course.write,
            waddr=course.write_address,
            wdata=wdata,
        )
