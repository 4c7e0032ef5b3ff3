"""A pair of an image's pixels as it is written in 2x2 blocks: its colours, and the words that they go to."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from kestrel.hw.spec.blocks import COLOURS, SET_CHANNELS, SETS, STREAMS, block_words, set_words
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import bits_for


@dataclass(frozen=True)
class Pair:
    """What is written of a pair, until its last word.

    word: the number of the word written in this cycle; in_last_word: it is the last one; address,
    next_address: its address in the row of blocks and in the next one; bank: that of the row; sets: those
    written in the row, a bit each; pads: those of them that are pad values; below: set 2 is written in the
    next row; colours: the activations, by stream and colour."""

    word: Signal
    in_last_word: Signal
    address: Signal
    next_address: Signal
    bank: Signal
    sets: Signal
    pads: Signal
    below: Signal
    colours: list[list[Signal]]


def pair_registers(config: EngineConfig, slot: Signal) -> Pair:
    """The registers of a pair; addresses are as wide as ``slot``."""
    a = config.activation_bits
    address = Signal.like(slot, name="write_address", reset_less=True)
    return Pair(
        word=Signal(bits_for(block_words(config) - 1), name="word", reset_less=True),
        in_last_word=Signal(name="in_last_word", reset_less=True),
        address=address,
        next_address=Signal.like(address, name="write_next_address"),
        bank=Signal(2, name="write_bank", reset_less=True),
        sets=Signal(SETS, name="sets", reset_less=True),
        pads=Signal(SETS, name="pads", reset_less=True),
        below=Signal(name="below", reset_less=True),
        colours=[
            [Signal(a, name=f"colour_{stream}_{n}", reset_less=True) for n in range(COLOURS)]
            for stream in range(STREAMS)
        ],
    )


def last_word(config: EngineConfig, pair: Pair) -> Value:
    """The pair's last word: that of its last set."""
    words = [set_words(config, number)[-1] for number in range(SETS)]
    return Mux(pair.sets[2] | pair.below, words[2], Mux(pair.sets[1], words[1], words[0]))


def write_pair(
    m: Module, config: EngineConfig, pair: Pair, layer: data.View, writing: Signal, write: data.View
) -> None:  # fmt: skip
    """Drive ``write``, a feature_write, with the pair's word: each lane has a channel, and so a set, a stream
    and a colour."""
    lanes = [_lane(config, pair, layer, lane) for lane in range(config.word_lanes)]
    word, in_row, in_next_row = (Cat(parts) for parts in zip(*lanes, strict=True))
    m.d.comb += write.part.eq(0)
    for n in range(BANKS):
        here, above = pair.bank == n, pair.bank == (n - 1) % BANKS
        enables = Signal(config.word_lanes, name=f"enables_{n}")
        m.d.comb += [
            enables.eq(Mux(here, in_row, Mux(above, in_next_row, 0))),
            write.en[n].eq(writing & enables.any()),
            write.addr[n].eq(Mux(here, pair.address, pair.next_address)),
            write.lanes[n].eq(enables),
            write.data[n].eq(word),
        ]


def _lane(config: EngineConfig, pair: Pair, layer: data.View, lane: int) -> tuple[Value, Value, Value]:
    """What a lane of the word holds; whether it is written in the row of blocks, and in the next one."""
    a = config.activation_bits
    nothing = Const(0, 1)
    values: list[Value] = []
    words = block_words(config)
    in_row: list[Value] = [nothing] * words
    in_next_row: list[Value] = [nothing] * words
    for number in range(words):
        which, channel = divmod(number * config.word_lanes + lane, SET_CHANNELS)
        if which < SETS:
            stream, colour = divmod(channel, COLOURS)
            pad = layer[f"block_pad_{colour}"][:a]
            values.append(Mux(pair.pads[which], pad, pair.colours[stream][colour]))
            in_row[number] = pair.sets[which]
            if which == SETS - 1:
                in_next_row[number] = pair.below
    if not values:
        return Const(0, a), nothing, nothing
    # A lane without a channel in the last word has anything there.
    return Array(values)[pair.word], Array(in_row)[pair.word], Array(in_next_row)[pair.word]
