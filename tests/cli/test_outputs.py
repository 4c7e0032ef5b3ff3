"""Nothing of the user's is destroyed: what a command refuses to replace, and what it does replace."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from kestrel.cli.main import COMMANDS, run
from kestrel.cli.rules.outputs import ContinuedOutput, FileOutput, FolderOutput
from kestrel.sw.common.files import LISTING
from kestrel.sw.common.kinds import (
    CHECKPOINT,
    CLASSIFIER,
    DESCRIPTORS,
    DESIGN_PAGE,
    FLOAT_MODEL,
    INDEX,
    INTEGER_MODEL,
    LOG,
    NETWORK,
    PAGE,
    PER_QUERY,
    REGRESS_JUNIT,
    REGRESS_RESULTS,
    WEIGHTS,
    WHITENING,
    file_kind,
    plot_kind,
)
from kestrel.sw.pictures.images import generate_picture
from kestrel.verif.regress.junit import junit_xml
from kestrel.verif.regress.results import Result, Store

SHAPE = "vgg16/32:pool2"
SMALL = ("--size", "32")

pytestmark = pytest.mark.usefixtures("one_thread")


FOREIGN = {
    "floats.safetensors": "weights or other arrays (safetensors)",
    "n.safetensors": NETWORK,
    "w.safetensors": WHITENING,
    "d.npz": DESCRIPTORS,
    "i.index": INDEX,
    "weights.npz": "arrays of NumPy (npz)",
    "weights.pth": "a PyTorch file",
    "photo.png": "a PNG picture",
    "drawing.svg": "an XML file",
    "notes.txt": "a text file",
    "page.html": "an HTML page",
    "what.bin": "an unknown file",
}
"""Files of a user and what they are, whatever their names say."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Files of every kind, and photographs with ground truth."""
    folder = tmp_path_factory.mktemp("world")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(["scenes", "-o", "photos", "--groups", "3", "--views", "2", "--size", "40x48"]) == 0
        assert run(["compress", "random:1", "--network", SHAPE, "-o", "n.safetensors", *SMALL]) == 0
        assert run(["whiten", "n.safetensors", "photos", "-o", "w.safetensors", *SMALL]) == 0
        assert run(["describe", "n.safetensors", "photos", "-o", "d.npz", *SMALL]) == 0
        assert run(["index", "add", "i.index", "d.npz"]) == 0
    finally:
        os.chdir(before)
    save_file({"features.0.weight": np.ones((2, 3, 3, 3), np.float32)}, folder / "floats.safetensors")
    np.savez(folder / "weights.npz", kernel=np.ones(3))
    torch.save({"features.0.weight": torch.ones(3)}, folder / "weights.pth")
    Image.fromarray(generate_picture(8, 8, 1)).save(folder / "photo.png")
    (folder / "drawing.svg").write_text('<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>\n')
    (folder / "notes.txt").write_text("query,split\n")
    (folder / "page.html").write_text("<!DOCTYPE html>\n<title>mine</title>\n")
    (folder / "what.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """A copy of ``world``, the current folder."""
    for path in world.rglob("*"):
        copy = tmp_path / path.relative_to(world)
        copy.mkdir() if path.is_dir() else copy.write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(capsys, *arguments):
    capsys.readouterr()
    code = run([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def refused(capsys, *arguments):
    """The one line of a command that must be refused."""
    capsys.readouterr()
    assert run(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    return err.removeprefix("kestrel: error: ").strip()


FILES = {
    ("compress", "--output"): ("random:1", ".safetensors", NETWORK),
    ("retrain", "--output"): ("n.safetensors --images photos", ".safetensors", NETWORK),
    ("retrain", "--save-classifier"): (
        "n.safetensors --images photos --loss labels -o new.safetensors", ".safetensors", CLASSIFIER),
    ("retrain", "--log-file"): ("n.safetensors --images photos -o new.safetensors", ".jsonl", LOG),
    ("retrain", "--plot"): (
        "n.safetensors --images photos -o new.safetensors --log-file new.jsonl", ".svg",
        plot_kind("retrain")),
    ("allocate", "--plot"): ("random:1 --calibrate photos --bytes 9", ".svg", plot_kind("allocate")),
    ("export", "--onnx"): ("n.safetensors", ".onnx", INTEGER_MODEL),
    ("export", "--float"): ("n.safetensors", ".safetensors", WEIGHTS),
    ("simulate", "--waves"): ("n.safetensors photo.png", ".fst", "waveforms of a simulation"),
    ("plan", "--output"): ("n.safetensors", ".png", plot_kind("plan")),
    ("describe", "--output"): ("n.safetensors photos", ".npz", DESCRIPTORS),
    ("whiten", "--output"): ("n.safetensors photos", ".safetensors", WHITENING),
    ("evaluate", "--save"): ("n.safetensors --dataset photos", ".npz", DESCRIPTORS),
    ("evaluate", "--per-query"): ("n.safetensors --dataset photos", ".csv", PER_QUERY),
    ("index build", "--output"): ("d.npz", ".index", INDEX),
    ("index merge", "--output"): ("i.index", ".index", INDEX),
    ("search", "--html"): ("i.index d.npz", ".html", PAGE),
    ("report design", "--output"): ("vgg11/16 --size 32", ".html", DESIGN_PAGE),
}
"""Command and option -> other arguments, suffix, and what is written."""

FOLDERS = {("board build", "--output"), ("export", "--output"),
           ("verilog", "--output"), ("scenes", "--output"), ("shapes", "--output"),
           ("report retrieval", "--output"), ("regress", "--output"), ("regress", "--coverage"),
           ("study", "--output")}
CONTINUED = {("retrain", "--checkpoint"), ("index add", "INDEX"), ("index remove", "INDEX")}
"""Read where they exist, so that only what could be read is written again."""


def test_these_are_all_outputs_of_all_commands(leaf_commands):
    found = {FileOutput: set(), FolderOutput: set(), ContinuedOutput: set()}
    for name, command in leaf_commands.items():
        parameters = {p.name: max(p.opts, key=len) if p.param_type_name == "option" else "INDEX"
                      for p in command.params}
        writes = command.declaration.writes
        for parameter, output in writes.items():
            found[type(output)].add((name, parameters[parameter]))
        forced = any(not isinstance(output, ContinuedOutput) for output in writes.values())
        assert ("force" in parameters) == forced, name
    assert found == {FileOutput: set(FILES), FolderOutput: FOLDERS, ContinuedOutput: CONTINUED}
    assert {name.split()[0] for name in leaf_commands} == set(COMMANDS)


@pytest.mark.parametrize(("command", "option"), FILES, ids=lambda text: text.strip("-"))
def test_a_file_of_another_kind_is_refused_before_anything_is_done(world, tmp_path, monkeypatch, capsys,
                                                                   command, option):
    """Whatever its name: its content decides. The inputs are not even looked at: they are missing here."""
    monkeypatch.chdir(tmp_path)
    arguments, suffix, kind = FILES[command, option]
    for name, what in FOREIGN.items():
        if what == kind:
            continue
        target = tmp_path / f"target{suffix}"
        target.write_bytes(content := (world / name).read_bytes())
        message = refused(capsys, *command.split(), *arguments.split(), option, target)
        assert str(target) in message
        assert f"is there and is {what}, not {kind}; allowed: another name, or --force" in message
        assert target.read_bytes() == content
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("command", [
    "compress mine.safetensors --network vgg16/32:pool1 -o {}",
    "retrain mine.safetensors --images photos -o {}",
    "whiten mine.safetensors photos -o {}",
])
@pytest.mark.parametrize("way", ["same", "./same", "absolute", "link", "hard link", "folder link"])
def test_an_input_of_the_same_command_is_refused_however_it_is_named(here, capsys, command, way):
    """An input of the very kind that is written: only --force may replace it."""
    mine = here / "mine.safetensors"
    kind = {"c": "n", "r": "n", "w": "w"}[command[0]]
    mine.write_bytes(content := (here / f"{kind}.safetensors").read_bytes())
    named = {"same": "mine.safetensors", "./same": "photos/../mine.safetensors", "absolute": mine}.get(way)
    if way == "link":
        (here / "other.safetensors").symlink_to(mine)
    elif way == "hard link":
        (here / "other.safetensors").hardlink_to(mine)
    elif way == "folder link":
        (here / "me").symlink_to(here)
    named = named or ("me/mine.safetensors" if way == "folder link" else "other.safetensors")
    message = refused(capsys, *command.format(named).split())
    assert f"output {named} is an input of the same command" in message
    assert "allowed: another name, or --force, which replaces it" in message
    assert mine.read_bytes() == content


def test_force_replaces_input_and_other_kinds(here, capsys):
    (here / "mine.safetensors").write_bytes((here / "floats.safetensors").read_bytes())
    done(capsys, "compress", "random:1", "--network", SHAPE, "-o", "mine.safetensors", *SMALL, "--force")
    assert file_kind(here / "mine.safetensors") == NETWORK
    done(capsys, "retrain", "mine.safetensors", "--images", "photos", "-o", "mine.safetensors", "--force",
         "--loss", "triplet", "--steps", 1, "--batch", 4, *SMALL, "--held-out", 0)
    assert file_kind(here / "mine.safetensors") == NETWORK


def test_two_outputs_in_one_place_and_a_device_are_refused_even_with_force(here, capsys):
    assert "onnx both.onnx and floats both.onnx are one file; allowed: a name for each" in refused(
        capsys, "export", "n.safetensors", "--onnx", "both.onnx", "--float", "./both.onnx", "--force")
    assert "save d.npz and per query d.npz are one file" in refused(
        capsys, "evaluate", "n.safetensors", "--dataset", "photos", "--save", "d.npz",
        "--per-query", "./d.npz", "--force")
    os.mkfifo(here / "pipe.npz")
    assert "pipe.npz is a device or the like" in refused(
        capsys, "describe", "n.safetensors", "photos", "-o", "pipe.npz", "--force")


def test_every_output_is_known_by_its_content_and_written_again(here, capsys):
    """Twice without --force: the second time over one's own earlier output."""
    kinds = {
        "n2.safetensors": NETWORK, "w2.safetensors": WHITENING, "d2.npz": DESCRIPTORS,
        "save.npz": DESCRIPTORS, "q.csv": PER_QUERY, "found.html": PAGE, "i2.index": INDEX,
        "design.html": DESIGN_PAGE,
        "p.svg": plot_kind("plan"),
        "p.png": plot_kind("plan"), "a.svg": plot_kind("allocate"), "a.png": plot_kind("allocate"),
        "i.onnx": INTEGER_MODEL, "f.onnx": FLOAT_MODEL, "f.safetensors": WEIGHTS, "t.safetensors": NETWORK,
        "tf.safetensors": WEIGHTS, "c.safetensors": CLASSIFIER, "check.safetensors": CHECKPOINT,
        "log.jsonl": LOG, "curves.svg": plot_kind("retrain"), "curves.png": plot_kind("retrain"),
        "curves.pdf": plot_kind("retrain"),
    }  # fmt: skip
    done(capsys, "shapes", "-o", "shapes", "--classes", 2, "--per-class", 4, *SMALL)
    quick = ("--images", "shapes", "--steps", 1, "--batch", 4, *SMALL, "--held-out", 0)
    for formats in (("svg", "png", "pdf"), ("svg",)):
        done(capsys, "compress", "random:2", "--network", SHAPE, "-o", "n2.safetensors", *SMALL)
        done(capsys, "whiten", "n.safetensors", "photos", "-o", "w2.safetensors", *SMALL)
        done(capsys, "describe", "n.safetensors", "photos", "-o", "d2.npz", *SMALL)
        done(capsys, "evaluate", "n.safetensors", "--dataset", "photos", "--save", "save.npz", *SMALL,
             "--per-query", "q.csv")
        done(capsys, "search", "i.index", "d.npz", "--html", "found.html")
        done(capsys, "report", "design", "n.safetensors", "--config", "nano", *SMALL, "-o", "design.html")
        for suffix in formats[:2]:
            done(capsys, "plan", "n.safetensors", "--config", "nano", *SMALL, "-o", f"p.{suffix}")
            done(capsys, "allocate", "random:3", "--calibrate", "photos", "--network", "vgg16/32:pool1",
                 "--bits-per-weight", 4, "--trials", 0, "--rounds", 0, "--pictures", 1, *SMALL,
                 "--plot", f"a.{suffix}")
        done(capsys, "export", "n.safetensors", "--onnx", "i.onnx", "--float", "f.onnx")
        done(capsys, "export", "n.safetensors", "--float", "f.safetensors")
        for suffix in formats:
            done(capsys, "retrain", "n.safetensors", *quick, "-o", "t.safetensors", "--loss", "labels",
                 "--save-classifier", "c.safetensors", "--checkpoint", "check.safetensors",
                 "--log-file", "log.jsonl", "--plot", f"curves.{suffix}")
        done(capsys, "retrain", *quick, "--network", SHAPE, "--weights", "random:1", "--float",
             "-o", "tf.safetensors", "--loss", "labels")
    done(capsys, "index", "add", "i2.index", "d2.npz")
    assert {name: file_kind(here / name) for name in kinds} == kinds
    assert {name: file_kind(here / name) for name in FOREIGN} == FOREIGN


def test_an_empty_file_is_no_loss(here, capsys):
    (here / "new.npz").touch()
    done(capsys, "describe", "n.safetensors", "photos", "-o", "new.npz", *SMALL)
    assert file_kind(here / "new.npz") == DESCRIPTORS


# --------------------------------------------------------------------------------------------------------
# Folders
# --------------------------------------------------------------------------------------------------------

REPORT = ("report", "retrieval", "--dataset", "photos", "--poolings", "nip", *SMALL)
RUNS = {
    "export": (("export", "n.safetensors", "--config", "nano", *SMALL),
               ("export", "other.safetensors", "--config", "nano", *SMALL),
               "an export of another run: network file is "),
    "export, size": (("export", "n.safetensors", "--config", "nano", *SMALL),
                     ("export", "n.safetensors", "--config", "nano", "--size", "16"),
                     "an export of another run: height is 32 there and 16 here"),
    "scenes": (("scenes", "--groups", 2, "--views", 1, *SMALL),
               ("scenes", "--groups", 2, "--views", 1, "--seed", 5, *SMALL),
               "generated scenes of another run: seed is 1 there and 5 here"),
    "shapes": (("shapes", "--classes", 2, "--per-class", 1), ("scenes", "--groups", 2, "--views", 1, *SMALL),
               "generated shapes"),
    "report": ((*REPORT, "--network", "n.safetensors", "--train", "photos"),
               (*REPORT, "--network", "other.safetensors"), "a report of another run: network file is "),
}  # fmt: skip


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file()}


@pytest.mark.parametrize("which", RUNS)
def test_a_folder_is_replaced_by_its_own_run_and_by_others_with_force(here, capsys, which):
    mine, others, message = RUNS[which]
    done(capsys, "compress", "random:2", "--network", SHAPE, "-o", "other.safetensors", *SMALL)
    done(capsys, *others, "-o", "elsewhere")
    done(capsys, *mine, "-o", "out")
    first = contents(here / "out")
    done(capsys, *mine, "-o", "out")
    assert contents(here / "out").keys() == first.keys()
    found = refused(capsys, *others, "-o", "out")
    assert f"output folder out holds {message}" in found
    assert found.endswith("allowed: another folder, or --force, which replaces what is there")
    assert contents(here / "out").keys() == first.keys()
    done(capsys, *others, "-o", "out", "--force")
    # Nothing of the first is left.
    assert contents(here / "out").keys() == contents(here / "elsewhere").keys()
    (here / "out" / "notes.txt").write_text("mine")
    for force in ((), ("--force",)):
        assert "not an earlier output (notes.txt)" in refused(capsys, *others, "-o", "out", *force)
    assert (here / "out" / "notes.txt").read_text() == "mine"


def test_what_is_added_deep_in_a_folder_is_the_users(here, capsys):
    shapes = ("shapes", "--classes", 2, "--per-class", 1, "-o", "out")
    done(capsys, *shapes)
    inner = next(path for path in (here / "out").iterdir() if path.is_dir())
    (inner / "mine.png").write_bytes((here / "photo.png").read_bytes())
    assert f"not an earlier output ({inner.name}/mine.png)" in refused(capsys, *shapes, "--force")


@pytest.mark.parametrize("command", [
    ("report", "retrieval", "--network", "n.safetensors", "--dataset", "photos", "-o", "photos"),
    ("report", "retrieval", "--network", "photos/n.safetensors", "--dataset", "photos", "-o", "./photos"),
    ("verilog", "--config", "photos/mine.toml", "-o", "photos"),
])
def test_a_folder_that_holds_an_input_is_refused_even_with_force(here, capsys, command):
    (here / "photos" / "n.safetensors").write_bytes((here / "n.safetensors").read_bytes())
    (here / "photos" / "mine.toml").write_text('base = "nano"\n')
    before = contents(here / "photos")
    assert "an input of the same command; allowed: another folder" in refused(capsys, *command, "--force")
    assert contents(here / "photos") == before


def test_verilog_of_another_configuration_or_top_is_refused(here, capsys):
    done(capsys, "verilog", "--config", "nano", "-o", "out")
    assert "output folder out holds Verilog of another run: config is " in refused(
        capsys, "verilog", "--config", "nano", "--set", "activation_bits=5", "-o", "out")
    assert 'top is "engine" there and "chip" here' in refused(
        capsys, "verilog", "--config", "nano", "--top", "chip", "-o", "out")


def test_an_output_of_an_earlier_version_takes_force(here, capsys):
    shapes = ("shapes", "--classes", 2, "--per-class", 1, "-o", "out")
    done(capsys, *shapes)
    (here / "out" / ".kestrel-origin").unlink()
    listing = here / "out" / LISTING
    listing.write_text(listing.read_text().replace(".kestrel-origin\n", ""))
    assert "holds an output that does not say what made it" in refused(capsys, *shapes)
    done(capsys, *shapes, "--force")


def test_results_of_the_nightly_set_are_known(tmp_path):
    result = Result("nano", "vgg16", 1, "sources", passed=True, crashed=False, message="", values=1, cycles=1,
                    seconds=1.0)
    store = Store(tmp_path / "results.jsonl")
    store.append(result)
    assert file_kind(store.path) == REGRESS_RESULTS
    store.path.write_text('{"config": "na\n' + store.path.read_text())  # its first line torn
    assert file_kind(store.path) == REGRESS_RESULTS
    (tmp_path / "junit.xml").write_text(junit_xml([result]))
    assert file_kind(tmp_path / "junit.xml") == REGRESS_JUNIT


def test_a_folder_of_results_is_added_to_and_others_files_stay(here, capsys):
    out = here / "out"
    out.mkdir()
    (out / "junit.xml").write_text('<?xml version="1.0"?>\n<testsuites name="mine"/>\n')
    (out / "notes.txt").write_text("mine")
    assert "out/junit.xml is there and is an XML file, not a JUnit file of the nightly set" in refused(
        capsys, "regress", "-o", "out", "--seeds", 1)
    (out / "results.jsonl").write_text("mine\n")
    assert "out/results.jsonl is there and is a text file, not results of the nightly set" in refused(
        capsys, "regress", "-o", "out", "--seeds", 1)
    assert (out / "results.jsonl").read_text() == "mine\n"
