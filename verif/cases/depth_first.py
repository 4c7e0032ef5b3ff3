"""Plans that go depth first: a few rows of the image, then all rows that they allow in every layer, and so
on.

Maps are kept only as long as their rows are needed, in circular regions, and the visits of the layers
alternate. The engine must accept any such order; these plans test that.
"""

from dataclasses import replace

from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.table import KIND_INPUT
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.geometry import Region, Visit
from kestrel.sw.planning.plan import Plan, Record, make_plan


def depth_first_plan(
    network: CompressedNetwork, config: EngineConfig, height: int, width: int, chunk: int
) -> Plan:
    """A plan in which the image enters ``chunk`` rows at a time and every map is kept in as few rows as
    possible. Raises InputError as ``make_plan`` does."""
    whole = make_plan(network, config, height, width)
    visits, kept = _walk(whole, chunk)
    return replace(whole, records=_regions(whole, kept), visits=tuple(visits))


def _walk(plan: Plan, chunk: int) -> tuple[list[Visit], list[int]]:
    """The visits, and for each map the rows that must be kept; map m is the one that record m writes."""
    records = plan.records
    done = [0] * len(records)  # rows that each record has worked on
    kept = [0] * len(records)
    visits: list[Visit] = []

    def written(record: int) -> int:
        return done[record] // _divisor(records[record])

    while done[-1] < records[-1].height:
        for number, record in enumerate(records):
            rows = _rows(plan, number, chunk, done[number], written(number - 1) if number else 0)
            if not rows:
                continue
            visits.append(Visit(number, done[number], rows))
            done[number] += rows
            if record.write is not None:
                # The oldest row that the reader still needs is the one above the next row it works on.
                reader = records[number + 1]
                grouped = number == 0 and plan.row_groups
                oldest = max(0, done[number + 1] - (1 if reader.layer is not None and not grouped else 0))
                # In row groups, the row below is written too.
                kept[number] = max(kept[number], written(number) + grouped - oldest)
    return visits, kept


def _rows(plan: Plan, number: int, chunk: int, done: int, available: int) -> int:
    """Rows of the record's next visit, 0 if it must wait. ``available`` is the number of rows of the map that
    it reads."""
    record = plan.records[number]
    if record.kind == KIND_INPUT:
        return min(chunk, record.height - done)
    if record.layer is None:
        return available - done
    complete = available == record.height
    # An odd last row that the pooling drops is not computed.
    computed = record.layer.rows(record.height)
    rows = min(available if complete else available - 1, computed) - done
    at_once = record.layer.rows_at_once(plan.config)
    rows = min(rows, at_once * (plan.config.partial_depth // record.width))
    if done + rows < computed:
        rows -= rows % at_once
    if record.layer.shape.pool and done + rows < computed:
        rows -= rows % 2
    return max(rows, 0)


def _divisor(record: Record) -> int:
    return 2 if record.layer is not None and record.layer.shape.pool else 1


def _regions(plan: Plan, kept: list[int]) -> tuple[Record, ...]:
    """The records with circular regions; those in the same part of the memory follow one another."""
    next_base = [0, 0]
    records: list[Record] = []
    before: Region | None = None
    for record, rows in zip(plan.records, kept, strict=True):
        region = record.write
        if region is not None:
            region = replace(region, base=next_base[region.part], slots=-(-rows // BANKS))
            next_base[region.part] = region.end
        records.append(replace(record, read=before if record.read is not None else None, write=region))
        before = region
    return tuple(records)
