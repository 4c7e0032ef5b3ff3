"""Accesses of memories; that they are those of the hardware is held by tests/verif/physical."""

from pathlib import Path

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.estimate.accesses import memory_accesses
from kestrel.sw.planning.report import plan_named

POWER = (Path(__file__).resolve().parents[3] / "docs" / "power.md").read_text(encoding="utf-8")
EDGE = NAMED["edge"]


def test_the_table_of_the_documentation():
    found = memory_accesses(plan_named("vgg16", "3*7,1*6", EDGE, 224, 224)[1])
    for name, each in found.items():
        assert f"| {name} | {each.width} | {each.reads:,} | {each.writes:,} |" in POWER


def test_row_groups_save_two_thirds_of_the_first_layers_reads():
    plain, grouped = (
        memory_accesses(plan_named("vgg16/8:conv1_1", "3", config, 30, 32)[1])
        for config in (EDGE, EDGE.with_options(row_groups=True))
    )
    output = 3 * 30 * 32  # all banks, for the output stream
    assert plain["features, part 0"].reads == 3 * 30 * 32
    assert grouped["features, part 0"].reads == 3 * 10 * 32
    assert plain["features, part 1"].reads == grouped["features, part 1"].reads == output


def test_a_shortcut_is_read_and_kept_in_partial_sums():
    config = EDGE.with_options(residual=True)
    plan = plan_named("resnet18", "3", config, 64, 64)[1]
    adding = [record for record in plan.records if record.shortcut is not None]
    assert adding
    found = memory_accesses(plan)
    assert found["partial sums"].reads == found["partial sums"].writes > 0
    assert found["pool line"].reads > 0
