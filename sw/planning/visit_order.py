"""The order of the visits and the places of the maps: layer by layer, or depth first to save memory.

Depth first means a few rows of every layer in turn, so that most maps are never kept whole.

The layers are cut into segments. Inside a segment the engine works depth first: it always runs the deepest
layer whose strip can be computed from the rows that exist. A map therefore needs room only for the rows
between what is written and what is still to be read, in a circular region. Between segments a map is kept
whole. Nothing is computed twice; the cost is a drained pipeline at each change of layer.

Regions of the same part may share addresses if their maps are not alive at the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.timing import drain_cycles
from kestrel.sw.planning.geometry import (
    PlanLayer,
    Region,
    Visit,
    group_count,
    longest_load,
    strip_rows,
    tile_count,
)
from kestrel.sw.planning.remedies import larger


@dataclass(frozen=True)
class Schedule:
    """The visits and the regions of the maps, the image's first. Record 0 is the input, record k + 1 is layer
    k, and the last record is the output."""

    visits: tuple[Visit, ...]
    regions: tuple[Region, ...]
    lost: int
    """Estimated cycles lost to drained pipelines and to weight loads that strips are too short to hide."""

    @property
    def feature_words(self) -> tuple[int, int]:
        """Words used in a bank of each part of the feature memory."""
        ends = [max(r.end for r in self.regions[part::2]) if self.regions[part::2] else 0 for part in (0, 1)]
        return ends[0], ends[1]


@dataclass(frozen=True)
class _Map:
    """The size of a map; map m is the one that record m writes."""

    height: int
    width: int
    stride: int


@dataclass
class _Life:
    """What a schedule needs of a map: rows kept at once, and the visits of its first write and last read."""

    kept: int = 0
    first: int = -1
    last: int = -1


STRIPS = (1, 2, 3, 4, 6, 8, 12, 16)
"""The numbers of rows for a strip that are tried depth first."""


def choose_schedule(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int
) -> Schedule:
    """Layer by layer if the feature memory is large enough for that, otherwise the depth-first schedule that
    loses the fewest cycles. If no schedule fits, raises InputError with the smallest need that was found.
    """
    best = layer_by_layer(name, layers, config, height, width)
    if _fits(best, config):
        return best
    found = [s for s in depth_first_schedules(name, layers, config, height, width) if _fits(s, config)]
    if found:
        return min(found, key=lambda s: (s.lost, sum(s.feature_words)))
    everything = [best, *depth_first_schedules(name, layers, config, height, width)]
    words = [min(s.feature_words[part] for s in everything) for part in (0, 1)]
    least = min(everything, key=lambda s: sum(s.feature_words)).feature_words
    enough = tuple(map(max, least, config.feature_words))
    raise InputError(
        f"network {name} at {height} x {width} needs {least[0]} and {least[1]} words a bank in feature parts "
        f"0 and 1 (alone at least {words[0]} or {words[1]}); configuration {config.name!r} has "
        f"{config.feature_words[0]} and {config.feature_words[1]}; {larger(config, feature_words=enough)}"
    )


def layer_by_layer(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int
) -> Schedule:
    """Every map is kept whole, and there are only as many changes of layer as there are layers."""
    return schedule(name, layers, config, height, width, range(len(layers)), height)


def depth_first_schedules(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int
) -> list[Schedule]:
    """Schedules whose segments begin at the start and after some poolings, in every combination."""
    ends = [n + 1 for n, layer in enumerate(layers[:-1]) if layer.shape.pool]
    return [
        schedule(name, layers, config, height, width, cuts, rows)
        for count in range(len(ends) + 1)
        for cuts in combinations(ends, count)
        for rows in STRIPS
        if rows <= height
    ]


def _fits(found: Schedule, config: EngineConfig) -> bool:
    return all(w <= c for w, c in zip(found.feature_words, config.feature_words, strict=True))


def schedule(
    name: str,
    layers: Sequence[PlanLayer],
    config: EngineConfig,
    height: int,
    width: int,
    cuts: Sequence[int],
    rows: int,
) -> Schedule:
    """The schedule with segments that begin at layer 0 and at each layer of ``cuts``, and with strips of
    about ``rows`` rows (more if rows are short, so that weight loads stay hidden). Raises InputError."""
    maps = _maps(layers, config, height, width)
    strips = [
        strip_rows(name, layer, layer.rows(m.height), m.width, config, at_least=rows)
        for layer, m in zip(layers, maps, strict=False)
    ]
    visits = _visits(layers, maps, strips, sorted({0, *cuts}), rows)
    lives = _lives(layers, maps, visits, config)
    return Schedule(tuple(visits), _place(maps, lives), _lost(layers, maps, visits, config))


def _maps(layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int) -> list[_Map]:
    maps = []
    channels = layers[0].shape.in_channels
    for layer in (*layers, None):
        maps.append(_Map(height, width, group_count(channels, config.word_lanes) * width))
        if layer is not None:
            divisor = 2 if layer.shape.pool else 1
            height, width, channels = height // divisor, width // divisor, layer.shape.out_channels
    return maps


def _visits(
    layers: Sequence[PlanLayer], maps: Sequence[_Map], strips: Sequence[int], starts: Sequence[int], rows: int
) -> list[Visit]:
    visits: list[Visit] = []
    written = [0] * len(maps)  # rows of each map
    done = [0] * len(layers)  # rows each layer has worked on

    def run(record: int, first: int, count: int) -> None:
        last = visits[-1] if visits else None
        if last is not None and last.record == record == 0:  # one long visit to the input is enough
            visits[-1] = Visit(0, last.first_row, last.rows + count)
        else:
            visits.append(Visit(record, first, count))

    for start, end in zip(starts, [*starts[1:], len(layers)], strict=True):
        while done[end - 1] < layers[end - 1].rows(maps[end - 1].height):
            for number in reversed(range(start, end)):
                ready = _ready(layers[number], maps[number], strips[number], done[number], written[number])
                if ready:
                    run(number + 1, done[number], ready)
                    done[number] += ready
                    divisor = 2 if layers[number].shape.pool else 1
                    written[number + 1] = min(done[number] // divisor, maps[number + 1].height)
                    break
            else:
                assert start == 0, "a later segment begins with a whole map"
                count = min(rows, maps[0].height - written[0])
                run(0, written[0], count)
                written[0] += count
    run(len(layers) + 1, 0, maps[-1].height)
    return visits


def _ready(layer: PlanLayer, source: _Map, strip: int, done: int, available: int) -> int:
    """Rows that the layer's next strip would have, or 0 if the rows it needs are not there yet."""
    count = min(strip, layer.rows(source.height) - done)
    below = min(done + count + 1, source.height)
    return count if available >= below else 0


def _lives(
    layers: Sequence[PlanLayer], maps: Sequence[_Map], visits: Sequence[Visit], config: EngineConfig
) -> list[_Life]:
    lives = [_Life() for _ in maps]
    # In row groups, a row of the image is also written into the row below it, and the next group of three
    # begins where the last one ends.
    grouped = int(layers[0].in_row_groups(config))
    written = [0] * len(maps)
    needed = [0] * len(maps)  # first row that is still to be read
    for time, visit in enumerate(visits):
        writes, reads = visit.record, visit.record - 1
        if writes < len(maps):
            pooled = writes > 0 and layers[writes - 1].shape.pool
            rows = (visit.first_row + visit.rows) // (2 if pooled else 1)
            written[writes] = min(rows, maps[writes].height) + (grouped if writes == 0 else 0)
            life = lives[writes]
            life.first = time if life.first < 0 else life.first
            life.kept = max(life.kept, written[writes] - needed[writes])
        if reads >= 0:
            lives[reads].last = time
            needed[reads] = max(0, visit.first_row + visit.rows - (0 if reads == 0 and grouped else 1))
    return lives


def _lost(
    layers: Sequence[PlanLayer], maps: Sequence[_Map], visits: Sequence[Visit], config: EngineConfig
) -> int:
    passes = [PASSES[layer.mask_bits] * tile_count(layer, config) for layer in layers]
    loads = [longest_load(layer, config) for layer in layers]
    change = drain_cycles(config) + 1
    lost = 0
    for before, visit in pairwise(visits):
        lost += (before.record != visit.record) * change
        number = visit.record - 1
        if 0 <= number < len(layers):
            rows = group_count(visit.rows, layers[number].rows_at_once(config))
            lost += passes[number] * max(0, loads[number] - rows * maps[number].width)
    return lost


def _place(maps: Sequence[_Map], lives: Sequence[_Life]) -> tuple[Region, ...]:
    """Regions for the maps, largest first, each at the lowest address at which it does not overlap another
    map that is alive at the same time."""
    slots = [group_count(life.kept, BANKS) for life in lives]
    order = sorted(range(len(maps)), key=lambda m: -slots[m] * maps[m].stride)
    placed: dict[int, Region] = {}
    for m in order:
        size = slots[m] * maps[m].stride
        others = sorted(
            (placed[o].base, placed[o].end)
            for o in placed
            if o % 2 == m % 2 and lives[o].first <= lives[m].last and lives[m].first <= lives[o].last
        )
        base = 0
        for low, high in others:
            if base + size <= low:
                break
            base = max(base, high)
        placed[m] = Region(m % 2, base, slots[m], maps[m].stride, maps[m].width)
    return tuple(placed[m] for m in range(len(maps)))
