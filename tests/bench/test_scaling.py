"""The growth bench: its points against cycles counted by hand, one frame in RTL, files that it writes."""

import json
import sys
from dataclasses import replace

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.timing import drain_cycles


@pytest.fixture(scope="module")
def bench(load_script):
    return load_script("scaling")


def test_vgg16_layer_by_layer_takes_the_cycles_of_the_closed_form(bench):
    """One pass a tile and one drained pipeline a layer; conv1_1 fills 3 of 16 lanes."""
    point = bench.measure("vgg16", 16, 224)
    lanes, side, c_in, cycles = 16, 224, 3, 0
    for c_out, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            cycles += -(-c_in // lanes) * (c_out // lanes) * side * side
            c_in = c_out
        side //= 2
    assert cycles == 6_823_936
    assert point.whole_maps_cycles == cycles + 13 * (drain_cycles(NAMED["edge"]) + 1)
    assert point.whole_maps_cycles <= point.cycles <= (1 + bench.LOST_SHARE) * point.whole_maps_cycles
    assert point.feature_bytes < point.whole_maps_bytes // 2
    macs = point.utilisation * point.cycles * 9 * lanes * lanes
    assert round(macs) == 15_346_630_656


def test_more_lanes_take_fewer_cycles_and_a_larger_image_more(bench):
    few, many = bench.measure("vgg11", 4, 128), bench.measure("vgg11", 8, 128)
    assert 3.9 < few.cycles / many.cycles < 4
    assert few.rom_bits > many.rom_bits, "tiles are filled to whole words"
    assert 3.8 < few.cycles / bench.measure("vgg11", 4, 64).cycles < 4


def test_a_frame_in_rtl_lies_on_the_closed_form(bench):
    frame = bench.simulate("nano", "vgg11/32", 32)
    assert frame.as_modelled
    assert frame.cycles == frame.model_cycles
    assert (frame.mismatches, frame.values_compared > 1_000) == (0, True)


def test_areas_come_from_the_bench_of_synthesis(bench, tmp_path, monkeypatch):
    path = tmp_path / "synthesis.json"
    monkeypatch.setattr(bench, "SYNTHESIS", path)
    assert bench.areas() == {}
    rows = {"engine": {"area": 2e6}, "array": {"area": 1e6}, "window": {"area": 5.0}}
    report = {
        "bench": "synthesis",
        "edge": {"config": {"input_lanes": 16}, "nangate45": rows},
        "no library": {"config": {"input_lanes": 4}},
    }
    path.write_text(json.dumps(report))
    assert bench.areas() == {16: {"engine": 2.0, "array": 1.0}}


def test_the_command_fails_when_a_frame_is_not_as_modelled(bench, tmp_path, monkeypatch):
    frame = bench.Counted("vgg11", "nano", 2, 32, 100, 100, 90, 0.5, 10, 0, True, 1.0, 1.0)
    monkeypatch.setattr(bench, "LANES", (4, 8))
    monkeypatch.setattr(bench, "QUICK_SIDES", (32,))
    monkeypatch.setattr(bench, "SWEEP_SIDE", 32)
    monkeypatch.setattr(bench, "RTL_FRAMES", (("nano", "vgg11", 32),))
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--quick", "-o", str(tmp_path / "scaling.json")])
    for good in (True, False):
        monkeypatch.setattr(bench, "simulate", lambda *_, good=good: replace(frame, as_modelled=good))
        assert bench.main() == (0 if good else 1)
        report = json.loads((tmp_path / "scaling.json").read_text())
        assert [point["lanes"] for point in report["by_lanes"]] == [4, 8]
        assert report["counted"][0]["as_modelled"] is good
        assert (tmp_path / "scaling.svg").stat().st_size > 10_000
