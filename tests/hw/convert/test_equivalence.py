"""Every module of a chip, as Amaranth describes it and as it is written, proven equal by yosys."""

import re
from dataclasses import replace

import pytest
from amaranth.back import rtlil
from amaranth.lib import wiring

from kestrel.hw.chip.top import Top
from kestrel.hw.common.place import Emission, module_name, use_ports_only
from kestrel.hw.convert.clocked import clocked_blocks
from kestrel.hw.convert.component import netlists
from kestrel.hw.convert.names import legal
from kestrel.hw.convert.naming import Naming
from kestrel.hw.convert.rtlil import parse
from kestrel.hw.emit.verilog import chip_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.verif.physical.synthesis import SynthesisError, run_yosys, yosys_available

pytestmark = pytest.mark.skipif(
    not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'"
)

SMALL = replace(
    NAMED["nano"], partial_depth=64, max_width=16, feature_words=(256, 256), weight_words=256, table_words=64
)
CHIP = ChipConfig(SMALL, DescriptorConfig(8, 256), startup_check=True)
RESIDUAL = ChipConfig(replace(SMALL, output_lanes=4, residual=True))
OF_THE_OPTION = (
    "block_input", "core", "kernel_decoder", "pool", "pool_lane", "reader", "sequencer", "table_watch",
    "weight_loader", "window", "writer",
)  # fmt: skip
"""Modules that are others, or there at all, in an engine for residual networks."""


def intermediate_forms(chip: ChipConfig) -> dict[str, str]:
    """Amaranth's text of every module of the chip, by the module's name."""
    found: dict[str, wiring.Component] = {}
    texts: dict[str, str] = {}

    def add(component):
        name = module_name(component)
        known = found.setdefault(name, component)
        if known is not component:
            use_ports_only(component, like=known)
            return
        emission = Emission()
        texts[name] = rtlil.convert(component, name=name, platform=emission, emit_src=False)
        for inner in emission.blocks:
            add(inner)

    add(Top(chip))
    return texts


FORMS = intermediate_forms(CHIP)
RESIDUAL_FORMS = {
    name: text for name, text in intermediate_forms(RESIDUAL).items()
    if name in {f"kestrel_{module}" for module in OF_THE_OPTION}
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("chip"), CHIP, FORMS)


@pytest.fixture(scope="module")
def residual_folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("residual"), RESIDUAL, RESIDUAL_FORMS)


def written(path, chip, forms):
    """The chip's Verilog, and Amaranth's text of its modules, in the folder ``path``."""
    for file in chip_files(chip):
        (path / file.name).write_text(file.text)
    for name, text in forms.items():
        # Ports of instances, whose names in Verilog may differ: a port may not be called output there.
        renamed = re.sub(r"(?m)^( +connect )\\(\w+)(?= )", lambda m: f"{m[1]}\\{legal(m[2])}", text)
        (path / f"{name}.il").write_text(renamed)
    return path


def renames(text: str) -> list[str]:
    """Commands that give registers and instances of Amaranth's module their names in Verilog."""
    (module,) = parse(text)
    (netlist,) = netlists(text)
    naming = Naming(netlist, clocked_blocks(netlist))
    there = {*module.wires, *(cell.name for cell in module.cells)}
    commands = []
    for old, new in {**naming.called, **naming.cells}.items():
        if old in there and old[1:] != new and (old in netlist.registers or old.startswith("\\")):
            if f"\\{new}" in there:
                there.remove(f"\\{new}")
                commands.append(f"rename {new} other_{new}")
            there.remove(old)
            commands.append(f"rename {old} {new}")
    return commands


def prove(name: str, verilog: str, folder, forms: dict[str, str] = FORMS) -> None:
    """Register by register, output by output: every next value is the same function of known values.
    Instances become ports. Raises SynthesisError if that cannot be shown."""
    (folder / "module.v").write_text(verilog)
    boxes = sorted(set(re.findall(r"^  (kestrel_\w+) (?:#|\w)", verilog, re.MULTILINE)))
    cells = "gold/t:kestrel_* gate/t:kestrel_*"
    run_yosys(
        [
            *(f"read_verilog -lib {box}.v" for box in boxes),
            f"read_rtlil {name}.il", f"rename {name} gold", "setattr -mod -unset top gold",
            "cd gold", *renames(forms[name]), "cd ..",
            "read_verilog module.v", f"rename {name} gate",
            "hierarchy", "proc gold gate", "opt_clean gold gate", f"expose -evert {cells}",
            "opt_clean gold gate", "opt_expr gold gate", "memory gold gate",
            "equiv_make gold gate both", "hierarchy -top both", "opt_expr -undriven", "opt_clean",
            "equiv_simple", "equiv_status -assert",
        ],
        folder,
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_module_does_what_amaranth_says(name, folder):
    prove(name, (folder / f"{name}.v").read_text(), folder)


def test_every_module_of_the_option_is_there():
    assert len(RESIDUAL_FORMS) == len(OF_THE_OPTION)


@pytest.mark.parametrize("name", RESIDUAL_FORMS)
def test_a_module_for_residual_networks_does_what_amaranth_says(name, residual_folder):
    text = (residual_folder / f"{name}.v").read_text()
    prove(name, text, residual_folder, RESIDUAL_FORMS)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("kestrel_axi_lite", "has_address & has_data", "has_address | has_data"),
        ("kestrel_kernel_unit", "tap_sum <= ", "tap_sum <= ~"),
        ("kestrel_digit_decoder", "value_of = 3'h5", "value_of = 3'h4"),
        ("kestrel_top", "stream_output_closing | o_tvalid", "stream_output_closing & o_tvalid"),
    ],
)
def test_a_wrong_text_is_not_proven(name, right, wrong, folder):
    text = (folder / f"{name}.v").read_text()
    assert right in text
    with pytest.raises(SynthesisError, match="unproven"):
        prove(name, text.replace(right, wrong, 1), folder)
