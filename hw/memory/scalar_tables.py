"""Tables of scalars: how the scalars of a layer that has some are looked up, K a cycle."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value

from kestrel.hw.spec.engine_config import EngineConfig, table_beat_entries
from kestrel.hw.spec.widths import (
    SCALAR_BITS,
    SCALAR_WIDTHS,
    TABLE_ENTRIES_MAX,
    TAPS,
    bits_for,
    kernel_bits,
    scalar_table_bits,
    table_entries,
)


class ScalarTables:
    """The table of the layer that is loaded and, with ``config.residual``, that of its shortcut.

    A table comes in beats of as many entries as fit one, ``table_beat_entries``. The beats are written one
    cycle after they were cut, so that the kernels of the beat behind them find the table complete.

    Attributes
    ----------
    phase : Signal     To be driven: a beat of a table passes.
    own : Signal       With ``phase``: it is of the layer's own table, not of its shortcut's.
    last : Value       With ``phase``: it is the table's last beat.
    need : Value       Bits of the beat.
    """

    def __init__(self, config: EngineConfig, scalar_bits: Value) -> None:
        self._config = config
        self._scalar_bits = scalar_bits
        self._at_once = table_beat_entries(config)
        self.phase = Signal(name="table_phase")
        self.own = Signal(name="own_table", init=1)
        self._beat = Signal(bits_for(TABLE_ENTRIES_MAX // self._at_once - 1), name="table_beat")
        self._tables = [
            [
                Signal(SCALAR_BITS, name=f"{name}_scalar_{n}", reset_less=True)
                for n in range(TABLE_ENTRIES_MAX)
            ]
            for name in ("own", "shortcut")[: 1 + config.residual]
        ]

    def by_width(self, m: Module, name: str, values: dict[int, int]) -> Signal:
        """The value of the layer's scalar width, ``values`` by scalar bits; 0 for widths not among them."""
        found = Signal(bits_for(max(values.values())), name=name)
        with m.Switch(self._scalar_bits):
            for bits, value in values.items():
                with m.Case(bits):
                    m.d.comb += found.eq(value)
        return found

    @property
    def present(self) -> Value:
        """Whether the layer has tables."""
        return self._scalar_bits != SCALAR_BITS

    def measure(self, m: Module) -> None:
        """Find the bits of a beat, and whether it is the last one of its table."""
        widths = [bits for bits in SCALAR_WIDTHS if table_entries(bits)]
        beats = {bits: -(-table_entries(bits) // self._at_once) for bits in widths}
        most = self._at_once * SCALAR_BITS
        needs = {bits: min(scalar_table_bits(bits), most) for bits in widths}
        self.need: Value = self.by_width(m, "table_need", needs)
        self.last: Value = Const(1)
        if max(beats.values()) > 1:
            self.last = self._beat == self.by_width(m, "last_beat", {b: n - 1 for b, n in beats.items()})
        with m.If(self.phase):
            m.d.sync += self._beat.eq(Mux(self.last, 0, self._beat + 1))

    def begin(self, m: Module, own: Value | int) -> None:
        """At the first beat of a tile: from the first table on, which is the layer's own or its shortcut's.
        A broken frame leaves a table half read."""
        m.d.sync += [self.own.eq(own), self._beat.eq(0)]

    def write(self, m: Module, bits: Value, written: Value, own: Value, beat: Value) -> None:
        """Stage 2: with ``written``, the cut ``bits`` into their place."""
        for table, mine in zip(self._tables, (own, ~own), strict=False):
            with m.If(written & mine), m.Switch(beat):
                for n in range(0, TABLE_ENTRIES_MAX, self._at_once):
                    with m.Case(n // self._at_once):
                        m.d.sync += Cat(table[n : n + self._at_once]).eq(bits)

    @property
    def beat(self) -> Signal:
        """The number of the beat that passes, within its table."""
        return self._beat

    def look_up(
        self, m: Module, bits: Value, start: Value, starts: list[int], shortcut: Value | int
    ) -> list[Value]:
        """Stage 2: the scalars of the kernels whose stored scalars lie in ``bits`` from ``start`` on, which
        is one of ``starts``. ``shortcut``: they are of the shortcut's kernels."""
        k = self._config.load_kernels
        stored = Signal(SCALAR_BITS * k, name="stored_scalars")
        with m.Switch(start):
            for place in starts:
                with m.Case(place):
                    m.d.comb += stored.eq(bits[place:])
        entries = [*self._tables[0]]
        if self._config.residual:
            entries = [Mux(shortcut, theirs, ours) for ours, theirs in zip(*self._tables, strict=True)]
        table: list[Value] = []
        for n, entry in enumerate(entries):
            value = Signal(SCALAR_BITS, name=f"entry_{n}")
            m.d.comb += value.eq(entry)
            table.append(value)
        found: list[Value] = []
        for n in range(k):
            number, scalar = Signal(SCALAR_BITS, name=f"number_{n}"), Signal(SCALAR_BITS, name=f"scalar_{n}")
            with m.Switch(self._scalar_bits):
                for width in SCALAR_WIDTHS:
                    with m.Case(width):
                        m.d.comb += number.eq(stored[n * width : (n + 1) * width])
            m.d.comb += scalar.eq(Array(table)[number[: (TABLE_ENTRIES_MAX - 1).bit_length()]])
            with m.If(~self.present):
                m.d.comb += scalar.eq(number)
            found.append(scalar)
        return found


def scalar_starts(config: EngineConfig) -> list[int]:
    """Where the scalars of a beat can begin: behind the masks of 1 to K kernels."""
    units = [kernel_bits(bits, 0) for bits in config.mask_widths] + [1] * config.residual
    counts = range(1, config.load_kernels + 1)
    starts = sorted({count * unit for unit in units for count in counts})
    assert starts[-1] == config.load_kernels * TAPS * config.mask_bits_max
    return starts
