"""The proof of a plan is worth something only if it rejects wrong plans."""

from dataclasses import replace
from itertools import pairwise

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.model.network import ConvShape
from kestrel.sw.planning.geometry import PlanLayer, Visit
from kestrel.sw.planning.plan import Plan, plan_frame, with_schedule
from kestrel.sw.planning.proof import PlanError, check_plan
from kestrel.sw.planning.visit_order import depth_first_schedules, schedule

NANO = NAMED["nano"]
SMALL = NANO.with_options(partial_depth=64, max_width=16)

LAYERS = tuple(
    PlanLayer(ConvShape(f"conv{n}", c_in, c_out, pool), 3, 12, has_pad=n == 0)
    for n, (c_in, c_out, pool) in enumerate([(3, 4, False), (4, 4, True), (4, 6, False), (6, 2, False)])
)


def planned(layers, config, height, width, found):
    """The plan of a schedule, whatever the planner itself would choose."""
    return with_schedule(plan_frame("n", layers, 8, config, height, width), found)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Depth first in strips of two rows, so that regions are circular and visits alternate."""
    return planned(LAYERS, SMALL, 22, 16, schedule("n", LAYERS, SMALL, 22, 16, cuts=(), rows=2))


def with_region(plan, number, **changes):
    """The plan with another region for map ``number``, for its writer and its reader."""
    records = list(plan.records)
    write = records[number].write
    assert write is not None
    region = replace(write, **changes)
    records[number] = replace(records[number], write=region)
    records[number + 1] = replace(records[number + 1], read=region)
    return replace(plan, records=tuple(records))


def with_visits(plan, visits):
    return replace(plan, visits=tuple(visits))


def test_the_plan_itself_is_good(plan):
    check_plan(plan)
    assert all(record.write.slots * 3 < record.out_height for record in plan.records[:3])


@pytest.mark.parametrize("number", range(5))
def test_a_region_one_slot_too_small(plan, number):
    write = plan.records[number].write
    slots = write.slots - 1
    assert slots
    with pytest.raises(PlanError, match=r"row \d+ of its input has been overwritten or never written"):
        check_plan(with_region(plan, number, slots=slots))


def test_regions_that_overlap_while_both_are_alive(plan):
    with pytest.raises(PlanError, match="overwritten"):
        check_plan(with_region(plan, 2, base=plan.records[0].write.base))


def test_a_reader_that_looks_elsewhere(plan):
    records = list(plan.records)
    read = records[2].read
    records[2] = replace(records[2], read=replace(read, base=read.base + 1))
    with pytest.raises((PlanError, ValueError, IndexError)):
        check_plan(replace(plan, records=tuple(records)))


def test_a_reader_before_its_writer(plan):
    """The engine runs the deepest layer that can run, so the visit before a reader's was needed by it."""
    pairs = [n for n, (a, b) in enumerate(pairwise(plan.visits)) if b.record == a.record + 1]
    assert len(pairs) > 10
    for n in pairs:
        visits = list(plan.visits)
        visits[n : n + 2] = reversed(visits[n : n + 2])
        with pytest.raises(PlanError):
            check_plan(with_visits(plan, visits))


def test_visits_of_one_layer_swapped(plan):
    at = [n for n, visit in enumerate(plan.visits) if visit.record == 3]
    visits = list(plan.visits)
    visits[at[0]], visits[at[1]] = visits[at[1]], visits[at[0]]
    with pytest.raises(PlanError, match=r"conv2: rows from \d+ on, not from 0 on"):
        check_plan(with_visits(plan, visits))


@pytest.mark.parametrize("record", range(6))
def test_a_visit_left_out(plan, record):
    for n in [n for n, visit in enumerate(plan.visits) if visit.record == record]:
        with pytest.raises(PlanError):
            check_plan(with_visits(plan, plan.visits[:n] + plan.visits[n + 1 :]))


@pytest.mark.parametrize("record", range(6))
def test_a_row_left_out(plan, record):
    """The last visit of a record ends a row early."""
    n = max(n for n, visit in enumerate(plan.visits) if visit.record == record)
    visit = plan.visits[n]
    visits = [*plan.visits]
    if visit.rows == 1:
        del visits[n]
    else:
        visits[n] = replace(visit, rows=visit.rows - 1)
    with pytest.raises(PlanError):
        check_plan(with_visits(plan, visits))


def test_a_row_too_many(plan):
    last = plan.visits[-1]
    extra = Visit(last.record, last.first_row + last.rows, 1)
    with pytest.raises(PlanError, match="output: more rows than 11"):
        check_plan(with_visits(plan, [*plan.visits, extra]))


def test_a_strip_of_a_pooled_layer_that_begins_on_an_odd_row(plan):
    at = next(n for n, visit in enumerate(plan.visits) if visit.record == 2)
    visit = plan.visits[at]
    halves = [replace(visit, rows=1), Visit(2, visit.first_row + 1, visit.rows - 1)]
    with pytest.raises(PlanError, match="begins on row 1"):
        check_plan(with_visits(plan, [*plan.visits[:at], *halves, *plan.visits[at + 1 :]]))


def test_every_depth_first_schedule_of_random_stacks_is_good(rng):
    """Odd sizes, poolings anywhere, one to five layers, strips of every length."""
    tried = 0
    for _ in range(12):
        channels = rng.integers(1, 8, size=rng.integers(2, 7))
        pools = rng.random(len(channels) - 1) < 0.4
        pools &= pools.cumsum() <= 3  # more would leave nothing of a small image
        layers = tuple(
            PlanLayer(ConvShape(f"conv{n}", int(a), int(b), bool(p)), int(rng.integers(1, 6)), 12, n == 0)
            for n, ((a, b), p) in enumerate(zip(pairwise(channels), pools, strict=True))
        )
        height, width = int(rng.integers(8, 30)), int(rng.integers(8, 33))
        config = NANO.with_options(partial_depth=int(rng.integers(2 * width, 512)), max_width=width)
        for found in depth_first_schedules("n", layers, config, height, width):
            check_plan(planned(layers, config, height, width, found))
            tried += 1
    assert tried > 50


# --- row groups -----------------------------------------------------------------------------------------

ROWS = SMALL.with_options(input_lanes=4, output_lanes=4, row_groups=True, partial_depth=32)
ROW_LAYERS = (replace(LAYERS[0], shape=ConvShape("conv0", 1, 4, False), reads_image=True), *LAYERS[1:])


@pytest.fixture(scope="module", params=[21, 22, 23])
def row_plan(request) -> Plan:
    height = request.param
    found = schedule("n", ROW_LAYERS, ROWS, height, 16, cuts=(), rows=3)
    return planned(ROW_LAYERS, ROWS, height, 16, found)


def test_a_plan_in_row_groups_is_good(row_plan):
    assert row_plan.row_groups
    check_plan(row_plan)
    for height in range(1, 26):
        check_plan(plan_frame("n", ROW_LAYERS[:1], 8, ROWS, height, 16))


def test_an_image_one_slot_too_small_for_its_virtual_rows(row_plan):
    slots = row_plan.records[0].write.slots - 1
    assert slots
    with pytest.raises(PlanError, match=r"conv0: row \d+ of its input has been overwritten or never written"):
        check_plan(with_region(row_plan, 0, slots=slots))


def test_the_row_below_must_be_there_before_a_triple(row_plan):
    pairs = [n for n, (a, b) in enumerate(pairwise(row_plan.visits)) if (a.record, b.record) == (0, 1)]
    assert len(pairs) > 2
    for n in pairs:
        visits = list(row_plan.visits)
        visits[n : n + 2] = reversed(visits[n : n + 2])
        with pytest.raises(PlanError, match="conv0: row"):
            check_plan(with_visits(row_plan, visits))


def test_triples_must_be_whole(row_plan):
    at = next(n for n, visit in enumerate(row_plan.visits) if visit.record == 1)
    visits = list(row_plan.visits)
    visits[at] = replace(visits[at], rows=visits[at].rows - 1)
    with pytest.raises(PlanError, match=r"conv0: rows 0 to \d+ are not whole triples"):
        check_plan(with_visits(row_plan, visits))
