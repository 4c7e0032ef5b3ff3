"""The bench of training, on the smallest of networks: every kind runs as often as it says."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from sw.reference import Reference
from sw.retrain.floats import FloatConvs
from sw.retrain.network import QuantisedNetwork

PATH = Path(__file__).resolve().parents[2] / "bench" / "training.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_training", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_kind_computes_its_batches(bench, monkeypatch):
    steps = 3
    job = bench.Job("random:1", "vgg16/32:pool1", "3", "torchvision", size=16, batch=2, steps=steps)
    made = bench.Bench(job, torch.device("cpu"))
    calls: Counter[str] = Counter()
    for kind, method in ((QuantisedNetwork, "forward"), (FloatConvs, "forward"), (Reference, "last")):
        original = getattr(kind, method)

        def counted(self, *arguments, original=original, name=kind.__name__):
            calls[name] += 1
            return original(self, *arguments)

        monkeypatch.setattr(kind, method, counted)
    wanted = {
        "train quantised": {"QuantisedNetwork": steps, "FloatConvs": steps},  # the teacher is float
        "train float": {"FloatConvs": 2 * steps},
        "run float": {"FloatConvs": steps},
        "run reference": {"Reference": steps},
    }
    runs = made.kinds()
    assert runs.keys() == wanted.keys()
    for kind, run in runs.items():
        calls.clear()
        assert run() > 0
        assert dict(calls) == wanted[kind], kind
