"""``kestrel verilog --fit``: the Verilog, its configuration as a file and as options, and what takes it."""

import json

import pytest

from kestrel.cli.main import run
from kestrel.cli.options.config import chosen_config
from kestrel.hw.spec.configurations import NAMED, load_config

FIT = ["--fit", "embedded", "--size", "32x40"]


def call(arguments, capsys):
    code = run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The Verilog of a chip, fitted."""
    path = tmp_path_factory.mktemp("fit") / "rtl"
    command = ["verilog", *FIT, "--config", "nano", "--top", "chip", "--descriptor", "--pooling", "nip"]
    assert run([*command, "-o", str(path)]) == 0
    return path


def test_file_and_options_say_the_same(tmp_path, capsys):
    base = ["--config", "nano", "--set", "partial_depth=100", "--set", "max_width=64"]
    command = ["verilog", *FIT, *base, "-o", str(tmp_path / "rtl")]
    code, out, _ = call(command, capsys)
    assert code == 0
    options = out[out.rindex("--config nano") :].split()
    config = load_config(str(tmp_path / "rtl" / "config.toml"))
    assert chosen_config("nano", options[3::2]).with_options(name=config.name) == config
    assert options[2::2] == ["--set"] * len(options[3::2])
    assert config.max_width == 40
    payload = json.loads(call([*command, "--json"], capsys)[1])
    assert payload["config_file"] == str(tmp_path / "rtl" / "config.toml")
    assert set(payload["settings"]) < set(options)
    assert payload["config"] == json.loads(json.dumps(vars(config)))


def test_the_memories_of_the_verilog_are_those_of_the_file(folder):
    config = load_config(str(folder / "config.toml"))
    text = (folder / "kestrel_top.v").read_text()
    for words in (config.weight_words, config.table_words, config.descriptor_words):
        assert f".DEPTH({words})" in text
    assert f".DEPTH({config.partial_depth})" in (folder / "kestrel_accumulator.v").read_text()


def test_export_plan_and_simulation_take_it(folder, tmp_path, capsys):
    config = ["--config", str(folder / "config.toml"), "--size", "32x40"]
    code, out, _ = call(["plan", "embedded", *config, "--json"], capsys)
    plan = json.loads(out)
    assert code == 0
    assert plan["proved"]
    for memory in ("feature", "partial_sum", "weight_rom"):
        assert plan[f"{memory}_bytes"] == plan[f"{memory}_bytes_configured"], memory
    assert plan["table_words"] == plan["table_words_configured"]
    assert plan["model_cycles"] == json.loads(
        call(["plan", "embedded", "--config", "nano", "--size", "32x40", "--json"], capsys)[1]
    )["model_cycles"]
    assert call(["export", "embedded", *config, "-o", str(tmp_path / "rom")], capsys)[0] == 0
    code, _, err = call(["plan", "embedded", *config[:2], "--size", "32x48"], capsys)
    assert code == 2
    assert "configuration 'nano-fitted': height 1..65535, width 1..40; allowed: --set max_width=48" in err


def test_without_fit_nothing_is_written_but_the_verilog(tmp_path, capsys):
    code, out, _ = call(["verilog", "--config", "nano", "-o", str(tmp_path / "rtl"), "--json"], capsys)
    assert code == 0
    assert not (tmp_path / "rtl" / "config.toml").exists()
    assert json.loads(out)["config"] == json.loads(json.dumps(vars(NAMED["nano"])))


@pytest.mark.parametrize(("options", "message"), [
    ([*FIT, "--top", "chip", "--descriptor"], "allowed: with --training FILE or --pooling NAME"),
    ([*FIT, "--top", "chip", "--pooling", "nip"], "--pooling has no effect without --descriptor"),
    (["--top", "chip", "--descriptor", "--training", "t.npz"], "--training has no effect without --fit"),
    (["--whitening", "w.npz"], "--whitening has no effect without --fit; allowed: with --fit"),
    ([*FIT, "--top", "chip", "--descriptor", "--pooling", "rmac"], "allowed on the chip: sqrt or sqrt-sum"),
    ([*FIT, "--descriptor", "--pooling", "nip"], "--descriptor has no effect with --top engine"),
    (["--fit", "embedded", "--size", "32x400"], "width 1..128; allowed: --set max_width=400"),
    (["--fit", "missing.safetensors"], "missing.safetensors"),
])
def test_what_cannot_be_fitted_is_refused(options, message, tmp_path, capsys):
    code, _, err = call(["verilog", "--config", "nano", *options, "-o", str(tmp_path / "rtl")], capsys)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "rtl").exists()
