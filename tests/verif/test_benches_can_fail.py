"""Each bench is handed a block with a fault that it must see."""

import re

import pytest

from verif.blocks import block_config, run_block
from verif.rtl import block_sources
from verif.verilator import BenchFailed

# By block: pattern in its Verilog, replacement, what the bench must say.
FAULTS = {
    # A tap takes its neighbour's activation.
    "kernel_unit": (r"magnitude_0 \^", "magnitude_1 ^", "product: item"),
    # No saturation.
    "requantise_lane": (r"(assign above_y) = [^;]+;", r"\1 = 1'h0;", "y: item"),
    # Nothing ever comes out.
    "accumulator": (r"(assign acc_ahead\[0\]) = [^;]+;", r"\1 = 1'h0;", "acc_ahead: item"),
    # After a strip of odd height the next one begins in an odd row.
    "pool": (r"if \(pixel_1\[2\]\)", "if (1'h0)", "result: item"),
}


@pytest.mark.parametrize("block", FAULTS)
def test_bench_sees_a_fault(block, tmp_path, seed):
    pattern, replacement, message = FAULTS[block]
    config = block_config(3, 3, 5)
    files = block_sources(block, config)
    text, count = re.subn(pattern, replacement, files[-1].read_text(encoding="utf-8"))
    assert count == 1, f"{block}: the place to break has changed"
    broken = tmp_path / files[-1].name
    broken.write_text(text, encoding="utf-8")
    with pytest.raises(BenchFailed, match=message):
        run_block(block, config, tmp_path / "run", seed, [*files[:-1], broken])
