"""Pieces on two workers give what they give here, and those that fail cost nobody else anything."""

from dataclasses import replace

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster import runner as module
from kestrel.sw.cluster.pieces import Here, Piece, failure_of
from kestrel.sw.cluster.runner import Cluster, OnWorkers
from kestrel.sw.cluster.versions import versions_here


def squares(work, folder, count=12):
    folder.mkdir()
    return [Piece(f"piece {n}", work.write, (str(folder), n)) for n in range(count)]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_results_are_the_same_here_and_there_whatever_the_order(work, runner, tmp_path):
    here = sorted((d.piece.name, d.value) for d in Here().run(squares(work, tmp_path / "here")))
    there = sorted((d.piece.name, d.value) for d in runner.run(squares(work, tmp_path / "there")))
    turned = sorted((d.piece.name, d.value) for d in runner.run(squares(work, tmp_path / "turned")[::-1]))
    assert here == there == turned
    assert len(here) == 12
    assert content(tmp_path / "here") == content(tmp_path / "there") == content(tmp_path / "turned")


def test_pieces_run_elsewhere(work, runner):
    (done,) = runner.run([Piece("pid", work.pid)])
    assert done.value != work.pid()


def test_a_piece_that_fails_is_named_and_the_others_go_on(work, runner, tmp_path):
    bad = [Piece("bad", work.raises, ("spilt milk",)), Piece("refused", work.refuses, ("a.jpg: no picture",))]
    for place in (Here(), runner):
        good = squares(work, tmp_path / type(place).__name__)
        found = {done.piece.name: done for done in place.run([*bad, *good])}
        assert len(found) == 14
        assert found["bad"].failed.startswith("RuntimeError: spilt milk (raises, line ")
        assert found["refused"].failed == "a.jpg: no picture"
        assert not any(found[piece.name].failed for piece in good)


def test_a_worker_that_dies_costs_only_its_piece(work, runner, tmp_path):
    good = squares(work, tmp_path / "out")
    flaw = Piece("once", work.dies_once, (str(tmp_path / "out"), 99))
    found = list(runner.run([*good[:3], flaw, *good[3:]]))
    assert len(found) == 13
    assert not [done.failed for done in found if done.failed]
    assert (tmp_path / "out" / "99.txt").read_text() == "9801\n"


def test_a_piece_that_kills_every_worker_is_named_alone(work, runner, tmp_path):
    good = squares(work, tmp_path / "out")
    found = list(runner.run([Piece("deadly", work.always_dies), *good]))
    failed = [done for done in found if done.failed]
    assert [done.piece.name for done in failed] == ["deadly"]
    assert failed[0].failed.startswith("the workers that ran it died, each time")
    assert sorted(done.value for done in found if not done.failed) == [n * n for n in range(12)]
    error = failure_of(failed, len(found), "kept")
    assert str(error).startswith("1 of 13 pieces failed: deadly: the workers that ran it died")


def test_a_result_that_is_lost_with_the_last_worker_is_waited_for_and_no_longer_than_allowed(monkeypatch):
    """Fetching it would wait for ever: nobody would start a worker meanwhile."""
    distributed = pytest.importorskip("distributed")
    asked, revived = [], []

    class Lost:
        status = "finished"

        def __init__(self, outcomes):
            self.outcomes = outcomes

        def result(self, timeout):
            asked.append(timeout)
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

    class Client:
        workers = 0

        def submit(self, function, piece, *rest, **named):
            return Lost(list(piece.arguments))

        def scheduler_info(self, n_workers):
            return {"workers": dict.fromkeys(range(self.workers))}

        def cancel(self, futures):
            pass

    runner = OnWorkers.__new__(OnWorkers)
    runner._client, runner._where, runner._versions = Client(), "there", versions_here()
    runner._revive = lambda: revived.append(0)
    monkeypatch.setattr(OnWorkers, "_wait", lambda self, futures: set(futures))
    late = Piece("late", abs, (TimeoutError(), TimeoutError(), (7, "", "")))
    assert [(done.value, done.failed) for done in runner.run([late])] == [(7, "")]
    assert asked == [module.POLL_SECONDS] * 3
    assert len(revived) == 2
    killed = distributed.KilledWorker("key", None, 1)
    (done,) = runner.run([Piece("deadly", abs, (TimeoutError(), killed))])
    assert done.failed.startswith("the workers that ran it died, each time")
    monkeypatch.setattr(module, "WORKERS_SECONDS", 0)
    with pytest.raises(InputError, match="there: no worker for 0 s; allowed: with workers"):
        list(runner.run([Piece("never", abs, (TimeoutError(),))]))


def test_a_worker_of_other_versions_is_refused(runner, work, monkeypatch):
    wanted = replace(versions_here(), numpy="1.0.0", kestrel="9.9")
    monkeypatch.setattr(module, "versions_here", lambda: wanted)
    here = versions_here()
    with pytest.raises(InputError, match=r"worker tcp://\S+ has kestrel \S+ and not 9\.9, numpy "
                                         rf"{here.numpy} and not 1\.0\.0; allowed"):
        OnWorkers(runner._client)
    monkeypatch.setattr(runner, "_versions", wanted)  # of a worker that joins later
    with pytest.raises(InputError, match=r"and not 9\.9"):
        list(runner.run([Piece("pid", work.pid)]))


def test_a_bad_choice_is_refused():
    with pytest.raises(InputError, match="allowed: one of the two"):
        Cluster("tcp://a:1", 2)
    with pytest.raises(InputError, match=r"dask workers 1000; allowed: 0\.\.256"):
        Cluster(workers=1000)


def test_no_scheduler_at_an_address(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with (pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:1: .*allowed: the address of a"),
          module.open_runner(Cluster("tcp://127.0.0.1:1"))):
        pass
