"""Designs fit their device, and the files of a board agree with each other."""

import re
import subprocess
import sys

import pytest

from kestrel.api.boards import build_board
from kestrel.export.board import design
from kestrel.export.board.design import BLOCK_SHARE, LUT_SHARE, design_board
from kestrel.export.board.texts import pins, synthesis_script, wrapper
from kestrel.hw.spec.boards import BOARDS, find_board
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import LinkConfig
from kestrel.sw.board.info import BoardInfo
from kestrel.sw.model.compressed import load_network
from kestrel.sw.planning.proof import check_plan

BOARD = find_board("ulx3s")


@pytest.fixture(scope="module")
def network():
    return load_network("embedded")


def test_most_lanes_and_what_the_device_holds(network, monkeypatch):
    routed = design_board(BOARD, network, 32, 32)
    assert (routed.chip.engine.input_lanes, routed.chip.engine.output_lanes) == design.LANES[design.ROUTED]
    monkeypatch.setattr(design, "ROUTED", 0)
    most = design_board(BOARD, network, 32, 32)
    config = most.chip.engine
    assert (config.input_lanes, config.output_lanes) == (8, 8)
    shares = {resource.name: resource.share for resource in most.use.resources}
    assert shares["LUT4"] <= LUT_SHARE
    assert shares["block RAMs of 18 kbit"] <= BLOCK_SHARE
    assert config.weight_words == most.plan.weight_words
    check_plan(most.plan)
    assert design_board(BOARD, network, 32, 32, lanes=(4, 4)).cycles > most.cycles


def test_a_smaller_device_takes_fewer_lanes(network, monkeypatch):
    monkeypatch.setattr(design, "ROUTED", 0)
    made = design_board(find_board("ulx3s-45f"), network, 32, 32)
    assert (made.chip.engine.input_lanes, made.chip.engine.output_lanes) == (4, 8)
    assert all(resource.fits for resource in made.use.resources)


@pytest.mark.parametrize(("size", "message"), [
    (3000, r"network vgg16/8 at 3000 x 3000 does not fit board ulx3s: "),
])
def test_what_does_not_fit_is_refused(network, size, message):
    with pytest.raises(InputError, match=message):
        design_board(BOARD, network, size, size, lanes=(1, 1))


def test_a_pooling_that_joins_maps_is_refused(network):
    with pytest.raises(InputError, match="pooling 'rnip18m' joins maps"):
        design_board(BOARD, network, 32, 32, "rnip18m")


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_every_port_has_a_pin_and_every_pin_a_port(board):
    text = wrapper(board)
    ports = set()
    declared = r"^    (?:input|output) +wire +(?:\[(\d+):0\] )? *(\w+)"
    for width, name in re.findall(declared, text, re.MULTILINE):
        ports |= {f"{name}[{n}]" for n in range(int(width) + 1)} if width else {name}
    assert ports == set(board.pins)
    sites = re.findall(r'^LOCATE COMP "([^"]+)" SITE "(\w+)";$', pins(board), re.MULTILINE)
    assert dict(sites) == dict(board.pins)
    assert len({site for _, site in sites}) == len(sites)
    oscillator = board.clock * board.pll.output
    assert 400_000_000 <= oscillator <= 800_000_000
    assert board.crystal / board.pll.reference >= 3_125_000
    LinkConfig(board.clock, 3_000_000)


def test_a_boards_folder(network, tmp_path):
    made = build_board(network, tmp_path / "board", size=32, lanes=(2, 2))
    names = {path.name for path in made.files}
    script = (made.folder / "synthesis.ys").read_text()
    assert {"Makefile", "kestrel_ulx3s.lpf", "tools.py", "config.toml", "info.mem", "weights.mem"} <= names
    listed = re.search(r"read_verilog -DSYNTHESIS (.*)", script)
    assert listed is not None
    assert set(listed[1].split()) == {name for name in names if name.endswith(".v")}
    info = BoardInfo.of(bytes.fromhex((made.folder / "info.mem").read_text()))
    assert (info.network, info.height, info.board) == (network.name, 32, "ulx3s")
    again = {path.name: path.read_bytes() for path in made.files}
    made = build_board(network, tmp_path / "board", size=32, lanes=(2, 2))
    assert {path.name: path.read_bytes() for path in made.files} == again
    (made.folder / "kestrel_ulx3s.bit").touch()
    build_board(network, tmp_path / "board", size=32, lanes=(2, 2))
    assert not (made.folder / "kestrel_ulx3s.bit").exists(), "it might be of another network"
    with pytest.raises(InputError, match="holds a board's files of another run: baud is 3000000 there"):
        build_board(network, tmp_path / "board", size=32, lanes=(2, 2), baud=1_000_000)


def test_the_script_reads_what_it_is_told():
    script = synthesis_script(BOARD, ["a.v", "b.v"])
    assert "read_verilog -DSYNTHESIS a.v b.v\n" in script
    assert "synth_ecp5 -nowidelut -top kestrel_ulx3s -json kestrel_ulx3s.json\n" in script


def test_a_tool_that_is_missing_is_named(tmp_path):
    from kestrel.export.board import tools

    run = subprocess.run([sys.executable, "-I", str(tools.__file__), "nextpnr-other", "--help"], check=False,
                         capture_output=True, text=True, env={"PATH": str(tmp_path)})  # fmt: skip
    assert run.returncode == 2
    assert run.stderr == ("nextpnr-other is missing; allowed: on PATH, or after pip install "
                          "'kestrel-engine[synthesis]'\n")


def test_a_network_whose_name_is_too_long_for_the_information(network):
    info = BoardInfo("ulx3s", "n" * 3000, "", 0, 1, 1, "caffe", "whole", 1, 1, 1, 1, 1)
    with pytest.raises(InputError, match="allowed: fewer than 2048"):
        _ = info.rom


@pytest.mark.parametrize(("data", "message"), [
    (b"\0" * 20, "cannot be read"), (b"[]\0", "cannot be read"),
    (b'{"link":9}\0', "version 9 of the link; allowed: 1"),
])  # fmt: skip
def test_information_of_another_board_is_refused(data, message):
    with pytest.raises(InputError, match=message):
        BoardInfo.of(data)
