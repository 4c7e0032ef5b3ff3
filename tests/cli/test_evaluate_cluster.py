"""``kestrel evaluate`` in pieces: the same figures and files with 0, 1 and 2 processes."""

import json

import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.cluster.pieces import Here
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.benchmark.datasets import Benchmark, Judgement, Query
from kestrel.sw.retrieval.benchmark.run import describe_benchmark, describe_benchmark_in_pieces
from kestrel.sw.retrieval.describe import pieces
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A folder with a network and a set of three groups of three views."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "set").mkdir()
    for group in range(3):
        scene = generate_picture(60, 80, group)
        for view in range(3):
            part = scene[view * 4 : view * 4 + 44, view * 6 : view * 6 + 60]
            Image.fromarray(part).save(folder / "set" / f"{group:03}{view:02}.png")
    assert run(["compress", "random:1", "-o", str(folder / "net.safetensors"), "--network", "vgg16/16:pool1",
                "--mask-bits", "3", "--size", "16x16"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(user, monkeypatch):
    monkeypatch.chdir(user)
    monkeypatch.setattr(pieces, "PICTURES", 4)


def evaluate(capsys, *arguments):
    """Code, the figures without times and names of files, and errors."""
    capsys.readouterr()
    code = run(["evaluate", "net.safetensors", "--dataset", "set", "--size", "16", "--json", *arguments])
    shown = capsys.readouterr()
    found = json.loads(shown.out) if code == 0 else {}
    for name in ("seconds", "per_query"):
        found.pop(name, None)
    return code, found, shown.err


def test_figures_and_files_are_the_same(user, capsys, cluster_address):
    code, alone, _ = evaluate(capsys, "--save", "alone.npz", "--per-query", "alone.csv", "--workers", "0")
    assert code == 0
    for name, where in (("none", ["--dask-workers", "0"]), ("two", ["--scheduler", cluster_address])):
        files = ["--save", f"{name}.npz", "--per-query", f"{name}.csv"]
        assert evaluate(capsys, *files, *where)[:2] == (0, alone)
        assert (user / f"{name}.npz").read_bytes() == (user / "alone.npz").read_bytes()
        assert (user / f"{name}.csv").read_bytes() == (user / "alone.csv").read_bytes()
    parts = ["--parts", (user / "p").as_uri()]
    assert evaluate(capsys, *parts, "--scheduler", cluster_address)[:2] == (0, alone)
    assert not [path.name for path in user.iterdir() if "parts" in path.name or path.name == "p"]


def test_parts_in_an_object_store_continue(user, capsys, monkeypatch):
    pytest.importorskip("fsspec")
    _, alone, _ = evaluate(capsys, "--workers", "0")
    inner, described = pieces.describe_piece, []

    def stopped(recipe, settings, batch):
        if described:
            raise KeyboardInterrupt
        described.append(batch.names)
        return inner(recipe, settings, batch)

    monkeypatch.setattr(pieces, "describe_piece", stopped)
    code, _, error = evaluate(capsys, "--parts", "memory://run", "--dask-workers", "0")
    assert code == 130
    assert "memory://run keeps the vectors that were finished" in error

    def others(recipe, settings, batch):
        assert batch.names != described[0]
        return inner(recipe, settings, batch)

    monkeypatch.setattr(pieces, "describe_piece", others)
    assert evaluate(capsys, "--parts", "memory://run", "--dask-workers", "0")[:2] == (0, alone)


def test_queries_that_are_parts_of_pictures(user, tmp_path):
    """Their vectors are those that one process computes; a box that was changed is described anew."""
    names = tuple(sorted(path.name for path in (user / "set").iterdir()))

    def benchmark(width):
        queries = (Query("a", names[0], (0.0, 0.0, width, 30.0)),
                   Query("b", names[3], (9.0, 2.0, 60.0, 44.0)))
        judged = tuple(Judgement((row,)) for row in (1, 4))
        return Benchmark("boxes", user / "set", names, queries, {"all": judged})

    describer = make_describer("net.safetensors", DescriptorOptions(size=16))
    for width in (20.0, 40.0):
        alone = describe_benchmark(benchmark(width), describer)
        found = describe_benchmark_in_pieces(benchmark(width), describer, Here(), tmp_path / "parts")
        assert found.names == alone.names
        assert found.names[-2:] == ("query:a", "query:b")
        assert found.vectors.tobytes() == alone.vectors.tobytes()


def test_a_box_outside_its_picture_is_named(user, tmp_path):
    names = tuple(sorted(path.name for path in (user / "set").iterdir()))
    benchmark = Benchmark("boxes", user / "set", names, (Query("a", names[0], (900.0, 0.0, 950.0, 9.0)),
                          Query("b", names[3], (0.0, 0.0, 30.0, 30.0))),
                          {"all": (Judgement((1,)), Judgement((4,)))})
    skipped = []
    describer = make_describer("net.safetensors", DescriptorOptions(size=16))
    found = describe_benchmark_in_pieces(benchmark, describer, Here(), tmp_path / "parts",
                                         skip=lambda name, error: skipped.append((name, str(error))))
    assert found.names[-1] == "query:b"
    assert [name for name, _ in skipped] == ["query:a"]
    assert skipped[0][1].startswith(f"{user / 'set' / names[0]}: query a: box (900.0, 0.0, 950.0, 9.0) of a ")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--dask-workers", "2"], "--dask-workers has no effect without --save or --parts"),
    (["--parts", "nowhere://x", "--dask-workers", "0"], "nowhere://x cannot be opened (ValueError: "),
    (["--save", "d.npz", "--dask-workers", "1", "--worker-memory", "0.1"],
     "worker memory of 0.1 GB; allowed: 0.5 or more"),
])
def test_refusals(capsys, arguments, message):
    code, _, error = evaluate(capsys, *arguments)
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_two_runs_with_the_same_parts_are_refused(user, capsys):
    with lock_output(user / "shared"):
        code, _, error = evaluate(capsys, "--parts", "shared", "--dask-workers", "0")
    assert code == 2
    assert "output shared is being written by another run" in error
