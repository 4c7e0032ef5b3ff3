"""Training learns, resumes with the same numbers, and gives the same result in several processes."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import same
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import random_network
from kestrel.sw.retrain.course import mask_bits_at
from kestrel.sw.retrain.losses import Loss, LossSettings, parse_losses
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.samples.augment import Augmentation
from kestrel.sw.retrain.samples.batches import DataSettings, TrainingData, in_order
from kestrel.sw.retrain.samples.folder import GeneratedPictures, TrainingSet
from kestrel.sw.retrain.samples.triplets import grouped
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.trainer import Result, Trainer
from kestrel.sw.retrain.validation import measure

SHAPE = parse_network("vgg11/16:pool2")
RESIDUAL = parse_network("shared_resnet/8:layer1.1")
PICTURES = 24
CPU = torch.device("cpu")


def pictures() -> TrainingSet:
    """Four classes, told apart by nothing: enough for the machinery."""
    labels = tuple(n % 4 for n in range(PICTURES))
    return TrainingSet(GeneratedPictures(PICTURES, 24, 24, 7), labels, labels, ("a", "b", "c", "d"))


def student(
    mask_bits: int = 1, options: QuantiseOptions | None = None, shape: NetworkShape = SHAPE
) -> tuple[QuantisedNetwork, FloatConvs]:
    weights = random_network(shape, 3, 1.0)
    plan = [mask_bits] * len(shape.layers)
    network, _ = compress(weights, plan, generated_pictures(24, 24), preprocessing="none")
    return (
        QuantisedNetwork(network, options or QuantiseOptions(), weights),
        FloatConvs(weights, find_preprocessing("none")),
    )


def train(
    settings: TrainSettings,
    text: str = "distill",
    *,
    checkpoint: Path | None = None,
    log: Path | None = None,
    mask_bits: int = 1,
    validate: bool = True,
    shape: NetworkShape = SHAPE,
) -> tuple[Result, QuantisedNetwork]:
    torch.manual_seed(0)
    mine, teacher = student(mask_bits, shape=shape)
    loss = Loss(shape, LossSettings(parse_losses(text)), teacher, classes=4)
    data = pictures()
    order = grouped(data.groups, 2, 2, 0) if "triplet" in text else None
    check = TrainingData(data, DataSettings(24, 24, 8), in_order(PICTURES, 8))
    with TrainingData(data, DataSettings(16, 16, 4, Augmentation()), order) as batches:
        result = Trainer(
            mine,
            loss,
            batches,
            (lambda: check.epoch(0)) if validate else None,
            settings,
            CPU,
            checkpoint=checkpoint,
            log=log,
        ).run()
    return result, mine


@pytest.mark.parametrize("shape", [SHAPE, RESIDUAL], ids=lambda shape: shape.name)
def test_distillation_brings_integers_nearer_to_float(shape: NetworkShape) -> None:
    result, mine = train(TrainSettings(60, rate=0.02, validate_every=20), shape=shape)
    assert result.loss_after < 0.9 * result.loss_before
    assert 1 - result.after["cosine"] < 0.7 * (1 - result.before["cosine"])
    assert result.steps == 60
    # What was measured is what is exported.
    Reference(mine.export())


def test_a_short_runs_losses_are_those_of_two_students() -> None:
    """Breaks if before and after are means over the same steps, as they are where there are few."""
    result, mine = train(TrainSettings(8, rate=0.02, validate_every=4))
    measured = [entry["loss"] for entry in result.history]
    assert result.loss_before == measured[0]
    assert result.loss_after in measured
    assert len(set(measured)) == 3
    assert "loss" not in result.before
    loss = Loss(SHAPE, LossSettings(parse_losses("distill")), student(1)[1], classes=4)
    check = TrainingData(pictures(), DataSettings(24, 24, 8), in_order(PICTURES, 8))
    assert measure(mine, loss, check.epoch(0), CPU)["loss"] == pytest.approx(result.loss_after, rel=1e-5)


def test_without_validation_no_step_counts_on_both_sides(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    result, _ = train(TrainSettings(6, validate_every=4), validate=False, log=log)
    entries = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert result.loss_before == pytest.approx(np.mean(losses[:3]))
    assert result.loss_after == pytest.approx(np.mean(losses[3:]))


@pytest.mark.parametrize("text", ["labels", "triplet", "relational", "distill+0.5*triplet+labels"])
def test_every_loss_trains(text: str) -> None:
    result, _ = train(TrainSettings(60, rate=0.01, validate_every=30), text)
    assert np.isfinite(result.loss_after)
    assert len(result.history) == 3
    first, *others = (entry["loss"] for entry in result.history)
    assert min(others) < first
    if "labels" in text:
        assert set(result.after) >= {"t1", "t5"}


@pytest.mark.parametrize("shape", [SHAPE, RESIDUAL], ids=lambda shape: shape.name)
def test_a_stopped_run_resumes_with_the_same_numbers(shape: NetworkShape, tmp_path: Path) -> None:
    settings = TrainSettings(12, optimiser="adam", validate_every=4, gradual="bits")
    whole, wanted = train(settings, "distill+labels", log=tmp_path / "whole.jsonl", shape=shape)

    class StoppedError(Exception):
        pass

    count = 0
    step = Trainer._train

    def stop(self: Trainer, *arguments: object) -> None:
        nonlocal count
        count += 1
        if count > 6:  # between two checkpoints
            raise StoppedError
        step(self, *arguments)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_train", stop)
        with pytest.raises(StoppedError):
            train(
                settings, "distill+labels", checkpoint=tmp_path / "c.safetensors",
                log=tmp_path / "log.jsonl", shape=shape,
            )  # fmt: skip
    resumed, found = train(
        settings, "distill+labels", checkpoint=tmp_path / "c.safetensors", log=tmp_path / "log.jsonl",
        shape=shape,
    )  # fmt: skip
    assert resumed.resumed_from == 4
    assert same(found.export(), wanted.export())
    assert resumed.history == whole.history

    def losses(name: str) -> list[tuple[int, float]]:
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        return [(e["step"], e["loss"]) for e in map(json.loads, lines) if "loss" in e]

    assert losses("log.jsonl") == losses("whole.jsonl")
    assert [number for number, _ in losses("log.jsonl")] == list(range(1, 13))


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    settings = TrainSettings(2, validate_every=2)
    train(settings, checkpoint=tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=r"rate is 0\.002 there and 0\.003 here"):
        train(replace(settings, rate=0.003), checkpoint=tmp_path / "c.safetensors")


def test_the_best_is_kept_and_training_stops_when_it_no_longer_improves() -> None:
    """With a rate that destroys the network the best is what it started from."""
    result, mine = train(TrainSettings(40, rate=0.5, schedule="constant", validate_every=1, patience=2))
    assert result.stopped_early
    assert result.steps < 40
    best = max(entry["measure"] for entry in result.history)
    assert result.after["measure"] == best
    if result.history[0]["measure"] == best:
        assert same(mine.export(), student()[0].export())


def test_frozen_layers_keep_their_integers() -> None:
    frozen = SHAPE.layers[0].name
    before = student(3)[0].export()
    result, mine = train(
        TrainSettings(8, rate=0.02, frozen=(frozen,), validate_every=8), mask_bits=3, validate=False
    )
    after = mine.export()
    assert result.steps == 8
    np.testing.assert_array_equal(after.layers[0].mask, before.layers[0].mask)
    np.testing.assert_array_equal(after.layers[0].alpha, before.layers[0].alpha)
    assert not np.array_equal(after.layers[1].mask, before.layers[1].mask)
    with pytest.raises(InputError, match="frozen layer 'conv9_1'"):
        train(TrainSettings(1, frozen=("conv9_1",)))


def test_a_frozen_layer_keeps_its_shortcut() -> None:
    before = student(3, shape=RESIDUAL)[0]
    frozen = "layer1_0_conv2"
    number = [conv.shape.name for conv in before.convs()].index(frozen)
    _, mine = train(
        TrainSettings(4, rate=0.02, frozen=(frozen,), validate_every=4), mask_bits=3, validate=False,
        shape=RESIDUAL,
    )  # fmt: skip
    for n, (a, b) in enumerate(zip(before.convs(), mine.convs(), strict=True)):
        if a.shortcut is not None:
            assert b.shortcut is not None
            assert torch.equal(a.shortcut, b.shortcut) == (n == number)
    with pytest.raises(InputError, match="frozen layer 'layer1_1_conv2'"):  # which shares the frozen one's
        train(TrainSettings(1, frozen=("layer1_1_conv2",)), shape=RESIDUAL)


@pytest.mark.parametrize(
    ("gradual", "wanted"),
    [
        ("bits", [(5, 5, 1), (4, 4, 1), (3, 3, 1), (3, 2, 1), (3, 2, 1)]),
        ("layers", [(5, 5, 1), (5, 5, 1), (3, 5, 1), (3, 2, 1), (3, 2, 1)]),
        ("none", [(3, 2, 1)] * 5),
    ],
)
def test_mask_bits_come_down_but_for_1x1_kernels(gradual: str, wanted: list[tuple[int, ...]]) -> None:
    found = [mask_bits_at(gradual, (3, 2, 1), step, 8, (5, 5, 1)) for step in range(5)]
    assert found == wanted


def test_diverging_is_refused() -> None:
    mine, teacher = student(3)
    loss = Loss(SHAPE, LossSettings(parse_losses("distill")), teacher)
    with TrainingData(pictures(), DataSettings(16, 16, 4)) as data:
        trainer = Trainer(mine, loss, data, None, TrainSettings(3), CPU)
        mine.convs()[1].weight.data[0, 0, 0, 0] = torch.inf
        with pytest.raises(InputError, match="diverged"):
            trainer.run()


WORKER = """
import sys, torch
sys.path.insert(0, {here!r})
import test_trainer as t
from kestrel.sw.retrain import distributed
torch.set_num_threads(1)
mine, teacher = t.student(3)
with distributed.processes(t.CPU):
    loss = t.Loss(t.SHAPE, t.LossSettings(t.parse_losses("distill+relational+0.5*triplet")), teacher)
    settings = t.DataSettings(16, 16, 8, None, 0, 0, distributed.rank(), distributed.world_size())
    order = t.grouped(t.pictures().groups, 4, 2, 0)
    with t.TrainingData(t.pictures(), settings, order) as data:
        training = t.TrainSettings(3, optimiser="sgd", rate=0.02, validate_every=3)
        t.Trainer(mine, loss, data, None, training, t.CPU).run()
    torch.save([p.detach() for p in mine.parameters()], {out!r} + str(distributed.rank()))
"""


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    """Same weights in both, and those of one process with the joined batch, up to float rounding."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    here = str(Path(__file__).parent)

    def start(out: str, **environment: str) -> "subprocess.Popen[bytes]":
        code = WORKER.format(here=here, out=str(tmp_path / out))
        return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **environment})

    pair = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [start("two", RANK="0", **pair), start("two", RANK="1", **pair), start("one")]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    first, second, alone = (
        torch.load(tmp_path / name, weights_only=True) for name in ("two0", "two1", "one0")
    )
    begun = list(student(3)[0].parameters())
    for a, b, c, start_value in zip(first, second, alone, begun, strict=True):
        assert torch.equal(a, b)
        moved = float((c - start_value.detach()).abs().max())
        torch.testing.assert_close(a, c, rtol=0, atol=1e-4 * moved + 1e-12)
    assert any(not torch.equal(c, s) for c, s in zip(alone, begun, strict=True))
