"""The benchmark with distractors, with only a few of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings, save_descriptors

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "distractors.py"


def bench(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], text=True, capture_output=True,
                          check=False, timeout=300)


def test_recall_time_and_memory_of_each_kind(rng, tmp_path):
    x = np.abs(rng.normal(size=(60, 24)))
    vectors = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    settings = DescriptorSettings("ab" * 32, "integer", 64, 64, "none", "whole", "x", 1, "")
    save_descriptors(Descriptors(settings, tuple(map(str, range(60))), vectors), tmp_path / "d.npz")
    kinds = "floats-hnsw,floats-flat,bytes-ivf,bits-flat"
    done = bench("--descriptors", tmp_path / "d.npz", "--count", 2000, "--queries", 30, "--kinds", kinds,
                 "-o", tmp_path / "out.json", "--threads", 1)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["count"], found["dimension"], found["centres"], found["around"]) == (2000, 24, 60, "d.npz")
    results = {result["kind"]: result for result in found["results"]}
    assert set(results) == set(kinds.split(","))
    (exact,) = results["floats-flat"]["searches"]
    assert exact["recall_at_1"] == exact["recall_at_10"] == exact["recall_at_10_of_floats"] == 1
    (bits,) = results["bits-flat"]["searches"]
    assert bits["recall_at_10"] == 1
    assert 0 < bits["recall_at_10_of_floats"] < 1
    graph, cells = results["floats-hnsw"]["searches"], results["bytes-ivf"]["searches"]
    assert [search["effort"] for search in graph] == [24, 96, 384]
    assert graph[-1]["recall_at_10"] > 0.95
    # Further cells may hold what only bytes take for nearer: a few neighbours in 300.
    assert 0 < cells[0]["recall_at_10_of_floats"] <= cells[-1]["recall_at_10_of_floats"] + 0.02
    assert cells[0]["recall_at_10"] is None  # the exact search of bytes was not asked for
    for result in results.values():
        assert result["add_seconds"] > 0
        assert result["peak_bytes"] > result["index_bytes"] > 2000 * 3
    assert results["floats-flat"]["index_bytes"] == pytest.approx(2000 * 24 * 4, rel=0.01)
    assert done.stdout.count("recall at 10") == 4


@pytest.mark.parametrize(("arguments", "message"), [
    (["--kinds", "floats-tree"], "kind 'floats-tree'; allowed: floats-flat"),
    (["--count", "3"], "at least 10 descriptors"),
    (["--descriptors", "missing.npz"], "missing.npz: no such file"),
])
def test_refusals(arguments, message, tmp_path):
    done = bench(*arguments, "-o", tmp_path / "out.json")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
