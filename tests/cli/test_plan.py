"""``kestrel plan`` as a user runs it."""

import json

import pytest

from kestrel.api import planning
from kestrel.cli.main import run
from kestrel.sw.planning.proof import PlanError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a user works: a network, and half of it."""
    monkeypatch.chdir(tmp_path)
    assert (
        run(
            [
                "compress",
                "random:1",
                "-o",
                "n.safetensors",
                "--network",
                "vgg16/32:pool2",
                "--mask-bits",
                "3*2,1*2",
                "--size",
                "16x16",
                "--json",
            ]
        )
        == 0
    )
    data = (tmp_path / "n.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "notes.txt").write_text("no network")
    (tmp_path / "other").mkdir()
    return tmp_path


def call(arguments, capsys):
    capsys.readouterr()
    code = run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json_of_the_whole_frame(capsys):
    """The figures of VGG-16 at 224 x 224 on ``edge``: 1.0 MB is the aim for features."""
    code, out, _ = call(["plan", "vgg16", "--mask-bits", "3*7,1*6", "--config", "edge", "--size", "224",
                         "--json"], capsys)  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert found["proved"] is True
    assert found["flaw"] is None
    assert found["feature_bytes"] == 881_664
    assert found["feature_bytes"] == sum(part["used"] for part in found["feature_parts"])
    assert found["feature_bytes_configured"] == 3 * 16 * (11264 + 7168)
    assert found["layer_by_layer_cycles"] == 6_823_936 + 13 * 13
    assert found["compute_cycles"] == sum(layer["cycles"] for layer in found["layers"])
    assert found["model_cycles"] > found["compute_cycles"]
    assert found["ratio"] < 1.01
    assert (found["weights_hidden"], found["exposed_cycles"]) == (True, 0)
    promised = {"name", "strip_rows", "visits", "part", "base", "slots", "bytes", "cycles", "streaming",
                "waiting"}  # fmt: skip
    assert all(promised <= layer.keys() for layer in found["layers"])
    assert [layer["name"] for layer in found["layers"]][:2] == ["conv1_1", "conv1_2"]
    for name in ("partial_sum_bytes", "pool_line_bytes", "weight_rom_bytes", "table_words"):
        assert 0 < found[name] <= found[f"{name}_configured"]
    assert found["shadow_bits"] == 256 * 35 + 16 * 12 + 16 * 8


def test_a_file_is_planned_as_it_will_be_simulated(folder, capsys):
    code, out, _ = call(["plan", "n.safetensors", "--config", "nano", "--size", "20x17",
                         "--json"], capsys)  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert found["network"] == "vgg16/32:pool2"
    assert [layer["mask_bits"] for layer in found["layers"]] == [3, 3, 1, 1]
    _, out, _ = call(["export", "n.safetensors", "-o", "rom", "--config", "nano", "--size", "20x17",
                      "--json"], capsys)  # fmt: skip
    exported = json.loads(out)
    assert exported["table_words"] == found["table_words"]
    assert exported["weight_words"] * 64 == found["weight_rom_bytes"] * 8


@pytest.mark.parametrize("network", ["resnet18/16:layer3.0", "shared_resnet/16:layer2.1", "repvgg_a0/8"])
def test_graphs_are_planned_and_drawn(network, tmp_path, capsys):
    plot = tmp_path / "p.svg"
    options = ["--config", "nano", "--set", "residual=true", "--set", "partial_depth=512", "--size", "48x40"]
    code, out, _ = call(["plan", network, *options, "-o", str(plot), "--json"], capsys)
    assert code == 0
    found = json.loads(out)
    assert found["proved"]
    assert found["ratio"] == 1
    text = plot.read_text()
    assert all(layer["name"] in text for layer in found["layers"])
    code, _, err = call(["plan", network, *options[:2], "--size", "48x40"], capsys)
    assert code == 2
    assert "allowed: --set residual=true" in err


def test_shortcuts_are_listed_and_drawn(tmp_path, capsys):
    plot = tmp_path / "p.svg"
    arguments = ["plan", "resnet18:layer2.0", "--set", "residual=true", "-o", str(plot)]
    _, out, _ = call([*arguments, "--json"], capsys)
    layers = {layer["name"]: layer for layer in json.loads(out)["layers"]}
    assert layers["conv1"]["reads"] is None
    assert layers["conv1"]["shortcut"] is None
    down = layers["layer2_0_conv2"]
    assert (down["reads"], down["steps"]) == ("layer2_0_conv1", 1)
    assert down["shortcut"] == {
        "source": "layer1_1_conv2", "projection": True, "stride": 2, "part": down["part"], "waits": True,
    }  # fmt: skip
    code, out, _ = call([*arguments, "--force"], capsys)
    assert code == 0
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "layer1_0_conv2 layer1_0_conv1 conv1, part 1 as it is each group" in rows
    assert "layer2_0_conv2 layer2_0_conv1 layer1_1_conv2, part 1 1x1/2 each group" in rows
    assert "…" not in out, "every name and number is shown whole"
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "layer2_0_conv2 + layer1_1_conv2" in plot.read_text()


def test_table_and_verdict_are_for_people(capsys):
    code, out, _ = call(["plan", "vgg11/8:pool3", "--config", "nano", "--size", "32"],
                        capsys)  # fmt: skip
    assert code == 0
    for text in (
        "conv3_2",
        "all layers",
        "partial sums",
        "weight ROM",
        "times layer by layer",
        "verdict: every row is there when it is read",
    ):
        assert text in out


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_plot_is_written_and_the_same_each_time(tmp_path, capsys, suffix):
    outputs = [tmp_path / f"{n}.{suffix}" for n in "ab"]
    for output in outputs:
        code, out, _ = call(["plan", "vgg16/8:conv3_2", "--config", "edge", "--size", "48x64",
                             "-o", str(output), "--json"], capsys)  # fmt: skip
        assert code == 0
        assert json.loads(out)["plot"] == str(output)
    data = outputs[0].read_bytes()
    assert data == outputs[1].read_bytes()
    if suffix == "svg":
        text = data.decode()
        for label in ("clock cycles", "in use / kB", "configured", "conv3_2"):
            assert label in text
    else:
        assert data.startswith(b"\x89PNG")


def test_a_plan_that_is_wrong_is_said_and_told_by_the_exit_code(monkeypatch, capsys):
    def refuse(plan):
        raise PlanError("conv1_1: row 3 of its input has been overwritten")

    monkeypatch.setattr(planning, "check_plan", refuse)
    arguments = ["plan", "vgg11/8:pool1", "--config", "nano", "--size", "16"]
    code, out, _ = call([*arguments, "--json"], capsys)
    assert code == 1
    assert (json.loads(out)["proved"], json.loads(out)["flaw"][:7]) == (False, "conv1_1")
    code, out, _ = call(arguments, capsys)
    assert code == 1
    assert "PLAN IS WRONG: conv1_1" in out


BAD = {
    "no file": (["none.safetensors"], "none.safetensors: no such file"),
    "half a file": (["cut.safetensors"], "not a readable network file"),
    "another file": (["notes.txt"], "not a readable network file"),
    "name": (["resnet50"], "network 'resnet50' is not known"),
    "cut": (["vgg16:pool9"], "no layer 'pool9'"),
    "mask bits": (["vgg16", "--mask-bits", "3*7"], "describe 7 layers"),
    "mask bits of a file": (["n.safetensors", "--mask-bits", "3"],
                            "--mask-bits has no effect with a network file, which has its own"),
    "configuration": (["vgg16", "--config", "huge"], "configuration 'huge' is not known"),
    "setting": (["vgg16", "--set", "lanes=4"], "unknown field 'lanes'"),
    "setting value": (["vgg16", "--set", "input_lanes=many"], "value 'many'"),
    "impossible": (["vgg16", "--set", "input_lanes=6"], "6 x 16 lanes"),
    "too wide": (["vgg16", "--config", "nano"], "width 1..128"),
    "size": (["vgg16", "--size", "0x224"], "size '0x224'; allowed: N or HEIGHTxWIDTH, each 1..8192"),
    "size text": (["vgg16", "--size", "tall"], "size 'tall'; allowed"),
    "half a size": (["vgg16", "--size", "8x"], "size '8x'; allowed"),
    "too small": (["vgg16", "--size", "8x224"], "to nothing"),
    "features": (["vgg16", "--set", "feature_words=100,100"], "words a bank in feature parts"),
    "weights": (["vgg16", "--set", "weight_words=100"], "words of weight ROM"),
    "plot suffix": (["vgg16/8", "-o", "p.gif"], "suffix '.gif'; allowed: .svg, .png"),
    "plot folder": (["vgg16/8", "-o", "no/p.svg"], "does not exist"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, what):
    before = sorted(folder.rglob("*"))
    arguments, message = BAD[what]
    code, out, err = call(["plan", *arguments, "--json"], capsys)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("kestrel: error: ")
    assert err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
