"""The clock at which cycles are told as time, the same for every command."""

from typing import Annotated

import typer

from kestrel.sw.estimate.speed import DEFAULT_CLOCK_MHZ

ClockOption = Annotated[
    float, typer.Option("--clock", metavar="MHZ", help="Clock at which cycles become milliseconds, in MHz.")
]

DEFAULT_CLOCK = DEFAULT_CLOCK_MHZ
