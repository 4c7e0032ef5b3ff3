from dataclasses import replace

import pytest

from kestrel.hw.emit.verilog import TOP
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.status import ERROR_TABLE_CONFIG, ERROR_TABLE_MAGIC
from kestrel.hw.spec.table import HEADER_FIELDS
from kestrel.verif.blocks.support.run import bench_settings, sources_of
from kestrel.verif.build.verilator import build_cocotb, run_cocotb
from kestrel.verif.cases.engine_case import engine_case
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.simulate.frame import rom_arguments, write_files

NANO = NAMED["nano"]
CONFIGS = {
    "nano": NANO,
    "4x2": replace(
        NANO, input_lanes=4, load_kernels=2, activation_bits=6, stream_bytes=3, partial_depth=64,
        max_width=40, feature_words=(1000, 1000), weight_words=2048, table_words=512,
    ),
    "3x6 rows": replace(
        NANO, input_lanes=3, output_lanes=6, load_kernels=3, stream_bytes=2, partial_depth=64, max_width=40,
        feature_words=(1000, 1000), weight_words=2048, table_words=512, row_groups=True,
    ),
    "2x4 residual": replace(
        NANO, output_lanes=4, load_kernels=2, stream_bytes=2, partial_depth=64, max_width=40,
        feature_words=(1000, 1000), weight_words=2048, table_words=512, residual=True,
    ),
}  # fmt: skip


def run(config, module, workdir, seed, env):
    build = build_cocotb(sources_of("engine", config), TOP, optimise=1)
    settings = bench_settings("engine", config) | env
    return run_cocotb(
        build, TOP, module, workdir, settings, seed, arguments=rom_arguments(workdir), timeout=300
    )


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("nano", "pooled"),
        ("nano", "wide"),
        ("4x2", "pooled"),
        ("3x6 rows", "rows"),
        ("2x4 residual", "graph"),
    ],
)
def test_engine_equals_the_reference(name, case, tmp_path, seed):
    config = CONFIGS[name]
    made = engine_case(case, config, seed)
    write_files(made.network, made.plan, made.pictures[0], tmp_path)
    results = run(config, "kestrel.verif.blocks.engine.bench", tmp_path, seed, {"KESTREL_CASE": case})
    assert len(results.ran) == 8


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("magic", ERROR_TABLE_MAGIC),
        ("version", ERROR_TABLE_MAGIC),
        ("input_lanes", ERROR_TABLE_CONFIG),
        ("output_lanes", ERROR_TABLE_CONFIG),
        ("load_kernels", ERROR_TABLE_CONFIG),
        ("activation_bits", ERROR_TABLE_CONFIG),
        ("mask_bits", ERROR_TABLE_CONFIG),
    ],
)
def test_a_table_of_another_engine_is_refused(field, error, tmp_path, seed):
    made = engine_case("pooled", NANO, seed)
    write_files(made.network, made.plan, made.pictures[0], tmp_path)
    place = next(f for f in HEADER_FIELDS if f.name == field)
    words = read_rom(tmp_path / "table.mem", TABLE_WORD_BITS)
    wrong = 1 if field != "mask_bits" else (NANO.mask_bits_max + 1) ^ made.plan.mask_bits
    words[place.word] ^= wrong << place.lsb  # by default one more or one less
    write_rom(tmp_path / "table.mem", TABLE_WORD_BITS, words)
    run(NANO, "kestrel.verif.blocks.engine.refusal_bench", tmp_path, seed, {"KESTREL_ERROR": str(error)})
