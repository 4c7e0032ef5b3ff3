"""A user's own packages hw, sw, export and verif, beside Kestrel, disturb neither."""

import os
import subprocess
import sys
from dataclasses import replace

from kestrel.verif.blocks.support.run import block_config, run_block

NAMES = ("hw", "sw", "export", "verif")
PROGRAM = """
import importlib
for name in ("hw", "sw", "export", "verif"):
    assert importlib.import_module(name).OWNER == "user", name
    assert not hasattr(importlib.import_module("kestrel." + name), "OWNER"), name
from kestrel.cli.main import run
raise SystemExit(run(["verilog", "--config", "nano", "-o", "rtl"]))
"""


def write_packages(folder):
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("OWNER = 'user'\n")


def test_both_can_be_imported_and_kestrel_uses_its_own(tmp_path):
    write_packages(tmp_path)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rtl" / "kestrel_engine.v").is_file()


def test_benches_inside_the_simulator_are_ours(tmp_path, monkeypatch, seed):
    write_packages(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    config = replace(block_config(1, 1, 4), name="user")
    assert run_block("compute.pool_lane", config, tmp_path / "run", seed).ran
