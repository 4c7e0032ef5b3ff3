"""``kestrel board describe``: descriptors from a board at a serial port."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from kestrel.api.boards import describe_on_board
from kestrel.cli.options.board import DEFAULT_BAUD, BaudOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.sw.board.client import PATIENCE_SECONDS


@declares("port baud patience")
def describe(
    images: Annotated[list[str], typer.Argument(help="Image files, or random:SEED for a generated picture.")],
    port: Annotated[str, typer.Option(help="Serial port of the board, such as /dev/ttyUSB0.")],
    baud: BaudOption = DEFAULT_BAUD,
    patience: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.1, help="For which a silent board, or a port that is gone, is "
                                                      "waited for."),
    ] = PATIENCE_SECONDS,
    json: JsonOption = False,
) -> None:
    """Describe photographs with a board.

    The board knows its network, the size of its pictures and how it pools. A line that loses bytes, and a
    plug that is pulled and put back, cost time only.
    """
    made = describe_on_board(images, port, baud=baud, patience=patience, progress=progress)
    payload: dict[str, Any] = {
        "port": port, "board": asdict(made.info), "images": made.images, "cycles": made.cycles,
        "descriptors": [found.hex() for found in made.descriptors],
        "line": asdict(made.counts) | {"lost": made.lost},
    }  # fmt: skip

    def show(console: Console) -> None:
        info = made.info
        console.print(f"{info.network} at {info.height} x {info.width} on {info.board}", highlight=False)
        for name, found in zip(made.images, made.descriptors, strict=True):
            console.print(f"{name}: {found.hex()}", highlight=False, soft_wrap=True)

    emit(payload, show, json)
