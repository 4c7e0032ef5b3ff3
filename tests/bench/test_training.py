"""The bench of training, on the smallest of networks: every kind runs as often as it says."""

from collections import Counter

import pytest
import torch

from kestrel.sw.model.reference import Reference
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.student import QuantisedNetwork


@pytest.fixture(scope="module")
def bench(load_script):
    return load_script("training")


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
