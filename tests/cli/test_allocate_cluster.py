"""``kestrel allocate`` in pieces: the same result with 0, 1 and 2 processes, and after a stop."""

import json

import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.sw.allocate import pieces
from kestrel.sw.pictures.images import generate_picture

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for n in range(COUNT):
        Image.fromarray(generate_picture(40, 40, n)).save(tmp_path / "photos" / f"{n}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kestrel.sw.allocate.batches.PIXELS_AT_ONCE", 2 * 32 * 32)  # two pictures a batch
    return tmp_path


def allocate(capsys, *arguments):
    code = run(["allocate", "random:1", "--network", "vgg11/32:pool2", "--calibrate", "photos",
                "--size", "32", "--bits-per-weight", "2.5", "--pictures", str(COUNT), "--rounds", "1",
                "--trials", "2", "--json", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def answers(folder):
    return {path.name for path in (folder / "parts").iterdir() if path.suffix == ".json"}


def test_the_result_is_the_same_for_any_number_of_processes(folder, capsys, cluster_address):
    code, alone, _ = allocate(capsys)
    assert code == 0
    for where in (["--dask-workers", "0"], ["--dask-workers", "1"], ["--scheduler", cluster_address], []):
        code, found, _ = allocate(capsys, "--parts", "parts", *where)
        assert code == 0
        assert found == alone
        assert not (folder / "parts").exists()
    assert json.loads(alone)["tried"] > 1


def test_a_stopped_run_continues(folder, capsys, monkeypatch):
    _, alone, _ = allocate(capsys)
    measured, inner = [], pieces.measure_piece

    def stopped(place, digest, question, name):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(name)
        inner(place, digest, question, name)

    monkeypatch.setattr(pieces, "measure_piece", stopped)
    code, _, error = allocate(capsys, "--parts", "parts")
    assert code == 130
    assert "parts keeps what was measured; the same command goes on from there" in error
    left = answers(folder)
    assert left == set(measured)

    def counted(place, digest, question, name):
        assert name not in left
        inner(place, digest, question, name)

    monkeypatch.setattr(pieces, "measure_piece", counted)
    assert allocate(capsys, "--parts", "parts")[:2] == (0, alone)


def test_a_batch_that_fails_is_named_and_the_others_are_kept(folder, capsys, monkeypatch):
    inner = pieces.measure_piece

    def flawed(place, digest, question, name):
        if question.batch == 1:
            raise RuntimeError("spilt milk")
        inner(place, digest, question, name)

    monkeypatch.setattr(pieces, "measure_piece", flawed)
    code, _, error = allocate(capsys, "--parts", "parts")
    assert code == 2
    assert "1 of 3 pieces failed: pictures 3 to 4: RuntimeError: spilt milk" in error
    assert len(answers(folder)) == 2


def test_a_cluster_needs_a_place_for_parts(folder, capsys):
    code, _, error = allocate(capsys, "--dask-workers", "2")
    assert code == 2
    assert "--dask-workers has no effect without --parts; allowed: with --parts" in error
