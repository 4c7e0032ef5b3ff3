"""Block RAMs of memories, against what yosys makes of them (docs/area.md, docs/estimate.md)."""

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.estimate.devices import DEVICES, Placed, find_device, place
from kestrel.sw.estimate.memories import Memory

ECP5 = DEVICES["ecp5-85"]

YOSYS = [
    # kind, words, bits, lanes, DP16KD, TRELLIS_DPR16X4
    ("single", 32768, 16, 2, 32, 0), ("single", 2816, 16, 2, 3, 0), ("single", 5632, 16, 2, 6, 0),
    ("single", 1408, 128, 16, 12, 0), ("single", 11264, 128, 16, 88, 0), ("single", 200, 64, 8, 2, 0),
    ("dual", 256, 64, 1, 2, 0), ("dual", 128, 64, 1, 2, 0), ("dual", 1024, 512, 1, 29, 0),
    ("dual", 128, 512, 1, 15, 0), ("dual", 64, 16, 1, 0, 16), ("dual", 32, 16, 1, 0, 8),
    ("dual", 32, 128, 1, 0, 64), ("dual", 64, 64, 1, 2, 0), ("dual", 256, 128, 1, 4, 0),
    ("rom", 4096, 32, 1, 8, 0), ("rom", 636, 32, 1, 2, 0), ("rom", 8192, 32, 1, 15, 0),
    ("rom", 1945, 256, 1, 29, 0),
]  # fmt: skip


@pytest.mark.parametrize("case", YOSYS, ids=str)
def test_a_memory_takes_the_blocks_that_yosys_takes(case):
    kind, words, bits, lanes, blocks, distributed = case
    found = place(Memory("m", 1, words, bits, kind, lanes), ECP5)
    assert found == Placed(blocks=blocks, luts=6 * distributed)


def test_large_roms_differ_from_yosys_by_few_blocks():
    assert place(Memory("weights", 1, 13540, 64, "rom"), ECP5).blocks == 49  # yosys: 50
    assert place(Memory("descriptor", 1, 69632, 32, "rom"), ECP5).blocks == 124  # yosys: 121


def test_instances_count():
    assert place(Memory("m", 3, 5632, 16, "single", 2), ECP5).blocks == 18


def test_memories_of_one_port_lie_in_those_of_ice40():
    device = DEVICES["ice40-up5k"]
    assert place(Memory("m", 1, 16384, 16, "single", 2), device) == Placed(single_blocks=1)
    assert place(Memory("m", 1, 16385, 17, "single"), device) == Placed(single_blocks=4)
    assert place(Memory("m", 1, 256, 32, "dual"), device) == Placed(blocks=2)
    assert place(Memory("m", 1, 16, 4, "dual"), device) == Placed(blocks=1)  # it has no distributed memory


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match="device 'ecp5-12' is not known; allowed: ecp5-25, ecp5-45"):
        find_device("ecp5-12")
