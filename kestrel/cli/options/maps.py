"""The option that names the maps of a frame, the same for every command."""

from typing import Annotated

import typer

PoolMapsOption = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Layers or blocks whose maps are pooled and joined: "
                 "layer3.0,layer4.0. Default: the last."),
]
