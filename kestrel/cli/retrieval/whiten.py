"""``kestrel whiten``: learns a whitening from a folder of photographs."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kestrel.cli.options import retrieval as options
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.retrieval.describe.whitening import MODES, load_whitening, save_whitening


def whiten(
    network: options.NetworkArgument,
    images: options.ImagesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Whitening file to write (.safetensors).")],
    dimension: Annotated[
        int | None, typer.Option(help="Dimensions kept; default: all in which the vectors vary.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="Where it will be applied: roi (each region) or after (once, the average).")
    ] = "roi",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use so many of the images, evenly spread over the list.")
    ] = None,
    pooling: options.PoolingOption = "nip",
    rotations: options.RotationsOption = 1,
    engine: options.EngineOption = "reference",
    weights: options.WeightsOption = None,
    height: options.HeightOption = 224,
    width: options.WidthOption = 224,
    crops: options.CropsOption = None,
    rois: options.RoisOption = None,
    moment: options.MomentOption = None,
    across: options.AcrossOption = None,
    region_norm: options.RegionNormOption = True,
    border: options.BorderOption = 0,
    fit: options.FitOption = "stretch",
    resize_filter: options.FilterOption = "bicubic",
    engine_set: options.EngineSetOption = None,
    workers: options.WorkersOption = None,
    strict: options.StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Learn a PCA whitening from photographs, for descriptors of the same settings.

    It is trained on the vectors of the regions, not of whole pictures, in either mode.
    """
    check_output(output)
    if output.suffix != ".safetensors":
        raise InputError(f"output {output}: suffix {output.suffix!r}; allowed: .safetensors")
    if mode not in MODES:
        raise InputError(f"mode {mode!r}; allowed: {', '.join(MODES)}")
    describer = options.chosen_describer(
        network, engine=engine, weights=weights, height=height, width=width, pooling=pooling, crops=crops,
        rois=rois, moment=moment, across=across, region_norm=region_norm, border=border,
        rotations=rotations, whitening=None, fit=fit, resize_filter=resize_filter, engine_set=engine_set,
    )  # fmt: skip
    if dimension is not None and not 1 <= dimension <= describer.dimension:
        raise InputError(f"dimension {dimension}; allowed: 1..{describer.dimension}")
    paths, names, single = options.collect_pictures(images)
    if limit is not None and limit < len(paths):
        chosen = [i * len(paths) // limit for i in range(limit)]
        paths, names = [paths[i] for i in chosen], [names[i] for i in chosen]
    skip, skipped = options.skipper(single, strict)
    start = time.perf_counter()
    made = describer.train_whitening(paths, names, dimension=dimension, mode=mode,
                                     progress=partial(progress, rate="images/s"), skip=skip, workers=workers)
    save_whitening(made, output)
    payload = {
        "output": output, "mode": mode, "dimension": made.dimension, "from_dimension": describer.dimension,
        "images": made.pictures, "vectors": made.vectors, "pooling": pooling, "skipped": skipped(),
        "sha256": load_whitening(output).digest, "seconds": time.perf_counter() - start,
    }  # fmt: skip

    def human(console: Console) -> None:
        console.print(f"{made.vectors} vectors of {made.pictures} images: {describer.dimension} -> "
                      f"{made.dimension} dimensions, {mode}", highlight=False)
        console.print(f"written: {output}", highlight=False)

    emit(payload, human, json)
