"""``kestrel report design`` as users run it."""

import json
import subprocess
import sys

import pytest

from kestrel.cli.main import run
from kestrel.sw.common.kinds import DESIGN_PAGE, file_kind
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.digest import network_digest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line, capsys):
    capsys.readouterr()
    code = run(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_page_with_retrieval_and_provenance(folder, capsys):
    for line in ("scenes -o places --groups 3 --views 2 --size 64",
                 "describe embedded places -o d.npz --size 32"):
        assert call(line, capsys)[0] == 0
    code, out, _ = call("report design embedded --config nano --size 32 --fit -o page.html --json "
                        "--descriptors d.npz --dataset places", capsys)
    found = json.loads(out)
    assert code == 0
    assert found["page"] == "page.html"
    assert file_kind(folder / "page.html") == DESIGN_PAGE
    (only,) = found["designs"]
    assert only["config"] == "nano-fitted"
    assert only["network_hash"] == network_digest(load_network("embedded"))
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert only["network_hash"] in text
    assert f"{only['map']:.4f}" in text
    assert "Retrieval: places" in text


def test_descriptors_of_another_network_are_refused(folder, capsys):
    for line in ("scenes -o places --groups 3 --views 2 --size 64",
                 "compress random:1 -o n.safetensors --network vgg16/32:pool2 --size 32",
                 "describe n.safetensors places -o d.npz --size 32"):
        assert call(line, capsys)[0] == 0
    code, _, err = call("report design embedded --size 32 -o page.html --descriptors d.npz --dataset places",
                        capsys)
    assert code == 2
    assert "d.npz: descriptors of network SHA-256" in err
    assert not (folder / "page.html").exists()


def test_two_designs_take_what_is_not_given_from_the_first(folder, capsys):
    code, out, _ = call("report design vgg11/8:pool2 --config nano --set activation_bits=5 --size 32 "
                        "-o p.html --against vgg11/8:pool3 --against-size 16x24 --json", capsys)
    first, second = json.loads(out)["designs"]
    assert code == 0
    assert (first["network"], second["network"]) == ("vgg11/8:pool2", "vgg11/8:pool3")
    assert (second["config"], second["height"], second["width"]) == ("nano", 16, 24)
    same = call("report design vgg11/8:pool2 --config nano --set activation_bits=5 --size 32 -o p.html "
                "--against vgg11/8:pool2 --json", capsys)[1]
    first, second = json.loads(same)["designs"]
    assert first == second
    assert "Two designs side by side" in (folder / "p.html").read_text(encoding="utf-8")


def test_another_configuration_does_not_inherit_the_fields_of_the_first(folder, capsys):
    _, out, _ = call("report design vgg11/8:pool2 --set input_lanes=8 --size 32 -o p.html "
                     "--against vgg11/8:pool2 --against-config nano --json", capsys)
    first, second = json.loads(out)["designs"]
    lanes = [next(part["count"] for part in each["blocks"] if part["name"] == "kernel_unit")
             for each in (first, second)]
    assert lanes == [8 * 16, 2 * 2]


@pytest.mark.parametrize(("line", "message"), [
    ("report design vgg11 -o page.htm", "suffix '.htm'; allowed: .html"),
    ("report design vgg11 -o page.html --against-size 32",
     "--against-size has no effect without --against; allowed: with --against"),
    ("report design vgg11 -o page.html --protocol ukbench",
     "--protocol has no effect without --dataset; allowed: with --dataset"),
    ("report design vgg11/8:pool2 -o page.html --size 32 --allocation none.json",
     "none.json: cannot be read"),
    ("report nonsense", "No such command 'nonsense'"),
])
def test_a_refusal_is_one_line_and_leaves_nothing(folder, capsys, line, message):
    code, out, err = call(line, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not list(folder.iterdir())


def test_help_lists_the_reports(capsys):
    _, out, _ = call("report --help", capsys)
    assert "design" in out
    assert "retrieval" in out


def test_it_starts_without_torch(folder):
    program = ("import sys\nfrom kestrel.cli.main import run\n"
               "assert run('report design vgg11/8:pool2 --size 32 -o p.html --json'.split()) == 0\n"
               "print([m for m in ('torch', 'amaranth', 'matplotlib', 'cocotb') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
