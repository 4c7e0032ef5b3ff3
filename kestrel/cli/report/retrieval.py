"""``kestrel report retrieval``: tables and pages of a benchmark."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from kestrel.api.retrieval import load_benchmark
from kestrel.api.retrieval import report as write_tables
from kestrel.cli.options import retrieval as options
from kestrel.cli.output import JsonOption, command_line, emit, note, progress
from kestrel.cli.retrieval.evaluate import RATE, DatasetOption, ProtocolOption
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Given
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.cli.rules.stopping import keeps
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS
from kestrel.sw.retrieval.report.measure import FEATURES, POOLINGS, TRAINING_PICTURES, ReportRequest
from kestrel.sw.retrieval.report.tables import as_payload, comparison_table, first_tables, second_table


@declares(
    "dataset network output weights protocol train poolings size rotations threshold seed "
    "keep_features strict",
    writes={"output": FolderOutput()},
    effects={
        "train_images whitening_mode whitening_dimension": Given("train"),
    },
    kept=keeps(lambda values: values["output"] / "features", "what was computed"),
)
def retrieval(
    dataset: DatasetOption,
    network: Annotated[Path, typer.Option(help="Compressed network (.safetensors, or a name in list).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")],
    weights: Annotated[
        str | None, typer.Option(help="Float weights; without them the integer network stands alone.")
    ] = None,
    protocol: ProtocolOption = "groups",
    train: Annotated[
        Path | None, typer.Option(help="Folder of photographs for whitening, ranges and thresholds.")
    ] = None,
    train_images: Annotated[
        int, typer.Option(min=1, help="How many of them, evenly spread.")
    ] = TRAINING_PICTURES,
    poolings: Annotated[str, typer.Option(
        show_default=False, help=f"Columns of table 1; default: {', '.join(POOLINGS)}."
    )] = ",".join(POOLINGS),
    size: options.SizeOption = "224",
    rotations: options.RotationsOption = 1,
    whitening_mode: Annotated[
        str, typer.Option(help="Whitening: after (once, the average) or roi (each region).")
    ] = "after",
    whitening_dimension: Annotated[
        int | None, typer.Option(min=1, help="Dimensions kept; default: as many as there are.")
    ] = None,
    threshold: Annotated[str, typer.Option(help=f"Of the bits: {' or '.join(THRESHOLDS)}.")] = "median",
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    keep_features: Annotated[
        bool, typer.Option("--keep-features", help="Keep what the engine computed, for another report.")
    ] = False,
    strict: options.StrictOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write the tables of a benchmark as HTML, Markdown, JSON and plots.

    They compare NIP with RNIP, floats with bytes and bits, and the integer with the float
    network, with bootstrap intervals. A stopped run continues from OUTPUT/features.
    """
    height, width = parse_size(size)
    request = ReportRequest(
        network, load_benchmark(dataset, protocol, strict=strict), output, weights, train, train_images,
        tuple(poolings.split(",")), height, width, rotations, whitening_mode, whitening_dimension, threshold,
        seed, force, command_line(),
    )  # fmt: skip
    if (output / FEATURES).is_dir():
        note(f"kestrel: continuing from {output / FEATURES}")
    skip, skipped = options.skipper(strict)
    start = time.perf_counter()
    found, files = write_tables(request, keep_features=keep_features, skip=skip,
                                progress=partial(progress, rate=RATE))
    payload = {**as_payload(found), "dataset": dataset, "files": files, "skipped": sorted(set(skipped)),
               "seconds": time.perf_counter() - start}

    def human(console: Console) -> None:
        second = second_table(found)
        for table in [*first_tables(found), *([second] if second else []), comparison_table(found)]:
            shown = RichTable(*table.columns, title=table.title)
            for row in table.rows:
                shown.add_row(*row)
            console.print(shown)
        for file in files:
            console.print(f"written: {file}", highlight=False)

    emit(payload, human, json)
