"""``kestrel estimate``, and the clock of plan, as users run them."""

import json
import subprocess
import sys

import pytest

from kestrel.cli.main import run

VGG16 = ["estimate", "vgg16", "--mask-bits", "3*7,1*6"]


def call(arguments, capsys):
    capsys.readouterr()
    code = run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json_of_an_estimate(capsys):
    code, out, _ = call([*VGG16, "--clock", "200", "--device", "ecp5-85", "--json"], capsys)
    found = json.loads(out)
    assert code == 0
    assert found["cycles"] == 6_879_456
    assert found["milliseconds"] == pytest.approx(34.39728)
    assert found["pictures_per_second"] == pytest.approx(1000 / 34.39728)
    assert round(found["mac_utilisation"], 4) == 0.9757
    assert found["memory_bits"] == sum(memory["bits"] for memory in found["memories"])
    assert {"name": "weights", "instances": 1, "words": 262144, "word_bits": 256, "kind": "rom", "lanes": 1,
            "bits": 262144 * 256} in found["memories"]
    assert found["energy_mj"] == pytest.approx(sum(found["energy_parts_mj"].values()))
    assert found["device"]["fits"] is False
    used = {resource["name"]: resource for resource in found["device"]["resources"]}
    assert used["multipliers"]["available"] == 156
    assert used["block RAMs of 18 kbit"]["used"] > 3648  # the weights alone


def test_json_of_a_descriptor(capsys):
    code, out, _ = call(["estimate", "vgg11/8:pool2", "--size", "32", "--top", "chip", "--pooling", "rnip5x",
                         "--json"], capsys)  # fmt: skip
    found = json.loads(out)
    assert code == 0
    described = found["described"]
    assert (described["crops"], described["frames"]) == (5, 5)
    assert described["energy_mj"] == pytest.approx(sum(described["energy_parts_mj"].values()))
    assert 0 < found["energy_rom_mj"] < found["energy_mj"]
    assert found["accesses"]["weights"]["reads"] > 0


def test_cycles_are_those_of_the_plan(capsys):
    arguments = ["embedded", "--config", "nano", "--size", "32x48"]
    _, estimated, _ = call(["estimate", *arguments, "--json"], capsys)
    _, planned, _ = call(["plan", *arguments, "--json"], capsys)
    assert json.loads(estimated)["cycles"] == json.loads(planned)["model_cycles"]
    assert json.loads(planned)["pictures_per_second"] == json.loads(estimated)["pictures_per_second"]


def test_the_engines_memories_can_be_fitted(capsys):
    """As docs/area.md has them for this network, where the 81 blocks without descriptor unit are 82."""
    arguments = ["estimate", "embedded", "--config", "nano", "--size", "64", "--device", "ecp5-45", "--json"]
    _, out, _ = call([*arguments, "--fit"], capsys)
    found = json.loads(out)
    assert found["config"] == "nano-fitted"
    assert {memory["name"]: memory["words"] for memory in found["memories"]} == {
        "features, part 0": 2816, "features, part 1": 5632, "partial sums": 128, "pool line": 32,
        "weights": 13540, "schedule table": 636, "cycle records": 256}  # fmt: skip
    assert found["device"]["fits"] is True
    _, out, _ = call(arguments, capsys)
    assert json.loads(out)["device"]["fits"] is False


def test_a_network_by_name_can_be_fitted_too(capsys):
    code, out, _ = call(["estimate", "vgg11/8:pool2", "--config", "nano", "--size", "32", "--fit", "--json"],
                        capsys)  # fmt: skip
    assert code == 0
    assert json.loads(out)["memory_bits"] < 14_000_000 / 10


def test_several_pictures_in_a_frame_share_its_time(capsys):
    _, out, _ = call(["estimate", "vgg11/8:pool2", "--set", "batch=true", "--batch", "3", "--size", "32",
                      "--json"], capsys)  # fmt: skip
    found = json.loads(out)
    assert found["pictures_per_second"] == pytest.approx(3 * 1000 / found["milliseconds"])


def test_text_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(["estimate", "vgg16/8", "--config", "nano", "--size", "64", "--top", "chip",
                         "--device", "ice40-up5k"], capsys)  # fmt: skip
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "pictures/s at 400 MHz" in " ".join(out.split())
    assert "iCE40UP5K has too few LUT4" in " ".join(out.split())
    assert "descriptor ROM" in out


@pytest.mark.parametrize(("arguments", "message"), [
    ("estimate vgg16 --device ecp5-12",
     "device 'ecp5-12' is not known; allowed: ecp5-25, ecp5-45, ecp5-85, ice40-up5k"),
    ("estimate vgg16 --clock 0", "clock 0 MHz; allowed: above 0, at most 10,000"),
    ("estimate vgg16 --clock -3", "clock -3 MHz"),
    ("plan vgg16 --clock nan", "clock nan MHz"),
    ("estimate vgg11/8:pool2 --size 32 --pooling nip", "--pooling has no effect with --top engine"),
    ("estimate vgg11/8:pool2 --size 32 --top chip --pooling mean", "crops 'mean'"),
    ("estimate embedded --mask-bits 3", "--mask-bits has no effect with a network file"),
    ("estimate resnet18", "configuration 'edge'"),
    ("estimate vgg11/8:pool2 --set batch=true --size 32 --batch 2 --fit", "--fit with batch 2"),
    ("estimate vgg99", "vgg99"),
])
def test_a_refusal_is_one_line(capsys, arguments, message):
    code, out, err = call(arguments.split(), capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_it_starts_without_torch():
    program = ("import sys\nfrom kestrel.cli.main import run\n"
               "assert run(['estimate', 'vgg11/8:pool2', '--size', '32', '--json']) == 0\n"
               "print([m for m in ('torch', 'amaranth', 'matplotlib', 'cocotb') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
