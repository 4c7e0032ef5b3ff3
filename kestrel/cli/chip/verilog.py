"""``kestrel verilog``: the engine's Verilog."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kestrel.api.chip import write_verilog
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.output import JsonOption, emit, progress


def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    top: Annotated[Top, typer.Option(help="The engine alone, or the chip round it.")] = Top.ENGINE,
    descriptor: Annotated[bool, typer.Option(help="The chip has a descriptor unit.")] = False,
    startup_check: Annotated[bool, typer.Option(help="The chip checks its ROMs after every reset.")] = False,
    source_lines: Annotated[
        bool, typer.Option(help="Comments name the lines of Python that declarations come from.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write the engine's Verilog, or the chip's: a file a module, and a file list. With the chip a wrapper
    with the usual AXI names, a FuseSoC core, clock constraints and a script for yosys."""
    made = write_verilog(output, chosen_config(config, settings), top=top, descriptor=descriptor,
                         startup_check=startup_check, source_lines=source_lines, progress=progress)
    payload = {
        "files": made.files,
        "integration": made.integration,
        "file_list": made.file_list,
        "top": made.top,
        "lines": made.lines,
        "config": asdict(made.config),
    }
    emit(
        payload,
        lambda console: console.print(
            f"{len(made.files)} files, {made.lines:,} lines of Verilog in {output}, top module {made.top}"
        ),
        json,
    )
