from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from kestrel.hw.emit.verilog import MEMORIES, TOP, memory_file
from kestrel.hw.spec.configurations import NAMED
from kestrel.verif.build.rtl import engine_sources
from kestrel.verif.build.verilator import BuildError, lint

WAIVERS = Path(str(resources.files("kestrel.verif.build") / "lint.vlt"))
NANO = NAMED["nano"]
CASE = "case (addr[0]) 1'b0:"


@pytest.mark.parametrize(
    "config",
    [
        NANO,
        replace(NANO, input_lanes=2, output_lanes=6, stream_bytes=3),
        replace(NANO, input_lanes=6, output_lanes=2, load_kernels=3, activation_bits=5, stream_bytes=4),
        NAMED["edge"],
        replace(NANO, input_lanes=12, output_lanes=3, load_kernels=3, stream_bytes=4, row_groups=True),
        replace(NANO, input_lanes=1, output_lanes=1),
        replace(NANO, mask_bits_max=3),
        replace(NANO, mask_bits_max=1),
    ],
    ids=["nano", "2x6", "6x2 of 5 bits", "edge", "12x3 with row groups", "1x1", "3 mask bits", "1 mask bit"],
)
def test_the_engine_is_clean(config):
    lint(engine_sources(config), TOP, WAIVERS)


@pytest.mark.parametrize("name", MEMORIES)
def test_a_memory_wrapper_is_clean_without_waivers(tmp_path, name):
    file = memory_file(name)
    path = tmp_path / file.name
    path.write_text(file.text)
    lint([path], path.stem)


@pytest.mark.parametrize(
    ("name", "good", "bad", "rule"),
    [
        ("kestrel_ram_1r1w.v", "output reg  [WIDTH-1:0]     rdata", "output reg  [WIDTH:0] rdata", "WIDTH"),
        ("kestrel_ram_1r1w.v", "input  wire [WIDTH-1:0]     wdata", "input wire [WIDTH:0] wdata", "WIDTH"),
        ("kestrel_ram_1rw.v", "reg [LANES*LANE_BITS-1:0] mem", "reg [LANES*LANE_BITS:0] mem", "WIDTHTRUNC"),
        ("kestrel_ram_1rw.v", "integer lane;", "integer lane; wire idle = en;", "UNUSEDSIGNAL"),
        ("kestrel_rom.v", "rdata <= mem[addr]", "rdata <= mem[addr][WIDTH-2:0]", "WIDTHEXPAND"),
        ("kestrel_rom.v", "rdata <= mem[addr];", f"{CASE} rdata <= mem[addr]; endcase", "CASEINCOMPLETE"),
        ("kestrel_reader.v", "endmodule", "wire floating; assign active = floating; endmodule", "UNDRIVEN"),
        ("kestrel_reader.v", "endmodule", "wire [8:0] wide = addresses[7:0]; endmodule", "WIDTHEXPAND"),
        ("kestrel_sequencer.v", "default: ;\n", "\n", "CASEINCOMPLETE"),
        ("kestrel_reader.v", "endmodule", "wire [3:0] cut = addresses[7:0]; endmodule", "WIDTHTRUNC"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_spite_of_the_waivers(tmp_path, name, good, bad, rule):
    files = []
    for source in engine_sources(NANO):
        text = source.read_text()
        if source.name == name:
            assert good in text
            text = text.replace(good, bad, 1)
        files.append(tmp_path / source.name)
        files[-1].write_text(text)
    with pytest.raises(BuildError, match=rf"{rule}\S*: \S*{name}"):
        lint(files, TOP, WAIVERS)
