"""``kestrel verilog``: the engine's Verilog."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kestrel.api.chip import write_verilog
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.hw.emit.packaging.names import DEFAULT


def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    top: Annotated[Top, typer.Option(help="The engine alone, or the chip round it.")] = Top.ENGINE,
    descriptor: Annotated[bool, typer.Option(help="The chip has a descriptor unit.")] = False,
    startup_check: Annotated[bool, typer.Option(help="The chip checks its ROMs after every reset.")] = False,
    prefix: Annotated[
        str, typer.Option(help="With which the names of all modules and files begin.")
    ] = DEFAULT,
    roms: Annotated[
        Path | None,
        typer.Option(help="With top chip: folder of `kestrel export` for this configuration. Its ROM images "
                     "and a test bench go with the chip."),
    ] = None,
    picture: Annotated[
        str, typer.Option(help="With --roms: image file, or random:SEED, that the test bench sends.")
    ] = "random:1",
    json: JsonOption = False,
) -> None:
    """Write the engine's Verilog, or the chip's: a file a module, and a file list. With the chip a wrapper
    with the usual AXI names, a FuseSoC core, constraints, descriptions of the registers and scripts for
    yosys; with --roms the ROM images and a test bench."""
    made = write_verilog(output, chosen_config(config, settings), top=top, descriptor=descriptor,
                         startup_check=startup_check, prefix=prefix, roms=roms, picture=picture,
                         progress=progress)
    payload = {
        "files": made.files,
        "integration": made.integration,
        "file_list": made.file_list,
        "top": made.top,
        "core": made.core,
        "lines": made.lines,
        "config": asdict(made.config),
    }
    emit(
        payload,
        lambda console: console.print(
            f"{len(made.files)} files, {made.lines:,} lines of Verilog in {output}, top module {made.top}"
            + (f", FuseSoC core {made.core}" if made.core else ""),
            soft_wrap=True,
        ),
        json,
    )
