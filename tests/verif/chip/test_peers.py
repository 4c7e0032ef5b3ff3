"""The chip among masters and slaves that are slow or particular, and beside a chip of another clock."""

import re

from kestrel.hw.emit.verilog import CHIP_TOP
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.verif.build.rtl import checked_chip_sources
from kestrel.verif.chip.case import run_chip, write_case
from kestrel.verif.chip.small import SMALL

CHIP = ChipConfig(SMALL)
CASE = "tiny"
TESTS = 7 + 9 + 2 + 6


def test_slow_and_particular_peers(tmp_path, seed):
    write_case(CHIP, CASE, seed, tmp_path)
    assert len(run_chip(CHIP, "kestrel.verif.chip.peers_bench", tmp_path, CASE, seed).ran) == TESTS


def two_chips(top):
    """Verilog of a module with two instances of the module ``top``, its text given, the ports of each with a
    prefix."""
    port = r"^  (input|output) +(?:wire|reg) +(\[\d+:0\] )?(\w+),?$"
    ports = re.findall(port, top, re.MULTILINE)
    assert ports
    declared = [f"  {way} {bits}{one}_{name}" for one in "ab" for way, bits, name in ports]
    tied = {one: ", ".join(f".{name}({one}_{name})" for _, _, name in ports) for one in "ab"}
    instances = [f"{CHIP_TOP} {one} ({names});" for one, names in tied.items()]
    return "\n".join(["module two_chips (", ",\n".join(declared), ");", *instances, "endmodule", ""])


def test_two_chips_of_different_clocks(tmp_path, seed):
    write_case(CHIP, CASE, seed, tmp_path)
    sources = checked_chip_sources(CHIP)
    text = next(source for source in sources if source.stem == CHIP_TOP).read_text(encoding="utf-8")
    (tmp_path / "two_chips.v").write_text(two_chips(text), encoding="utf-8")
    sources.append(tmp_path / "two_chips.v")
    bench = "kestrel.verif.chip.two_clocks_bench"
    results = run_chip(CHIP, bench, tmp_path, CASE, seed, sources=sources, top="two_chips")
    assert len(results.ran) == 2
