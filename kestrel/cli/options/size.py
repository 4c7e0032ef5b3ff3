"""The options for the size of pictures and for how many make a frame, the same for every command."""

from typing import Annotated

import typer

METAVAR = "N|HxW"

SizeOption = Annotated[
    str, typer.Option("--size", metavar=METAVAR, help="Size of the image in pixels: a side, or HEIGHTxWIDTH.")
]

BatchOption = Annotated[
    int,
    typer.Option("--batch", min=1, help="Pictures that run in one frame; more than 1 with --set batch=true."),
]
