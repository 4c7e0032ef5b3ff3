"""``kestrel board simulate``: a board's whole design in Verilator, behind a pseudo-terminal."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kestrel.api.boards import NOISE_MAX, simulate_board
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
from kestrel.sw.pictures.sizes import parse_size

EXIT_MISMATCH = 1


@declares("board size pooling lanes baud noise seed")
def simulate(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or a name in list).")],
    images: Annotated[list[str], typer.Argument(help="Image files, or random:SEED for a generated picture.")],
    board: BoardOption = DEFAULT_BOARD,
    size: SizeOption = DEFAULT_SIZE,
    pooling: PoolingOption = "nip",
    lanes: LanesOption = None,
    baud: BaudOption = DEFAULT_BAUD,
    noise: Annotated[
        float, typer.Option(min=0.0, max=NOISE_MAX, help="Share of bytes on the line that are disturbed.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise and of the power-up state.")] = 1,
    json: JsonOption = False,
) -> None:
    """Simulate a board in Verilator and compare its descriptors with the reference's.

    The design is the bitstream's, but for PLL and pins; the host's software is that of `kestrel board
    describe`, at a pseudo-terminal. Exit code 1 if anything differs.
    """
    proof = simulate_board(network, images, board, parse_size(size), pooling=pooling,
                           lanes=parse_lanes(lanes), baud=baud, noise=noise, seed=seed, progress=progress)
    design = proof.design
    payload: dict[str, Any] = {
        "network": design.network.name, "board": board, "height": design.plan.height,
        "width": design.plan.width, "pooling": pooling, "images": proof.images, "bit_exact": proof.bit_exact,
        "dimensions": len(proof.expected[0]), "descriptors": [found.hex() for found in proof.found],
        "cycles": proof.cycles, "clock_cycles": proof.clock_cycles, "clock_mhz": design.board.clock / 1e6,
        "config": asdict(design.chip.engine), "line": asdict(proof.counts) | {"lost": proof.lost},
        "noise": noise, "build_seconds": proof.build_seconds,
    }  # fmt: skip

    def show(console: Console) -> None:
        verdict = "equal to the reference's" if proof.bit_exact else "NOT equal to the reference's"
        console.print(
            f"{len(proof.found)} descriptors of {payload['dimensions']} bytes, {verdict}; "
            f"{proof.cycles:,} cycles of the chip for the last", highlight=False, soft_wrap=True,
        )  # fmt: skip
        console.print(
            f"line: {proof.counts.requests:,} requests, {proof.counts.answers:,} answers, "
            f"{proof.counts.repeated:,} repetitions, lost {proof.lost} times; "
            f"{proof.clock_cycles:,} clock cycles simulated", highlight=False, soft_wrap=True,
        )  # fmt: skip

    emit(payload, show, json)
    if not proof.bit_exact:
        raise typer.Exit(EXIT_MISMATCH)
