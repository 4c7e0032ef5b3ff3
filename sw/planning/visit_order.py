"""The order of the visits and the places of the maps: layer by layer, or depth first to save memory.

Depth first means a few rows of every layer in turn, so that most maps are never kept whole.

The layers are cut into segments. Inside a segment the engine works depth first: it always runs the deepest
layer whose strip can be computed from the rows that exist. A map therefore needs room only for the rows
between what is written and what is still to be read, in a circular region. Between segments a map is kept
whole. Nothing is computed twice; the cost is a drained pipeline at each change of layer.

Regions of the same part may share addresses if their maps are not alive at the same time.

In a batch every map holds its images one below the other, and is visited in strips of rows like any other
map: a strip may reach from one image into the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.timing import drain_cycles
from kestrel.sw.model.network import map_sizes
from kestrel.sw.planning.geometry import (
    LayerRows,
    PlanLayer,
    Region,
    Visit,
    group_count,
    longest_load,
    pass_count,
    strip_rows,
)
from kestrel.sw.planning.maps import Reading, layer_rows, map_parts, readings, waits_for_shortcut
from kestrel.sw.planning.remedies import larger


@dataclass(frozen=True)
class Schedule:
    """The visits and the regions of the maps, the image's first. Record 0 is the input, record k + 1 is layer
    k, and the last records are the outputs, of inner maps and of the last one."""

    visits: tuple[Visit, ...]
    regions: tuple[Region, ...]
    lost: int
    """Estimated cycles lost to drained pipelines and to weight loads that strips are too short to hide."""

    @property
    def feature_words(self) -> tuple[int, int]:
        """Words used in a bank of each part of the feature memory."""
        ends = [max((r.end for r in self.regions if r.part == part), default=0) for part in (0, 1)]
        return ends[0], ends[1]


@dataclass(frozen=True)
class _Map:
    """The size of a map; map m is the one that record m writes. ``part``: of the feature memory."""

    height: int
    width: int
    stride: int
    part: int


@dataclass
class _Life:
    """What a schedule needs of a map: rows kept at once, and the visits of its first write and last read."""

    kept: int = 0
    first: int = -1
    last: int = -1


STRIPS = (1, 2, 3, 4, 6, 8, 12, 16)
"""The numbers of rows for a strip that are tried depth first."""


def choose_schedule(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int,
    blocks: bool = False, images: int = 1, inner: Sequence[int] = (),
) -> Schedule:  # fmt: skip
    """Layer by layer if the feature memory is large enough for that, otherwise the depth-first schedule that
    loses the fewest cycles. The first map consists of ``images`` images of ``height`` x ``width``.
    ``inner``: layers whose maps are output too, whole, before the last one. If no schedule fits, raises
    InputError with the smallest need that was found.
    """
    best = layer_by_layer(name, layers, config, height, width, blocks, images, inner)
    if _fits(best, config):
        return best
    tried = depth_first_schedules(name, layers, config, height, width, blocks, images, inner)
    found = [s for s in tried if _fits(s, config)]
    if found:
        return min(found, key=lambda s: (s.lost, sum(s.feature_words)))
    everything = [best, *tried]
    words = [min(s.feature_words[part] for s in everything) for part in (0, 1)]
    least = min(everything, key=lambda s: sum(s.feature_words)).feature_words
    enough = tuple(map(max, least, config.feature_words))
    size = f"{height} x {width}" + (f", {images} at once," if images > 1 else "")
    raise InputError(
        f"network {name} at {size} needs {least[0]} and {least[1]} words a bank in feature parts "
        f"0 and 1 (alone at least {words[0]} or {words[1]}); configuration {config.name!r} has "
        f"{config.feature_words[0]} and {config.feature_words[1]}; {larger(config, feature_words=enough)}"
    )


def layer_by_layer(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int,
    blocks: bool = False, images: int = 1, inner: Sequence[int] = (),
) -> Schedule:  # fmt: skip
    """Every map is kept whole, and there are only as many changes of layer as there are layers."""
    every = range(len(layers))
    return schedule(name, layers, config, height, width, every, images * height, blocks, images, inner)


def depth_first_schedules(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int,
    blocks: bool = False, images: int = 1, inner: Sequence[int] = (),
) -> list[Schedule]:  # fmt: skip
    """Schedules whose segments begin at the start and where maps become smaller, in every
    combination."""
    ends = [n for n in range(1, len(layers)) if layers[n - 1].shape.pool or layers[n].shape.stride > 1]
    found = (
        schedule(name, layers, config, height, width, cuts, rows, blocks, images, inner)
        for count in range(len(ends) + 1)
        for cuts in combinations(ends, count)
        for rows in STRIPS
        if rows <= images * height
    )
    return [one for one in found if keeps_pooled_rows(layers, one.visits)]


def keeps_pooled_rows(layers: Sequence[PlanLayer], visits: Sequence[Visit]) -> bool:
    """Whether no other layer pools between the strips of one whose 3x3 pooling keeps a row from strip to
    strip: there is one line memory."""
    keeper = -1  # the layer whose row the line memory holds
    for visit in visits:
        number = visit.record - 1
        if not 0 <= number < len(layers) or not layers[number].shape.pool:
            continue
        if visit.first_row and layers[number].shape.pool_size == 3 and keeper != number:
            return False
        keeper = number
    return True


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
    blocks: bool = False,
    images: int = 1,
    inner: Sequence[int] = (),
) -> Schedule:
    """The schedule with segments that begin at layer 0 and at each layer of ``cuts``, and with strips of
    about ``rows`` rows (more if rows are short, so that weight loads stay hidden). Raises InputError."""
    maps = _maps(layers, config, height, width, images)
    counted = layer_rows(layers, [m.height // images for m in maps], images)
    strips = [
        strip_rows(name, layer, rows_of.total, _columns(layer, maps[reading.source]), config, at_least=rows)
        for layer, rows_of, reading in zip(layers, counted, readings(layers), strict=True)
    ]
    visits = _visits(layers, maps, counted, strips, sorted({0, *cuts}), rows, inner)
    lives = _lives(layers, maps, counted, visits, config, blocks, inner)
    return Schedule(tuple(visits), _place(maps, lives), _lost(layers, maps, visits, config))


def _columns(layer: PlanLayer, source: _Map) -> int:
    """Columns that a layer computes of a map."""
    return layer.shape.conv_size(1, source.width)[1]


def _maps(
    layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int, images: int
) -> list[_Map]:
    sizes = [(height, width), *map_sizes([layer.shape for layer in layers], height, width)]
    channels = [layers[0].shape.in_channels, *(layer.shape.out_channels for layer in layers)]
    return [
        _Map(images * rows, columns, group_count(count, config.word_lanes) * columns, part)
        for (rows, columns), count, part in zip(sizes, channels, map_parts(layers), strict=True)
    ]


def _visits(
    layers: Sequence[PlanLayer], maps: Sequence[_Map], counted: Sequence[LayerRows], strips: Sequence[int],
    starts: Sequence[int], rows: int, inner: Sequence[int],
) -> list[Visit]:  # fmt: skip
    visits: list[Visit] = []
    written = [0] * len(maps)  # rows of each map
    done = [0] * len(layers)  # rows each layer has computed
    reads = readings(layers)
    totals = [of_layer.total for of_layer in counted]

    def run(record: int, first: int, count: int) -> None:
        last = visits[-1] if visits else None
        if last is not None and last.record == record == 0:  # one long visit to the input is enough
            visits[-1] = Visit(0, last.first_row, last.rows + count)
        else:
            visits.append(Visit(record, first, count))

    for start, end in zip(starts, [*starts[1:], len(layers)], strict=True):
        while done[start:end] != totals[start:end]:
            for number in reversed(range(start, end)):
                count = min(strips[number], totals[number] - done[number])
                if count and _is_ready(counted[number], reads[number], written, done[number] + count):
                    run(number + 1, done[number], count)
                    done[number] += count
                    written[number + 1] = counted[number].written(done[number])
                    if number in inner and done[number] == totals[number]:
                        run(len(maps) + inner.index(number), 0, maps[number + 1].height)
                    break
            else:
                assert start == 0, "a later segment begins with a whole map"
                count = min(rows, maps[0].height - written[0])
                run(0, written[0], count)
                written[0] += count
    run(len(maps) + len(inner), 0, maps[-1].height)
    return visits


def _is_ready(counted: LayerRows, reads: Reading, written: Sequence[int], end: int) -> bool:
    """Whether the rows are there that a layer needs for its rows before ``end``."""
    if written[reads.source] < counted.window(end - 1).stop:
        return False
    return reads.shortcut is None or written[reads.shortcut] > counted.shortcut_row(end - 1)


def _lives(
    layers: Sequence[PlanLayer], maps: Sequence[_Map], counted: Sequence[LayerRows],
    visits: Sequence[Visit], config: EngineConfig, blocks: bool, inner: Sequence[int],
) -> list[_Life]:  # fmt: skip
    lives = [_Life() for _ in maps]
    reads = readings(layers)
    # In row groups, and in blocks, a row of the image is also written into the row below it. In row groups
    # the next group of three begins where the last one ends.
    grouped = int(layers[0].in_row_groups(config))
    written = [0] * len(maps)
    needed: list[dict[int, int]] = [{} for _ in maps]  # by record: the first row that it has still to read
    for number, reading in enumerate(reads):
        for m in {reading.source, reading.shortcut} - {None}:
            needed[m][number + 1] = 0
    outputs = [*(layer + 1 for layer in inner), len(layers)]  # the map of each output
    for number, m in enumerate(outputs):
        needed[m][len(maps) + number] = 0
    for time, visit in enumerate(visits):
        end = visit.first_row + visit.rows
        if visit.record < len(maps):
            if visit.record == 0:
                written[0] = end + (grouped or blocks)
            else:
                written[visit.record] = counted[visit.record - 1].written(end)
            life = lives[visit.record]
            life.first = time if life.first < 0 else life.first
            life.last = max(life.last, time)
            still = min(needed[visit.record].values(), default=0)
            life.kept = max(life.kept, written[visit.record] - still)
        if visit.record >= len(maps):
            found = [(outputs[visit.record - len(maps)], end)]
        else:
            found = _rows_needed(counted, reads, visit.record, end, grouped)
        for m, row in found:
            lives[m].last = time
            needed[m][visit.record] = max(needed[m].get(visit.record, 0), row)
    return lives


def _rows_needed(
    counted: Sequence[LayerRows], reads: Sequence[Reading], record: int, done: int, grouped: int
) -> list[tuple[int, int]]:
    """The maps that the input or a layer reads, and the first row of each that it still needs after ``done``
    rows."""
    if record == 0:
        return []
    of_layer, reading = counted[record - 1], reads[record - 1]
    found = [(reading.source, done if record == 1 and grouped else of_layer.window(done).start)]
    if reading.shortcut is not None:
        row = of_layer.shortcut_row(done)
        if reading.shortcut == reading.source:
            return [(reading.source, min(row, found[0][1]))]
        found.append((reading.shortcut, row))
    return found


def _lost(
    layers: Sequence[PlanLayer], maps: Sequence[_Map], visits: Sequence[Visit], config: EngineConfig
) -> int:
    passes = [pass_count(layer, config) for layer in layers]
    loads = [longest_load(layer, config) for layer in layers]
    parts = [m.part for m in maps]
    waits = [
        group_count(layer.shape.out_channels, config.output_lanes) * waits_for_shortcut(reading, parts)
        for layer, reading in zip(layers, readings(layers), strict=True)
    ]
    columns = [_columns(layer, maps[r.source]) for layer, r in zip(layers, readings(layers), strict=True)]
    change = drain_cycles(config) + 1
    lost = 0
    for before, visit in pairwise(visits):
        lost += (before.record != visit.record) * change
        number = visit.record - 1
        if 0 <= number < len(layers):
            rows = group_count(visit.rows, layers[number].rows_at_once(config))
            lost += passes[number] * max(0, loads[number] - rows * columns[number])
            lost += waits[number] * drain_cycles(config)
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
            if maps[o].part == maps[m].part
            and lives[o].first <= lives[m].last
            and lives[m].first <= lives[o].last
        )
        base = 0
        for low, high in others:
            if base + size <= low:
                break
            base = max(base, high)
        placed[m] = Region(maps[m].part, base, slots[m], maps[m].stride, maps[m].width)
    return tuple(placed[m] for m in range(len(maps)))
