"""Functional coverage: values of visits, bins that can be, and those that were never hit."""

import json
from dataclasses import replace

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.coverage.__main__ import record
from kestrel.verif.coverage.crosses import AXES, Sample, cross, possible_bins, samples
from kestrel.verif.regress.cases import kinds_of, make_frame
from kestrel.verif.regress.draw import TARGETS, Case

NANO, ROWS = TARGETS["nano"], TARGETS["4x4-rows"]
SAMPLE = Sample("4", "2", "none", "no", "full", "partial", "longer", "some", "large", "more")


def test_a_visit_hits_its_values_and_their_pairs_and_no_other():
    found = cross([SAMPLE, SAMPLE], [NANO])
    hit = {each: count for each, count in found.hits.items() if count}
    assert len(hit) == found.covered == len(AXES) + len(AXES) * (len(AXES) - 1) // 2
    assert set(hit.values()) == {2}
    assert hit[("mask_bits", "4"), ("stalls", "some")] == 2
    assert (("mask_bits", "5"),) in found.never
    assert len(found.never) == len(found.hits) - len(hit)


def test_what_cannot_be_is_no_bin():
    bins = set(possible_bins([NANO]))
    assert (("mask_bits", "5"), ("passes", "3")) in bins
    assert (("mask_bits", "5"), ("passes", "2")) not in bins
    assert (("row_groups", "yes"),) not in bins, "nano has none"
    with_rows = set(possible_bins([NANO, ROWS]))
    assert with_rows > bins
    assert (("passes", "1"), ("row_groups", "yes")) in with_rows
    assert (("passes", "2"), ("row_groups", "yes")) not in with_rows


@pytest.mark.parametrize("name", ["nano", "4x4-rows", "3x3-residual", "12x3-rows-residual"])
def test_drawn_frames_hit_nothing_that_is_excluded(name, seed):
    """Otherwise a definition or an exclusion is wrong."""
    config = TARGETS[name]
    frames = [make_frame(Case(name, kind, n)) for kind in kinds_of(config) for n in (seed, seed + 1)]
    found = cross([s for f in frames for s in samples(f.plan, pauses=f.pauses is not None)], [config])
    excluded = set(found.hits) - set(possible_bins([config]))
    assert not excluded, f"{excluded} (KESTREL_SEED={seed})"
    assert found.covered > len(found.hits) // 3, f"KESTREL_SEED={seed}"


def test_visits_are_named_by_what_they_are():
    frame = make_frame(Case("nano", "stack", 1))  # channels 2, 7, 7, 4, 1, 5; masks of 2, 3, 2, 4, 4 bits
    visits = list(samples(frame.plan, pauses=False))
    assert [v.mask_bits for v in visits] == ["2", "3", "2", "4", "4"]
    assert [v.passes for v in visits] == ["1", "1", "1", "2", "2"]
    assert [v.pooling for v in visits] == ["none"] * 4 + ["2x2"]
    assert [v.in_lanes for v in visits] == ["full", "partial", "partial", "full", "partial"]
    assert {replace(v, stalls="some") for v in visits} == set(samples(frame.plan, pauses=True))


REPORT = {
    "kestrel": "coverage",
    "run": {"frames": 3, "failed": 0, "commit": "abc", "date": "2026", "seeds": [1, 2]},
    "totals": {"line": {"points": 4, "covered": 1, "waived": 0, "share": 0.25}},
}  # fmt: skip


def test_a_report_is_recorded_and_other_figures_stay(tmp_path):
    (tmp_path / "coverage.json").write_text(json.dumps(REPORT))
    (tmp_path / "v.json").write_text('{"mutants": {"tried": 3}, "coverage": {"line": 9}}')
    record(tmp_path / "coverage.json", tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text()) == {
        "mutants": {"tried": 3},
        "coverage": {"line": 0.25, "commit": "abc", "date": "2026",
                     "run": {"frames": 3, "failed": 0, "seeds": [1, 2]}},
    }  # fmt: skip


@pytest.mark.parametrize(("report", "message"), [
    ("{}", "no report of coverage"), ("[]", "a JSON object"), ("{", "cannot be read"),
    (json.dumps(REPORT).replace('"failed": 0', '"failed": 1'), "1 of 3 frames failed"),
])  # fmt: skip
def test_what_is_no_good_report_is_not_recorded(tmp_path, report, message):
    (tmp_path / "coverage.json").write_text(report)
    with pytest.raises(InputError, match=message):
        record(tmp_path / "coverage.json", tmp_path / "v.json")
    assert not (tmp_path / "v.json").exists()
