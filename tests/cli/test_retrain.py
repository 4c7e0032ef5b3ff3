"""The command: one JSON object, a network that other commands take, refusals in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from kestrel.cli import main as cli
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.curves import plot_curves
from kestrel.sw.retrain.losses import parse_losses

NETWORK = "vgg11/16:pool2"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(12):
        Image.fromarray(generate_picture(24, 28, n)).save(folder / f"n0000000{n % 3}_{n}.png")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.run([str(argument) for argument in ("retrain", *arguments)])
    out, error = capsys.readouterr()
    return code, out, error


QUICK = (
    "--steps",
    4,
    "--batch",
    4,
    "--size",
    16,
    "--validation-size",
    16,
    "--held-out",
    0.25,
    "--validate-every",
    2,
    "--device",
    "cpu",
)


def test_from_float_weights_to_a_network_of_the_other_commands(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Float training with a wider teacher, then integers, then on from the network file, resumable."""
    wide, narrow = tmp_path / "f.safetensors", tmp_path / "n.safetensors"
    code, out, _ = run(
        capsys,
        "--float",
        "--network",
        NETWORK,
        "--weights",
        "random:1",
        "-o",
        wide,
        "--images",
        images,
        "--loss",
        "relational",
        "--teacher",
        "random:2",
        "--teacher-network",
        "vgg11/8:pool2",
        *QUICK,
        "--json",
    )
    assert code == 0
    assert json.loads(out)["float"] is True
    weights = load_weights(str(wide), parse_network(NETWORK))
    assert not np.array_equal(weights.weights[0], load_weights("random:1", parse_network(NETWORK)).weights[0])

    log, plot = tmp_path / "log.jsonl", tmp_path / "curves.svg"
    code, out, _ = run(
        capsys,
        "--network",
        NETWORK,
        "--weights",
        wide,
        "--mask-bits",
        "3,1",
        "--start",
        "float",
        "-o",
        narrow,
        "--images",
        images,
        *QUICK,
        "--log-file",
        log,
        "--plot",
        plot,
        "--json",
    )
    assert code == 0
    payload = json.loads(out)
    assert payload["mask_bits"] == [3, 1]
    assert payload["steps"] == 4
    for part in ("before", "after"):
        assert payload["loss"][part] > 0
        assert 0 < payload["validation"][part]["cosine"] <= 1
    assert payload["images_per_second"] > 0
    assert payload["peak_memory_bytes"]["host"] > 0
    assert "<svg" in plot.read_text(encoding="utf-8")
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len([entry for entry in entries if "loss" in entry]) == 4
    measured = [entry["validation"]["loss"] for entry in entries if "validation" in entry]
    assert payload["loss"]["before"] == measured[0]
    assert payload["loss"]["after"] in measured  # of the student that is kept, be it the first
    assert len(set(measured)) == len(measured) == 3
    network = load_network(narrow)
    assert network.name == NETWORK
    Reference(network).last(torch.zeros((1, 3, 8, 8), dtype=torch.uint8))

    again = tmp_path / "again.safetensors"
    command = (
        narrow,
        "--weights",
        wide,
        "-o",
        again,
        "--images",
        images,
        *QUICK,
        "--checkpoint",
        tmp_path / "c.safetensors",
        "--json",
    )
    code, out, _ = run(capsys, *command)
    assert code == 0
    # Starts as the network that it was given: the same figures as at the end of the run before.
    assert json.loads(out)["validation"]["before"]["cosine"] == pytest.approx(
        payload["validation"]["after"]["cosine"], abs=1e-6
    )
    first = again.read_bytes()
    code, out, _ = run(capsys, *command)
    assert (code, json.loads(out)["resumed_from"]) == (0, 4)
    assert again.read_bytes() == first


def test_labels_and_unreadable_pictures(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "n00000001_broken.png").write_bytes(b"nothing")
    arguments = (
        "--network",
        NETWORK,
        "--weights",
        "random:1",
        "-o",
        tmp_path / "o.safetensors",
        "--images",
        images,
        "--loss",
        "labels",
        "--steps",
        4,
        "--batch",
        13,
        "--size",
        16,
        "--held-out",
        0,
    )
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert "1 of 13 pictures are unreadable" in error
    assert not (tmp_path / "o.safetensors").exists()
    code, out, _ = run(capsys, *arguments, "--unreadable-share", 0.1, "--json")
    assert code == 0
    assert list(json.loads(out)["unreadable"]) == ["n00000001_broken.png"]


def test_the_classifier_goes_on(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Integers are measured with the float network's classifier, before training and after."""
    head, weights = tmp_path / "head.safetensors", tmp_path / "f.safetensors"
    common = ("--network", NETWORK, "--images", images, "--loss", "labels", *QUICK, "--json")
    code, out, _ = run(
        capsys, "--float", "--weights", "random:1", "-o", weights, "--save-classifier", head, *common
    )
    assert code == 0
    best = json.loads(out)["validation"]["after"]
    code, out, _ = run(
        capsys,
        "--float",
        "--weights",
        weights,
        "-o",
        tmp_path / "g.safetensors",
        "--classifier",
        head,
        *common,
    )
    assert code == 0
    before = json.loads(out)["validation"]["before"]
    assert {name: before[name] for name in best} == pytest.approx(best)
    code, _, error = run(
        capsys, "--weights", weights, "-o", tmp_path / "o.safetensors", "--classifier", weights, *common
    )
    assert code == 2
    assert "other tensors than" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "distil"), "loss 'distil'; allowed: distill"),
        (("--loss", "distill"), "needs the float network"),
        (
            ("--loss", "distill", "--teacher", "random:1", "--teacher-network", "vgg11/8:pool2"),
            "feature layer",
        ),
        (
            ("--loss", "relational", "--teacher", "random:1", "--rate", "2"),
            "rate 2; allowed: above 0, below 1",
        ),
        (("--loss", "labels", "--fit", "output"), "fit 'output'; allowed here: least-squares, vendor, paper"),
        (("--loss", "labels", "--schedule", "no"), "schedule 'no'; allowed: constant"),
        (("--loss", "labels", "--gradual", "no"), "gradual 'no'; allowed: none"),
        (("--loss", "labels", "--optimiser", "no"), "optimiser 'no'; allowed: adam"),
        (("--loss", "labels", "--freeze", "conv8_1"), "frozen layer 'conv8_1'; allowed: conv1_1"),
        (("--loss", "labels", "--device", "tpu"), "device 'tpu'; allowed here: auto, cpu"),
        (("--loss", "labels", "--device", "cpu", "--precision", "mixed"), "precision 'mixed' on cpu"),
        (("--loss", "labels", "--start", "best"), "start 'best'; allowed: auto, network, float"),
        (("--loss", "labels", "--plot", "a.svg"), "--plot has no effect without --log-file"),
        (("--loss", "triplet", "--batch", "5"), "batch 5 with loss triplet"),
    ],
)
def test_bad_options(
    arguments: tuple[str, ...], message: str, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "o.safetensors"
    code, out, error = run(
        capsys,
        "--network",
        NETWORK,
        "--weights",
        "random:1",
        "-o",
        output,
        "--images",
        images,
        "--size",
        16,
        "--held-out",
        0,
        "--steps",
        1,
        *arguments,
    )
    assert code == 2
    assert out == ""
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_needs_a_network(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "-o", tmp_path / "o.safetensors", "--images", images)
    assert code == 2
    assert "no network file" in error


def test_losses_add_up() -> None:
    assert parse_losses("features+0.5*triplet+2*features") == {"features": 3.0, "triplet": 0.5}
    assert set(parse_losses("distill")) == {"features", "descriptor", "relation"}


def test_curves_of_a_run_without_validation(tmp_path: Path) -> None:
    plot_curves(
        [{"step": 1, "loss": 0.5, "rate": 0.1}, {"step": 2, "loss": 0.4, "rate": 0.1}], tmp_path / "c.svg"
    )
    assert (tmp_path / "c.svg").stat().st_size > 1000


@pytest.mark.parametrize("fit", ["sequential", "least-squares"])
def test_a_residual_network_is_distilled(
    fit: str, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file of compress, or from the float weights alone; resumable, and taken by other commands."""
    name, start, output = "resnet18/32:layer2.0", tmp_path / "s.safetensors", tmp_path / "o.safetensors"
    common = ("--network", name, "--mask-bits", "1")
    if fit == "sequential":
        arguments = ("compress", "random:1", "-o", start, "--fit", fit, "--size", 24, *common)
        assert cli.run([str(argument) for argument in arguments]) == 0
        capsys.readouterr()
        common = (start,)
    command = (*common, "--weights", "random:1", "-o", output, "--images", images, "--checkpoint",
               tmp_path / "c.safetensors", *QUICK, "--json")  # fmt: skip
    teacher = ("--teacher", "random:1")  # the student's own random weights are no teacher
    code, out, error = run(capsys, *command, *teacher)
    assert code == 0, error
    payload = json.loads(out)
    assert payload["network"] == name
    assert payload["mask_bits"] == [1] * 7
    before, after = (payload["validation"][when]["cosine"] for when in ("before", "after"))
    # Sequential fits leave a few steps nothing to gain.
    assert after > (before - 0.005 if fit == "sequential" else before)
    network = load_network(output)
    Reference(network).last(torch.zeros((1, 27, 8, 8), dtype=torch.uint8))
    if fit == "sequential":
        begun = load_network(start)
        assert begun.layers[-1].shortcut_alpha is not None
        assert network.blocks
    first = output.read_bytes()
    code, out, _ = run(capsys, *command, *teacher)
    assert (code, json.loads(out)["resumed_from"]) == (0, 4)
    assert output.read_bytes() == first


def test_a_resnet_whose_blocks_are_counted(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a file there is nothing to count; such a name is refused before any work."""
    output = tmp_path / "o.safetensors"
    code, out, error = run(
        capsys, "--network", "resnet:layer1.0", "--weights", "random:1", "--images", images, "-o", output
    )
    assert (code, out) == (2, "")
    assert "the blocks of resnet are counted in a file of weights" in error
    assert error.count("\n") == 1


def test_a_float_residual_network_is_trained_and_read_again(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With labels, its classifier, and a stem that is still one of 7x7; then integers from what was saved."""
    name, weights, head = "resnet18/32:layer2.0", tmp_path / "f.safetensors", tmp_path / "h.safetensors"
    common = ("--network", name, "--images", images, "--loss", "labels", "--steps", 4, "--batch", 4,
              "--size", 16, "--held-out", 0, "--device", "cpu", "--json")  # fmt: skip
    code, _, error = run(
        capsys, "--float", "--weights", "random:1", "-o", weights, "--save-classifier", head, *common
    )
    assert code == 0, error
    with safe_open(str(weights), framework="np") as file:
        assert file.get_tensor("conv1.weight").shape == (2, 3, 7, 7)
    trained = load_weights(str(weights), parse_network(name))
    begun = load_weights("random:1", parse_network(name))
    assert not np.array_equal(trained.weights[0], begun.weights[0])
    code, out, error = run(
        capsys, "--weights", weights, "-o", tmp_path / "o.safetensors", "--classifier", head, *common
    )
    assert code == 0, error
    assert json.loads(out)["steps"] == 4
    assert load_network(tmp_path / "o.safetensors").blocks


def test_a_stopped_run_keeps_a_checkpoint_unless_told_not_to(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    output, kept = tmp_path / "o.safetensors", tmp_path / "o.checkpoint.safetensors"
    command = ("--network", "vgg11/32:pool1", "--weights", "random:1", "--teacher", "random:2", "-o", output,
               "--images", images, *QUICK, "--json")  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("kestrel.cli.networks.retrain.save_network", stop)
        code, _, error = run(capsys, *command, "--no-checkpoint")
        assert (code, kept.exists()) == (130, False)
        assert "nothing was written" in error
        code, _, error = run(capsys, *command)
        assert code == 130
        assert f"kestrel: stopped; {kept} keeps the training up to its last validation" in error
    code, out, error = run(capsys, *command)
    assert code == 0, error
    assert f"continuing from {kept}" in error
    assert json.loads(out)["resumed_from"] == 4
    assert output.exists()
    assert not kept.exists(), "the network is written"
