"""The notebooks run, and print what is stored in them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kestrel.verif.build.cache import cache_root

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FRACTION = re.compile(r"\d+\.\d+")


def execute(path, folder):
    """Runs a notebook and writes it, with what it gave, to ``folder`` under its own name."""
    variables = {
        **os.environ, "PYTHONPATH": str(ROOT), "KESTREL_CACHE": str(cache_root()),
        "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute",
         "--ExecutePreprocessor.timeout=300", "--output-dir", str(folder), str(path)],
        env=variables, text=True, capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / path.name


def printed(path):
    """The text that each cell prints, and how many plots it shows."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        outputs = cell.get("outputs", [])
        text = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
        yield text, sum("image/png" in output.get("data", {}) for output in outputs)


def fractions(text):
    return [float(number) for number in FRACTION.findall(text)]


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_gives_what_it_shows(path, tmp_path):
    found, stored = list(printed(execute(path, tmp_path))), list(printed(path))
    assert sum(plots for _, plots in found) > 0
    for (text, plots), (old, old_plots) in zip(found, stored, strict=True):
        assert plots == old_plots
        assert FRACTION.sub("#", text) == FRACTION.sub("#", old)
        # Another processor may round floats otherwise, and change a rank.
        assert fractions(text) == pytest.approx(fractions(old), abs=0.02)
