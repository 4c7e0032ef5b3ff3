"""The option for the size of pictures, the same for every command."""

from typing import Annotated

import typer

METAVAR = "N|HxW"

SizeOption = Annotated[
    str, typer.Option("--size", metavar=METAVAR, help="Size of the image in pixels: a side, or HEIGHTxWIDTH.")
]
