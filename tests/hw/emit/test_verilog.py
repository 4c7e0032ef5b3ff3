"""How the Verilog reads: names, comments, processes. The bounds are a little above what there is."""

import re

import pytest

from kestrel.hw.emit.verilog import MEMORIES, TIMESCALE, chip_files, memory_file
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import descriptor_unit

VAGUE = r"(?:sum|difference|product|choice|condition|value|word|element|shifted|negative)(?:_\d+)?"
"""Names that say no more than what was computed."""


@pytest.fixture(scope="module", params=["nano", "edge"])
def texts(request):
    config = NAMED[request.param]
    chip = ChipConfig(config, descriptor_unit(config), startup_check=True)
    wrappers = {memory_file(memory).name for memory in MEMORIES}
    return {file.name: file.text for file in chip_files(chip) if file.name not in wrappers}


def declarations(texts):
    pattern = r"^  (?:wire|reg|(?:input|output) +(?:wire|reg)) +(?:\[[\d:]+\] )?(\S+?)(?: = .*|[,;].*|)$"
    return [name for text in texts.values() for name in re.findall(pattern, text, re.MULTILINE)]


def test_names_are_plain_and_few_are_vague(texts):
    names = declarations(texts)
    assert len(names) > 1000
    assert [name for name in names if not re.fullmatch(r"[A-Za-z_]\w*", name)] == []
    vague = [name for name in names if re.fullmatch(VAGUE, name)]
    assert len(vague) < 0.15 * len(names), f"{len(vague)} of {len(names)}"


def test_every_file_says_what_its_block_does(texts):
    for name, text in texts.items():
        assert text.startswith(TIMESCALE)
        comment = text[len(TIMESCALE) : text.index("\nmodule ")].splitlines()
        assert comment[0] == f"// {name.removesuffix('.v')}"
        assert len(comment[2]) > 10, name
        assert all(line.startswith("//") or not line for line in comment)


def test_no_process_waits_for_its_inputs(texts):
    for text in texts.values():
        assert {line.strip() for line in re.findall("^.*always.*$", text, re.MULTILINE)} <= {
            "always @(posedge clk) begin", "always @(posedge clk)"
        }  # fmt: skip


def test_lines_are_short_and_without_trailing_spaces(texts):
    for name, text in texts.items():
        for line in text.splitlines():
            assert len(line) <= 120, f"{name}: {line}"
            assert line == line.rstrip(), f"{name}: {line}"


def test_the_name_of_a_configuration_is_not_in_the_text(texts):
    assert not any(re.search(r"name (nano|edge)|'name'", text) for text in texts.values())
