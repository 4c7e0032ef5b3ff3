"""``kestrel verilog``: the engine's Verilog."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hw.verilog import TOP, engine_files
from sw.cli.output import JsonOption, emit, progress
from sw.files import atomic_directory, check_output_directory
from verif.cli.config_options import ConfigOption, SetOption, chosen_config

FILE_LIST = "files.f"


def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Write the engine's Verilog: a file a module, and a file list."""
    chosen = chosen_config(config, settings)
    check_output_directory(output)
    with progress("generating Verilog", None):
        files = engine_files(chosen)
    with atomic_directory(output) as folder:
        for file in files:
            (folder / file.name).write_text(file.text, encoding="utf-8")
        (folder / FILE_LIST).write_text("".join(f"{file.name}\n" for file in files), encoding="utf-8")
    names = [output / file.name for file in files]
    payload = {
        "files": names,
        "file_list": output / FILE_LIST,
        "top": TOP,
        "lines": sum(file.text.count("\n") for file in files),
        "config": asdict(chosen),
    }
    emit(
        payload,
        lambda console: console.print(
            f"{len(files)} files, {payload['lines']:,} lines of Verilog in {output}, top module {TOP}"
        ),
        json,
    )
