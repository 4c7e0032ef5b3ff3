"""``kestrel verilog``: the engine's Verilog."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kestrel.api.chip import fit_config, write_verilog
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.options.maps import PoolMapsOption
from kestrel.cli.options.size import SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Among, Given
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.hw.emit.packaging.names import DEFAULT
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.planning.fit import FittedConfig
from kestrel.sw.retrieval.describe.extract import POOLINGS
from kestrel.sw.retrieval.describe.maps import parse_maps


@declares(
    "output config settings top fit prefix source_lines",
    writes={"output": FolderOutput()},
    effects={
        "descriptor startup_check roms": Among("top", Top.CHIP),
        "size": Given("fit"),
        "training pooling whitening": (Given("fit"), Given("descriptor")),
        "pool_maps": (Given("fit"), Given("descriptor"), Given("pooling")),
        "picture": Given("roms"),
    },
)
def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    top: Annotated[Top, typer.Option(help="The engine alone, or the chip round it.")] = Top.ENGINE,
    descriptor: Annotated[bool, typer.Option(help="The chip has a descriptor unit.")] = False,
    startup_check: Annotated[bool, typer.Option(help="The chip checks its ROMs after every reset.")] = False,
    fit: Annotated[
        Path | None,
        typer.Option(metavar="NETWORK", help="Make every memory as large as this network needs it at --size, "
                     "and write the configuration (config.toml)."),
    ] = None,
    size: SizeOption = "224",
    training: Annotated[
        Path | None,
        typer.Option(help="With --fit and --descriptor: descriptors of training photographs (.npz), as for "
                     "`kestrel export --descriptor`."),
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help=f"Instead of --training: {', '.join(POOLINGS)}.")
    ] = None,
    pool_maps: PoolMapsOption = None,
    whitening: Annotated[
        Path | None, typer.Option(help="With --training or --pooling: whitening file of mode after.")
    ] = None,
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
    source_lines: Annotated[
        bool, typer.Option(help="Comments name the lines of Python that declarations come from.")
    ] = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write the engine's Verilog, or the chip's: a file a module, and a file list.

    With the chip come a wrapper with the usual AXI names, a FuseSoC core, constraints, descriptions of the
    registers and scripts for yosys; with --roms the ROM images and a test bench.

    With --fit the memories are as large as the network needs them, and no frame takes longer.
    plan, export and simulate then need the configuration that is written: --config FOLDER/config.toml.
    """
    chosen: EngineConfig | FittedConfig = chosen_config(config, settings)
    if fit is not None:
        if descriptor and training is None and pooling is None:
            raise InputError(f"fit {fit} with --descriptor; allowed: with --training FILE or --pooling NAME, "
                             "on which the size of the descriptor ROM depends")
        chosen = fit_config(fit, chosen, parse_size(size), descriptors=training, pooling=pooling,
                            pool_maps=parse_maps(pool_maps), whitening=whitening, progress=progress)
    made = write_verilog(output, chosen, top=top, descriptor=descriptor, startup_check=startup_check,
                         prefix=prefix, roms=roms, picture=picture, source_lines=source_lines, force=force,
                         progress=progress)
    fitted = chosen if isinstance(chosen, FittedConfig) else None
    payload: dict[str, Any] = {
        "files": made.files,
        "integration": made.integration,
        "file_list": made.file_list,
        "top": made.top,
        "core": made.core,
        "lines": made.lines,
        "config": asdict(made.config),
    }
    if fitted is not None:
        payload |= {"config_file": made.config_file, "settings": fitted.settings}

    def show(console: Console) -> None:
        console.print(
            f"{len(made.files)} files, {made.lines:,} lines of Verilog in {output}, top module {made.top}"
            + (f", FuseSoC core {made.core}" if made.core else ""),
            soft_wrap=True,
        )
        if fitted is not None:
            options = " ".join(f"--set {setting}" for setting in (*(settings or ()), *fitted.settings))
            console.print(f"fitted to {fitted.network} at {fitted.height} x {fitted.width}; for plan, export "
                          f"and simulate: --config {made.config_file}, or", highlight=False, soft_wrap=True)
            console.print(f"--config {config} {options}", highlight=False, soft_wrap=True)

    emit(payload, show, json)
