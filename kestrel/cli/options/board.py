"""Options of the commands about boards."""

from typing import Annotated

import typer

from kestrel.hw.spec.boards import BOARDS
from kestrel.hw.spec.errors import InputError
from kestrel.sw.board.line import BAUD
from kestrel.sw.retrieval.describe.extract import POOLINGS

DEFAULT_BOARD = "ulx3s"
DEFAULT_SIZE = "128"
DEFAULT_BAUD = BAUD

BoardOption = Annotated[str, typer.Option(help=f"The board: {', '.join(BOARDS)}.")]
BaudOption = Annotated[int, typer.Option(metavar="RATE", help="Bits a second on the serial line.")]
PoolingOption = Annotated[
    str, typer.Option(help=f"Of the descriptors: {', '.join(POOLINGS)}, where it joins no maps.")
]
LanesOption = Annotated[
    str | None,
    typer.Option(
        metavar="INxOUT",
        help="Input and output lanes, such as 4x8. Default: the most that fit, of those known to be routed.",
    ),
]


def parse_lanes(text: str | None) -> tuple[int, int] | None:
    """Both numbers. Raises InputError."""
    if text is None:
        return None
    first, _, second = text.partition("x")
    if not (first.isdigit() and second.isdigit() and int(first) and int(second)):
        raise InputError(f"--lanes {text}; allowed: two numbers above 0, such as 4x8")
    return int(first), int(second)
