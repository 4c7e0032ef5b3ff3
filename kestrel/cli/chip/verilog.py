"""``kestrel verilog``: the engine's Verilog."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.hw.emit.integration import integration_files
from kestrel.hw.emit.verilog import CHIP_TOP, TOP, VerilogFile, chip_files, engine_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_directory, check_output_directory

FILE_LIST = "files.f"


def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    top: Annotated[Top, typer.Option(help="The engine alone, or the chip round it.")] = Top.ENGINE,
    descriptor: Annotated[bool, typer.Option(help="The chip has a descriptor unit.")] = False,
    startup_check: Annotated[bool, typer.Option(help="The chip checks its ROMs after every reset.")] = False,
    json: JsonOption = False,
) -> None:
    """Write the engine's Verilog, or the chip's: a file a module, and a file list. With the chip a wrapper
    with the usual AXI names, a FuseSoC core, clock constraints and a script for yosys."""
    chosen = chosen_config(config, settings)
    for option, given in (("descriptor", descriptor), ("startup-check", startup_check)):
        if given and top is Top.ENGINE:
            raise InputError(f"{option} with top engine; allowed: with top chip")
    check_output_directory(output)
    module = TOP
    others: tuple[VerilogFile, ...] = ()
    with progress("generating Verilog", None):
        if top is Top.CHIP:
            chip = ChipConfig(chosen, descriptor_unit(chosen) if descriptor else None, startup_check)
            files = chip_files(chip)
            others = integration_files(chip, files)
            module = CHIP_TOP
        else:
            files = engine_files(chosen)
    with atomic_directory(output) as folder:
        for file in (*files, *others):
            (folder / file.name).write_text(file.text, encoding="utf-8")
        (folder / FILE_LIST).write_text("".join(f"{file.name}\n" for file in files), encoding="utf-8")
    payload = {
        "files": [output / file.name for file in files],
        "integration": [output / file.name for file in others],
        "file_list": output / FILE_LIST,
        "top": module,
        "lines": sum(file.text.count("\n") for file in files),
        "config": asdict(chosen),
    }
    emit(
        payload,
        lambda console: console.print(
            f"{len(files)} files, {payload['lines']:,} lines of Verilog in {output}, top module {module}"
        ),
        json,
    )
