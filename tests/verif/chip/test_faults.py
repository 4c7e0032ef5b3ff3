"""The benches of the chip find faults: one chip holds them all, and an argument activates one of them."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.table import HEADER_FIELDS
from kestrel.verif.build.rtl import checked_chip_sources
from kestrel.verif.build.verilator import BenchFailed
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.chip.case import run_chip, write_case
from kestrel.verif.chip.small import SMALL
from kestrel.verif.chip.variables import CAUSE_VARIABLE, FAULT_VARIABLE

CHIP = ChipConfig(SMALL, DescriptorConfig(8, 256))
CASE = "tiny"
SEED = 1
ARGUMENT = PREFIX + "fault"
DECLARATION = f"""
  integer {ARGUMENT};
  initial
    if (!$value$plusargs("{ARGUMENT}=%d", {ARGUMENT}))
      {ARGUMENT} = 0;
"""
ON = "@"
"""Stands in a replacement for: this fault is awake."""


@dataclass(frozen=True)
class Fault:
    """``pattern`` in a module's Verilog, once, becomes ``replacement``; the test ``test`` of the bench must
    then fail with ``message``. ``rom``: what is made of the table or the weights before."""

    module: str
    pattern: str
    replacement: str
    bench: str
    test: str
    message: str
    rom: str = ""


FAULTS = {
    "a read is never answered": Fault(
        "axi_lite",
        r"if \(waiting\[1\]\) begin",
        "if (waiting[1] & ~@) begin",
        "bench", "a_frame", r"reading \w+\[0\]: no answer in \d+ cycles",
    ),
    "VALID of the output waits for READY": Fault(
        "top",
        r"(  kestrel_stream_output \w+ \([^;]*?)\.m_axis_tvalid\(m_axis_tvalid\)",
        r"wire v; assign m_axis_tvalid = v & (@ ? m_axis_tready : 1'h1);\n\1.m_axis_tvalid(v)",
        "bench", "no_combinational_paths", "outputs:",
    ),
    "a beat of the output goes before it is taken": Fault(
        "stream_output", r"= ~m_axis_tvalid \| m_axis_tready;", "= @ | ~m_axis_tvalid | m_axis_tready;",
        "bench", "frames_with_pauses", "AXI: the payload changed",
    ),
    "a write does not wait for its data": Fault(
        "axi_lite", r"(assign write = has_address &) has_data", r"\1 (@ | has_data)",
        "bench", "byte_strobes_and_hammering", "(scratch|image|irq_enable): ",
    ),
    "byte strobes of the image size are not looked at": Fault(
        "register_file", r"\(image_height & (~\{.*\})\);", r"(image_height & (@ ? 16'h0 : \1));",
        "bench", "byte_strobes_and_hammering", "image: ",
    ),
    "a word without a register is answered well": Fault(
        "register_file", r"<= ~was_mapped;", "<= ~@ & ~was_mapped;",
        "bench", "addresses_without_a_register", "reading 0x",
    ),
    "a write that is refused is answered well": Fault(
        "register_file", r"write & \(refused \|", "write & ((~@ & refused) |",
        "bench", "writes_while_busy", "refusal of",
    ),
    "a busy chip takes another mode": Fault(
        "register_file", r"if \(write_mode & ~busy\)", "if (write_mode & (@ | ~busy))",
        "bench", "writes_while_busy", "locked registers",
    ),
    "irq is never lowered": Fault(
        "top", r"irq <= (\|\(irq_status & irq_enable\));", r"irq <= (@ & irq) | \1;",
        "bench", "frames_with_pauses", "the frame ended with",
    ),
    "a frame that is too short has no cause": Fault(
        "control", r"core_error == 4'h1\)", "core_error == (@ ? 4'h2 : 4'h1))",
        "bench", "frames_of_a_wrong_length", "no interrupt",
    ),
    "an abort does not reach the core": Fault(
        "control", r"(assign core_abort =) request_abort", r"\1 (~@ & request_abort)",
        "bench", "aborts", "frames that ended well: 1",
    ),
    "the rest of a picture that was aborted stays": Fault(
        "stream_input", r"= inside_next \| ", r"= (@ ? 1'h0 : inside_next) | ",
        "bench", "aborts", "no packet came out",
    ),
    "an image that waits for an aborted frame stays": Fault(
        "stream_input", r"\(untouched & ", "(~@ & untouched & ",
        "peers_bench", "an_image_that_waits_is_the_aborted_frames", "features of picture 1 are wrong",
    ),
    "a packet that was aborted is not closed": Fault(
        "stream_output", r"unclosed <= inside_next;", "unclosed <= ~@ & inside_next;",
        "bench", "an_aborted_packet_is_closed", "an aborted packet was not closed",
    ),
    "an aborted chip is idle before its last beat is taken": Fault(
        "stream_output", r"\(~unclosed & ~m_axis_tvalid\)", "(~unclosed & (@ | ~m_axis_tvalid))",
        "peers_bench", "an_aborted_chip_is_busy_until_its_last_beat_is_taken", r"busy, closing: \(0, 0\)",
    ),
    "any size of image will do": Fault(
        "control", r"\((\w+ != image_height)\)", r"(~@ & (\1))",
        "bench", "image_sizes", "cause: ",
    ),
    "cycles are not counted": Fault(
        "counters", r"<= count_array \+ 32'h1;", "<= count_array + (@ ? 32'h0 : 32'h1);",
        "bench", "a_frame", "sum: ",
    ),
    "a descriptor goes on from the last one's sums": Fault(
        "descriptor_unit", r"\? fresh : command", "? (~@ & fresh) : command",
        "descriptor_bench", "descriptors", "descriptor of",
    ),
    "the last word of a descriptor stays": Fault(
        "byte_packer", r"= i_tlast \| ", "= (~@ & i_tlast) | ",
        "descriptor_bench", "descriptors", "no packet came out",
    ),
    "CRCs are not compared": Fault(
        "rom_check", r"\((\w+ == identity_weights_crc)\)", r"(@ | (\1))",
        "refusal_bench", "the_self_check_finds_it", "the check found nothing", "weights",
    ),
    "frames run in spite of a bad check": Fault(
        "control", r"(wire unchecked =) check_bad;", r"\1 ~@ & check_bad;",
        "refusal_bench", "the_self_check_finds_it", r"causes \[\]", "weights",
    ),
    "a table that cannot be is not looked at": Fault(
        "table_watch", r"(inconsistent <=) (read [^;]*);", r"\1 @ ? 1'h0 : (\2);",
        "refusal_bench", "a_frame_finds_it", "no interrupt", "table",
    ),
}  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(FAULTS, 1)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Path]:
    """The chip with all faults asleep."""
    folder = tmp_path_factory.mktemp("faults")
    files = []
    for source in checked_chip_sources(CHIP):
        text = source.read_text(encoding="utf-8")
        for name, fault in FAULTS.items():
            if source.stem != PREFIX + fault.module:
                continue
            awake = f"({ARGUMENT} == {NUMBERS[name]})"
            text, found = re.subn(fault.pattern, fault.replacement.replace(ON, awake), text)
            assert found == 1, f"{name}: the place to break has changed"
            if DECLARATION not in text:
                text = re.sub(r"(?s)(\nmodule .*?\);)", lambda match: match[0] + DECLARATION, text, count=1)
        files.append(folder / source.name)
        files[-1].write_text(text, encoding="utf-8")
    return files


def break_rom(fault: Fault, folder: Path) -> dict[str, str]:
    """Breaks the ROM that the fault is about; the environment of its bench."""
    if fault.rom == "weights":
        bits = CHIP.engine.rom_word_bits
        words = read_rom(folder / "weights.mem", bits)
        words[len(words) // 2] ^= 1
        write_rom(folder / "weights.mem", bits, words)
        return {FAULT_VARIABLE: "check", CAUSE_VARIABLE: "weights_crc"}
    if fault.rom == "table":
        words = read_rom(folder / "table.mem", TABLE_WORD_BITS)
        base = next(f for f in HEADER_FIELDS if f.name == "visits_base")
        words[base.word] = words[base.word] & ~(base.max << base.lsb) | 17 << base.lsb
        write_rom(folder / "table.mem", TABLE_WORD_BITS, words)
        return {FAULT_VARIABLE: "frame", CAUSE_VARIABLE: "table_inconsistent"}
    return {}


def run_test(bench: str, test: str, sources: list[Path], folder: Path, env: dict[str, str], number: int):
    return run_chip(
        CHIP, f"kestrel.verif.chip.{bench}", folder, CASE, SEED,
        env={**env, "COCOTB_TEST_FILTER": f"{test}$"}, sources=sources, arguments=[f"+{ARGUMENT}={number}"],
    )  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name, sources, tmp_path):
    fault = FAULTS[name]
    write_case(CHIP, CASE, SEED, tmp_path)
    env = break_rom(fault, tmp_path)
    with pytest.raises(BenchFailed, match=fault.message):
        run_test(fault.bench, fault.test, sources, tmp_path, env, NUMBERS[name])


@pytest.mark.parametrize(("bench", "test"), sorted({(f.bench, f.test) for f in FAULTS.values()}))
def test_without_a_fault_it_passes(bench, test, sources, tmp_path):
    fault = next(f for f in FAULTS.values() if (f.bench, f.test) == (bench, test))
    write_case(CHIP, CASE, SEED, tmp_path)
    env = break_rom(fault, tmp_path)
    assert len(run_test(bench, test, sources, tmp_path, env, 0).ran) == 1
