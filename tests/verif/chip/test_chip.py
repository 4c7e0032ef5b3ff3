"""The top level of the chip: its bench, and chips with faulty ROMs."""

import json

import pytest

from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS, VISIT_WORDS
from kestrel.hw.spec.table import (
    HEADER_FIELDS,
    IDENTITY_FIELDS,
    LAYER_FIELDS,
    RESIDUAL_LAYER_FIELDS,
    SHORTCUT_IDENTITY,
    SHORTCUT_PROJECTION,
    VISIT_FIELDS,
)
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.chip.case import ROM_WORDS, run_chip, write_case
from kestrel.verif.chip.expected import load_outputs
from kestrel.verif.chip.small import CHIPS
from kestrel.verif.chip.variables import CAUSE_VARIABLE, COUNTS_FILE, FAULT_VARIABLE, TURNS_VARIABLE

CASE = "tiny"
TESTS = 14


@pytest.mark.parametrize(
    ("name", "case"), [("nano", "pooled"), ("4x2", "tiny"), ("1x1", "tiny"), ("2x4 residual", "graph")]
)
def test_the_chip(name, case, tmp_path, seed):
    chip = CHIPS[name]
    write_case(chip, case, seed, tmp_path)
    assert len(run_chip(chip, "kestrel.verif.chip.bench", tmp_path, case, seed).ran) == TESTS


def test_disturbances_of_every_kind(tmp_path, seed):
    """A small part of what ``bench/robustness.py`` does."""
    chip = CHIPS["nano"]
    write_case(chip, CASE, seed, tmp_path)
    bench = "kestrel.verif.chip.robustness_bench"
    run_chip(chip, bench, tmp_path, CASE, seed, env={TURNS_VARIABLE: "10"}, visible=ROM_WORDS)
    counts = json.loads((tmp_path / COUNTS_FILE).read_text())
    assert counts["correct frames"] >= 11
    assert counts["errors found"] == 2
    assert counts["flipped bits found"] == 1


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("describes", CASE), ("describes without whitening", CASE), ("describes, 16 rows at once", CASE),
        ("describes three maps", "graph"),
    ],
)  # fmt: skip
def test_a_chip_that_describes(name, case, tmp_path, seed):
    chip = CHIPS[name]
    write_case(chip, case, seed, tmp_path)
    assert len(run_chip(chip, "kestrel.verif.chip.descriptor_bench", tmp_path, case, seed).ran) == 4


@pytest.mark.parametrize("whitened", [True, False], ids=["whitened", "as pooled"])
def test_a_chip_that_can_whiten_with_and_without(whitened, tmp_path, seed):
    """Constants are drawn until they are of the kind wanted: by chance a run may have one kind only."""
    chip = CHIPS["describes"]
    for case_seed in range(seed, seed + 100):
        write_case(chip, CASE, case_seed, tmp_path)
        constants = descriptor_constants(case_seed, load_outputs(tmp_path))
        if (constants.whitening is not None) == whitened:
            break
    else:
        pytest.fail("no such constants in 100 draws")
    bench = "kestrel.verif.chip.descriptor_bench"
    env = {"COCOTB_TEST_FILTER": r"descriptors$"}
    assert len(run_chip(chip, bench, tmp_path, CASE, seed, case_seed=case_seed, env=env).ran) == 1


@pytest.mark.parametrize("startup", [False, True], ids=["on request", "at start-up"])
@pytest.mark.parametrize("rom", ["weights", "table"])
def test_a_flipped_bit_is_found_and_nothing_leaves(rom, startup, tmp_path, seed, rng):
    chip = CHIPS["checks itself" if startup else "nano"]
    write_case(chip, CASE, seed, tmp_path)
    bits = TABLE_WORD_BITS if rom == "table" else chip.engine.rom_word_bits
    words = read_rom(tmp_path / f"{rom}.mem", bits)
    # Of the table's header, the words that say how long it is are looked at elsewhere.
    word = int(rng.integers(RECORD_WORDS if rom == "table" else 0, len(words)))
    words[word] ^= 1 << int(rng.integers(bits))
    write_rom(tmp_path / f"{rom}.mem", bits, words)
    env = {FAULT_VARIABLE: "check", CAUSE_VARIABLE: f"{rom}_crc"}
    run_chip(chip, "kestrel.verif.chip.refusal_bench", tmp_path, CASE, seed, env=env)


@pytest.mark.parametrize(
    ("field", "value", "causes"),
    [
        ("table_words", 0, "table_crc"),
        ("table_words", 513, "table_crc"),
        ("table_words", 0xFFFFFFFF, "table_crc"),
        ("weights_words", 0, "table_crc,weights_crc"),
        ("weights_words", 2049, "table_crc,weights_crc"),
        ("weights_crc", None, "table_crc,weights_crc"),
        ("table_crc", None, "table_crc"),
    ],
)
def test_a_header_that_is_wrong_about_the_roms(field, value, causes, tmp_path, seed):
    chip = CHIPS["nano"]
    write_case(chip, CASE, seed, tmp_path)
    words = read_rom(tmp_path / "table.mem", TABLE_WORD_BITS)
    place = next(f for f in IDENTITY_FIELDS if f.name == field)
    words[place.word] = words[place.word] ^ 1 if value is None else value
    write_rom(tmp_path / "table.mem", TABLE_WORD_BITS, words)
    env = {FAULT_VARIABLE: "check", CAUSE_VARIABLE: causes}
    run_chip(chip, "kestrel.verif.chip.refusal_bench", tmp_path, CASE, seed, env=env)


FIELDS = {"header": HEADER_FIELDS, "layer": LAYER_FIELDS, "visit": VISIT_FIELDS}


@pytest.mark.parametrize(
    ("record", "field", "value", "cause"),
    [
        ("header", "magic", 0x1234, "table_version"),
        ("header", "load_kernels", 7, "table_config"),
        ("header", "visits_base", 17, "table_inconsistent"),
        ("header", "visits_base", 512, "table_inconsistent"),
        ("header", "visits_base", 16, "table_inconsistent"),
        ("layer", "height", 0, "table_inconsistent"),
        ("layer", "width", 0, "table_inconsistent"),
        ("layer", "width", 41, "table_inconsistent"),
        ("layer", "write_end", 1001, "memory_exceeded"),
        ("layer", "write_base", 1 << 20, "memory_exceeded"),
        ("visit", "layer", 0, "table_inconsistent"),
        ("visit", "layer", 200, "table_inconsistent"),
    ],
)
def test_a_table_that_cannot_be(record, field, value, cause, tmp_path, seed):
    chip = CHIPS["nano"]
    made = write_case(chip, CASE, seed, tmp_path)
    words = read_rom(tmp_path / "table.mem", TABLE_WORD_BITS)
    starts = {"header": 0, "layer": RECORD_WORDS, "visit": (1 + len(made.plan.records)) * RECORD_WORDS}
    place = next(f for f in FIELDS[record] if f.name == field)
    at = starts[record] + place.word
    words[at] = words[at] & ~(place.max << place.lsb) | value << place.lsb
    write_rom(tmp_path / "table.mem", TABLE_WORD_BITS, words)
    env = {FAULT_VARIABLE: "frame", CAUSE_VARIABLE: cause}
    run_chip(chip, "kestrel.verif.chip.refusal_bench", tmp_path, CASE, seed, env=env)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"shortcut": 3}, "table_inconsistent"),
        ({"shortcut": SHORTCUT_IDENTITY, "shortcut_width": 0}, "table_inconsistent"),
        ({"shortcut": SHORTCUT_PROJECTION, "shortcut_width": 41}, "table_inconsistent"),
        ({"shortcut": SHORTCUT_IDENTITY, "shortcut_base": 1001}, "memory_exceeded"),
        ({"shortcut": SHORTCUT_PROJECTION, "shortcut_part": 1, "shortcut_end": 601}, "memory_exceeded"),
    ],
)
def test_a_shortcut_that_cannot_be(values, cause, tmp_path, seed):
    """Stated of the image's record, which is read first, so that no picture need be sent."""
    chip = CHIPS["2x4 residual"]
    write_case(chip, "graph", seed, tmp_path)
    words = read_rom(tmp_path / "table.mem", TABLE_WORD_BITS)
    for name, value in ({"shortcut_width": 5} | values).items():
        place = next(f for f in RESIDUAL_LAYER_FIELDS if f.name == name)
        at = RECORD_WORDS + place.word
        words[at] = words[at] & ~(place.max << place.lsb) | value << place.lsb
    write_rom(tmp_path / "table.mem", TABLE_WORD_BITS, words)
    env = {FAULT_VARIABLE: "frame", CAUSE_VARIABLE: cause}
    run_chip(chip, "kestrel.verif.chip.refusal_bench", tmp_path, "graph", seed, env=env)


def test_a_table_without_an_end(tmp_path, seed):
    """Its first visit is an end one word too late: the sequencer reads beyond the last word."""
    chip = CHIPS["nano"]
    made = write_case(chip, CASE, seed, tmp_path)
    words = read_rom(tmp_path / "table.mem", TABLE_WORD_BITS)
    visits = (1 + len(made.plan.records)) * RECORD_WORDS
    words[next(f.word for f in IDENTITY_FIELDS if f.name == "table_words")] = visits + VISIT_WORDS - 1
    write_rom(tmp_path / "table.mem", TABLE_WORD_BITS, words)
    env = {FAULT_VARIABLE: "frame", CAUSE_VARIABLE: "table_inconsistent"}
    run_chip(chip, "kestrel.verif.chip.refusal_bench", tmp_path, CASE, seed, env=env)
