"""The soak: what it draws, that it goes on where it was stopped, and that it notices what is wrong."""

import json

import pytest

import kestrel.verif.simulate.frame
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.planning.proof import check_plan
from kestrel.verif.chip.small import SMALL
from kestrel.verif.regress.cases import kinds_of
from kestrel.verif.soak import __main__ as soak
from kestrel.verif.soak import pieces
from kestrel.verif.soak.configurations import drawn_chip, drawn_engine
from kestrel.verif.soak.frames import LARGE_FOR_EACH, frame_case, make_soak_frame
from kestrel.verif.soak.pieces import Done, Kind, Piece, run_piece
from kestrel.verif.soak.results import read_results, totals


def test_engines_and_chips_differ_in_kind_and_follow_from_seed_and_number(seed):
    engines = [drawn_engine(seed, number) for number in range(60)]
    assert engines == [drawn_engine(seed, number) for number in range(60)]
    for field in ("row_groups", "residual", "batch", "scalar_tables", "load_kernels", "mask_bits_max"):
        assert len({getattr(engine, field) for engine in engines}) > 1, field
    assert {engine.activation_bits for engine in engines} == {4, 5, 6, 7, 8}
    orders = {(e.input_lanes > e.output_lanes) - (e.input_lanes < e.output_lanes) for e in engines}
    assert orders == {-1, 0, 1}
    chips = [drawn_chip(seed, number) for number in range(60)]
    assert {(chip.descriptor is None, chip.startup_check) for chip in chips} == {
        (a, b) for a in (False, True) for b in (False, True)
    }


def test_frames_of_every_kind_are_proven(seed):
    """Large ones, and one of each kind that the nightly set knows for the engine."""
    for number in range(seed % 1000, seed % 1000 + 2):
        config = drawn_engine(seed, number)
        numbers = [turn * (LARGE_FOR_EACH + 1) for turn in range(len(kinds_of(config)))]
        cases = [frame_case(config, n) for n in [*numbers, 1, 2, 3]]
        assert {case.kind for case in cases} == {*kinds_of(config), "large"}
        for case in cases:
            frame = make_soak_frame(case, config)
            check_plan(frame.plan)
            assert frame.pixels.size


@pytest.fixture
def _small(monkeypatch):
    """Every engine is the smallest one; so is every chip, with the memories of the chip's tests."""
    monkeypatch.setattr(pieces, "drawn_engine", lambda _seed, _number: NAMED["nano"])
    monkeypatch.setattr(pieces, "drawn_chip", lambda _seed, _number: ChipConfig(SMALL))


@pytest.mark.usefixtures("_small")
def test_pieces_compare_and_disturb(seed, monkeypatch):
    done = run_piece(Piece(Kind.FRAME, 0, 1), seed, "")
    assert done.message == ""
    assert done.what == "large"
    assert done.values > 10_000
    monkeypatch.setattr(pieces, "TURNS", 3)
    done = run_piece(Piece(Kind.CHIP, 0, 0), seed, "")
    assert done.message == ""
    assert done.disturbed == 3
    assert done.counts["correct frames"] >= 4


@pytest.mark.usefixtures("_small")
def test_a_wrong_frame_fails(seed, monkeypatch):
    whole = kestrel.verif.simulate.frame.image_beats
    monkeypatch.setattr(kestrel.verif.simulate.frame, "image_beats", lambda *given: whole(*given) ^ 0x80)
    done = run_piece(Piece(Kind.FRAME, 0, 1), seed, "")
    assert "values differ" in done.message


# --- the tool, with pieces that are told what to find ----------------------------------------------------


@pytest.fixture
def _told(monkeypatch):
    def run(piece, seed, sources):
        message = "it hung" if str(piece) == "chip/1/0" else ""
        if piece.kind is Kind.FRAME:
            return Done(str(piece), "large", seed, sources, values=1000, message=message)
        return Done(str(piece), "tiny", seed, sources, disturbed=100, counts={"reset": 100}, message=message)

    monkeypatch.setattr(soak, "run_piece", run)


@pytest.mark.usefixtures("_told")
def test_it_goes_on_where_it_was_stopped_and_tells_what_failed(tmp_path, capsys):
    file = tmp_path / "soak.jsonl"
    assert soak.main([str(file), "--values", "5000", "--configs", "2"]) == 0
    with file.open("a") as lines:
        lines.write('{"piece": "frame/0/5", "wh')  # a run was killed here
    capsys.readouterr()
    assert soak.main([str(file), "--values", "25000", "--disturbed", "400", "--configs", "2"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "FAILED chip/1/0: it hung\n"
    found = json.loads(captured.out)
    assert found["values_compared"] == 25000
    assert found["disturbed_frames"] == 400
    assert found["failures"] == ["chip/1/0"]
    assert found["configurations"] == {"frame": 2, "chip": 2}
    results = read_results(file)
    assert len({done.piece for done in results}) == len(results) == 25 + 5
    assert soak.main([str(file)]) == 1
    assert json.loads(capsys.readouterr().out) == found == totals(results)


@pytest.mark.usefixtures("_told")
def test_what_it_cannot_go_on_from_is_refused(tmp_path, capsys):
    file = tmp_path / "soak.jsonl"
    assert soak.main([str(file), "--values", "1000"]) == 0
    capsys.readouterr()
    for arguments, told in (
        ([str(file), "--values", "2000", "--seed", "2"], "results of seed 1; allowed: that seed"),
        ([str(file), "--configs", "0"], "--configs 0; allowed: 1 or more"),
        ([str(file), "--again", "frame/x/1"], "piece 'frame/x/1'; allowed: frame/CONFIGURATION/NUMBER"),
    ):
        assert soak.main(arguments) == 2
        captured = capsys.readouterr()
        assert told in captured.err
        assert captured.err.count("\n") == 1
    text = file.read_text()
    file.write_text(text.replace('"sources": "', '"sources": "x'))
    assert soak.main([str(file), "--values", "2000"]) == 2
    assert "results of other sources" in capsys.readouterr().err
    file.write_text("{}\n")
    assert soak.main([str(file), "--values", "2000"]) == 2
    assert "line 1 is no result of the soak" in capsys.readouterr().err


@pytest.mark.usefixtures("_told")
def test_a_piece_is_run_again_by_its_name(tmp_path, capsys):
    assert soak.main([str(tmp_path / "none"), "--again", "chip/1/0", "--seed", "5"]) == 1
    assert "it hung" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
