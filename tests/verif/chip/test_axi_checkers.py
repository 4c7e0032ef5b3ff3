"""The AXI checkers see a violation of each rule, and are quiet without one."""

from pathlib import Path

import pytest

from kestrel.verif.build.rtl import axi_checkers
from kestrel.verif.build.verilator import BenchFailed, build_cocotb, run_cocotb

FOLDER = Path(__file__).parent / "checkers"
TOP = "kestrel_top"


def run(mode, workdir, seed):
    stub = workdir / "stub.v"
    stub.write_text(f"`define MODE {mode}\n" + (FOLDER / "axi_stub.v").read_text())
    build = build_cocotb([stub, *axi_checkers()], TOP, 0, assertions=True)
    run_cocotb(build, TOP, "bench_ticks", workdir, seed=seed, python_path=[FOLDER])


def test_a_port_that_keeps_the_rules_passes(tmp_path, seed):
    run(0, tmp_path, seed)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (1, "VALID was withdrawn before READY"),
        (2, "the payload changed before READY"),
        (3, "the payload changed before READY"),
        (4, "the payload changed before READY"),
        (5, "a write answer without a write"),
        (6, "read data without a read"),
        (8, "an answer other than OKAY and SLVERR"),
        (9, "an answer other than OKAY and SLVERR"),
        (7, "VALID during or right after a reset"),
    ],
)
def test_a_violation_ends_the_simulation(mode, message, tmp_path, seed):
    with pytest.raises(BenchFailed, match=message):
        run(mode, tmp_path, seed)
