"""Accesses of the engine's memories during a frame, in closed form from the plan. The probes of
``kestrel.verif.physical.activity`` count the same accesses.
"""

from dataclasses import dataclass

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.table import KIND_CONV, KIND_OUTPUT
from kestrel.hw.spec.widths import ACCUMULATOR_BITS
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import group_count, output_group_tiles, tile_passes
from kestrel.sw.planning.plan import Plan

READ_AHEAD = 3
"""The most words that the weight loader reads past a tile, and again if the next one begins there."""


@dataclass(frozen=True)
class Accesses:
    """The words read and written during a frame, and the bits of a word."""

    width: int
    reads: int
    writes: int

    @property
    def bits_read(self) -> int:
        return self.reads * self.width

    @property
    def bits_written(self) -> int:
        return self.writes * self.width


def memory_accesses(plan: Plan) -> dict[str, Accesses]:
    """Accesses of the feature memory (all banks of both parts), the partial sums, the pooling line and the
    weight ROM.

    A pass takes one word from each of three banks a cycle; the output stream reads all banks too. A map is
    written once; the image of row groups, whose rows lie in three lane groups, three times. Partial sums are
    read unless a sum begins, and written unless it ends. For the weight ROM, these are the words that hold
    the tiles, for every visit of a layer and every digit; the loader reads up to ``READ_AHEAD`` words more at
    the end of each. Held to the simulation without options; ``residual``, ``row_groups`` and ``batch`` follow
    from the same plan, but no probes count them.
    """
    config = plan.config
    streaming = [record.streaming for record in frame_cycles(plan).records]
    feature_reads = feature_writes = sums = line = weights = 0
    for number, record in enumerate(plan.records):
        groups = group_count(record.channels, config.word_lanes)
        if record.kind == KIND_OUTPUT:
            feature_reads += BANKS * record.height * record.width * groups
            continue
        copies = ROW_GROUPS if plan.row_groups and number == 0 else 1
        feature_writes += record.out_height * record.out_width * groups * copies
        if record.kind != KIND_CONV or record.layer is None:
            continue
        layer, shape = record.layer, record.layer.shape
        rows = group_count(record.rows, layer.rows_at_once(config))
        out_groups = group_count(shape.out_channels, config.output_lanes)
        passes = sum(tile_passes(tile, layer) for tile in output_group_tiles(layer, config))
        feature_reads += BANKS * streaming[number]
        sums += rows * record.conv_width * out_groups * (passes - 1)
        line += record.out_height * record.out_width * out_groups if shape.pool else 0
    for visit in plan.visits:
        record = plan.records[visit.record]
        if record.layer is not None:
            weights += record.weight_words * PASSES[record.layer.mask_bits]
    return {
        "features": Accesses(config.word_bits, feature_reads, feature_writes),
        "partial sums": Accesses(config.output_lanes * ACCUMULATOR_BITS, sums, sums),
        "pool line": Accesses(config.output_lanes * config.activation_bits, line, line),
        "weights": Accesses(config.rom_word_bits, weights, 0),
    }
