"""The nightly set in pieces: the results of one process, an engine built once a machine, and its faults."""

import json
from dataclasses import replace

import pytest

from kestrel.cli.main import run
from kestrel.sw.cluster.pieces import Done, Here
from kestrel.verif.build.cxx import Compiler
from kestrel.verif.build.sources import sources_hash
from kestrel.verif.build.verilator import Build
from kestrel.verif.regress import pieces as module
from kestrel.verif.regress.draw import Case
from kestrel.verif.regress.pieces import run_in_pieces
from kestrel.verif.regress.results import Store

FEW = ["regress", "--configs", "nano", "--seeds", "2", "--filter", "/stack", "--json"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def results(folder):
    """By case, without the seconds, which are measured."""
    return {key: replace(result, seconds=0.0)
            for key, result in Store(folder / "results.jsonl").load(sources_hash()).items()}


def test_the_results_are_those_of_one_process(tmp_path, capsys):
    pytest.importorskip("distributed")
    assert run([*FEW, "-o", "alone", "--jobs", "1"]) == 0
    assert run([*FEW, "-o", "none", "--dask-workers", "0"]) == 0
    capsys.readouterr()
    assert run([*FEW, "-o", "two", "--dask-workers", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ran"], found["passed"], found["engines_built"]) == (2, 2, 0)  # it was in the cache
    assert results(tmp_path / "alone") == results(tmp_path / "none") == results(tmp_path / "two")
    assert run([*FEW, "-o", "two", "--dask-workers", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ran"], found["kept"]) == (0, 2)


def test_a_case_whose_process_dies_fails_and_the_others_go_on():
    class Deadly:
        def run(self, pieces):
            for piece in pieces:
                deadly = piece.name == "nano/stack@2"
                yield Done(piece, failed="the workers died") if deadly else Done(
                    piece, module.Ran(module.failed_case(piece.arguments[0], "hash", ""), built=False))

    cases = [Case("nano", "stack", seed) for seed in (1, 2, 3)]
    found = [ran.result for ran in run_in_pieces(cases, "hash", Deadly())]
    assert [result.case for result in found] == cases
    assert [result.message for result in found] == ["", "nano/stack@2\nthe workers died", ""]
    assert not found[1].passed


def test_an_engine_that_is_not_built_fails_its_cases_and_is_tried_once_a_run(monkeypatch):
    tried = []

    def failing(config):
        tried.append(config.name)
        raise RuntimeError("no compiler")

    monkeypatch.setattr(module, "build_engine", failing)
    cases = [Case("nano", "stack", seed) for seed in (1, 2, 3)]
    for count in (1, 2):
        found = [ran.result for ran in run_in_pieces(cases, "hash", Here())]
        assert len(found) == 3
        assert all(result.message.startswith("the engine was not built") for result in found)
        assert len(tried) == count


def test_an_engine_is_counted_where_it_was_built(tmp_path, monkeypatch):
    passed = module.failed_case(Case("nano", "stack", 1), "hash", "")
    monkeypatch.setattr(module, "build_engine", lambda config: Build(tmp_path, config.name == "1x1", 1.0))
    monkeypatch.setattr(module, "run_case", lambda case, engine, sources: passed)
    cases = [Case(config, "stack", seed) for config in ("nano", "1x1") for seed in (1, 2)]
    assert [ran.built for ran in run_in_pieces(cases, "hash", Here())] == [True, False, False, False]


def test_processes_of_a_machine_build_once_and_another_processor_for_itself(tmp_path, monkeypatch):
    """Four processes ask for the same entry of the build cache at once; then one with other instructions."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("KESTREL_CACHE", str(tmp_path / "cache"))
    log = tmp_path / "log"

    def asked(identity):
        import time
        from pathlib import Path

        from kestrel.verif.build.cache import cached

        def build(folder):
            time.sleep(0.3)  # long enough for the others to ask
            with Path(log).open("a") as file:
                file.write(f"{identity}\n")

        return cached("engine", [identity], build).hit

    native = Compiler("g++", "g++ 12 avx512").identity
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, host="127.0.0.1",
                                  dashboard_address="127.0.0.1:0") as cluster, \
            distributed.Client(cluster) as client:
        hits = client.gather(client.map(asked, [native] * 8, pure=False))
        assert sorted(hits) == [False] + [True] * 7
        assert client.gather(client.map(asked, ["g++ 12 avx2"] * 2, pure=False)).count(False) == 1
    assert log.read_text().splitlines() == [native, "g++ 12 avx2"]
    assert len([path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]) == 2
