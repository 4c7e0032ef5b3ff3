"""``kestrel board build``: the files that make a bitstream."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.api.boards import build_board
from kestrel.cli.options.board import (
    DEFAULT_BAUD,
    DEFAULT_BOARD,
    DEFAULT_SIZE,
    BaudOption,
    BoardOption,
    LanesOption,
    PoolingOption,
    parse_lanes,
)
from kestrel.cli.options.size import SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.sw.pictures.sizes import parse_size


@declares("output board size pooling lanes baud", writes={"output": FolderOutput()})
def build(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or a name in list).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    board: BoardOption = DEFAULT_BOARD,
    size: SizeOption = DEFAULT_SIZE,
    pooling: PoolingOption = "nip",
    lanes: LanesOption = None,
    baud: BaudOption = DEFAULT_BAUD,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write Verilog, ROM images, pins and a Makefile for a board.

    Lanes and memories are chosen to fit the board's device. `make -C FOLDER bitstream` goes on with yosys,
    nextpnr-ecp5 and ecppack: those on PATH, or those of `pip install 'kestrel-engine[synthesis]'`.
    """
    made = build_board(network, output, board, parse_size(size), pooling=pooling, lanes=parse_lanes(lanes),
                       baud=baud, force=force, progress=progress)
    design = made.design
    clock = design.board.clock
    payload: dict[str, Any] = {
        "board": board, "part": design.board.part, "network": design.network.name,
        "height": design.plan.height, "width": design.plan.width, "pooling": pooling,
        "files": made.files, "top": made.top, "bitstream": f"{made.top}.bit",
        "config": asdict(design.chip.engine), "clock_mhz": clock / 1e6, "baud": baud,
        "cycles": design.cycles, "pictures_per_second": clock / design.cycles,
        "line_pictures_per_second": _by_line(design.plan.height, design.plan.width, baud),
        "resources": [asdict(r) | {"share": r.share} for r in design.use.resources],
    }  # fmt: skip
    emit(payload, lambda console: _show(console, payload, output), json)


def _by_line(height: int, width: int, baud: int) -> float:
    """Pictures that the serial line carries in a second, ten bits a byte, frames and answers left out."""
    return baud / 10 / (3 * height * width)


def _show(console: Console, payload: dict[str, Any], output: Path) -> None:
    config = payload["config"]
    console.print(
        f"{payload['network']} at {payload['height']} x {payload['width']} on {payload['board']}: "
        f"{config['input_lanes']} x {config['output_lanes']} lanes at {payload['clock_mhz']:g} MHz, "
        f"{payload['cycles']:,} cycles a frame", highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(
        f"{payload['pictures_per_second']:.1f} pictures a second by the chip, "
        f"{payload['line_pictures_per_second']:.1f} by the serial line", highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("resource", "estimated", "of", "share")
    for resource in payload["resources"]:
        table.add_row(resource["name"], f"{resource['used']:,}", f"{resource['available']:,}",
                      f"{resource['share']:.0%}")
    console.print(table)
    console.print(f"{len(payload['files'])} files in {output}; make -C {output} bitstream makes "
                  f"{payload['bitstream']}", highlight=False, soft_wrap=True)
