"""Faults of workers, with real processes: killed at random moments, silent, greedy, of other sources. A
hundred and more kills are counted by ``bench/faults.py``."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import kestrel
from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.pieces import Piece
from kestrel.sw.cluster.runner import AHEAD, Cluster, open_runner
from kestrel.sw.cluster.versions import versions_here

WORKERS = 2


def squares(work, folder, count, seconds=0.0):
    folder.mkdir()
    return [Piece(f"piece {n}", work.write, (str(folder), n, seconds)) for n in range(count)]


def processes(work, runner):
    """Of the workers that live now."""
    found = set()
    while len(found) < WORKERS:
        found |= {done.value for done in runner.run([Piece(f"pid {n}", work.pid, (0.02,)) for n in range(8)])}
    return sorted(found)


def test_workers_killed_at_random_moments_change_nothing(work, runner, tmp_path, seed):
    source = random.Random(seed)
    expected = {f"{n}.txt": f"{n * n}\n" for n in range(30)}
    killed = 0
    for attempt in range(3):
        victim = source.choice(processes(work, runner))
        timer = threading.Timer(source.uniform(0, 0.6), os.kill, (victim, signal.SIGKILL))
        timer.start()
        found = list(runner.run(squares(work, tmp_path / str(attempt), 30, 0.02)))
        timer.join()
        killed += 1
        assert [done.failed for done in found if done.failed] == []
        assert sorted(done.value for done in found) == [n * n for n in range(30)]
        assert {path.name: path.read_text() for path in (tmp_path / str(attempt)).iterdir()} == expected
    assert killed == 3


def test_a_worker_that_pauses_delays_only_what_it_has(work, runner, tmp_path):
    pieces = squares(work, tmp_path / "out", 20)
    victim = processes(work, runner)[0]
    too_late = threading.Timer(120, os.kill, (victim, signal.SIGCONT))
    os.kill(victim, signal.SIGSTOP)
    too_late.start()
    found = []
    for done in runner.run(pieces):
        found.append(done)
        if len(found) == 20 - AHEAD * WORKERS:  # all but those that may have been handed to it
            assert too_late.is_alive()
            os.kill(victim, signal.SIGCONT)
    too_late.cancel()
    assert sorted(done.value for done in found) == [n * n for n in range(20)]


def test_no_more_pieces_are_handed_out_than_workers_can_hold(work, runner, tmp_path):
    taken = 0

    def counted():
        nonlocal taken
        for piece in squares(work, tmp_path / "out", 40):
            taken += 1
            yield piece

    for number, _ in enumerate(runner.run(counted())):
        assert taken <= number + 1 + AHEAD * WORKERS


def test_a_piece_that_takes_too_much_memory_is_named_and_the_others_go_on(work, tmp_path):
    pytest.importorskip("distributed")
    pieces = [Piece("greedy", work.takes, (900,)), *squares(work, tmp_path / "out", 6)]
    with open_runner(Cluster(workers=1, memory=500_000_000)) as runner:
        found = {done.piece.name: done for done in runner.run(pieces)}
    assert len(found) == 7
    assert [name for name, done in found.items() if done.failed] == ["greedy"]
    assert "the workers that ran it died, each time (killed, out of memory" in found["greedy"].failed


def test_a_worker_of_other_sources_is_refused_with_both_named(tmp_path):
    """Another tree, one line of which differs."""
    distributed = pytest.importorskip("distributed")
    package = Path(kestrel.__file__).parent
    left_out = shutil.ignore_patterns("*.safetensors", "*.npz", "__pycache__")
    shutil.copytree(package, tmp_path / "kestrel", ignore=left_out)
    with (tmp_path / "kestrel" / "sw" / "cluster" / "pieces.py").open("a") as file:
        file.write("# another version\n")
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        command = [sys.executable, "-m", "dask", "worker", cluster.scheduler_address, "--nthreads", "1",
                   "--no-nanny", "--no-dashboard", "--local-directory", tmp_path]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
            refusal = (r"worker tcp://\S+ has sources [0-9a-f]{12} and not "
                       rf"{versions_here().sources}; allowed: workers of the same versions")
            with pytest.raises(InputError, match=refusal), \
                    open_runner(Cluster(scheduler=cluster.scheduler_address)):
                pass
            worker.kill()
