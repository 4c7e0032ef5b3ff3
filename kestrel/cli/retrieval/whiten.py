"""``kestrel whiten``: learns a whitening from a folder of photographs."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kestrel.api.descriptors import DescribeRun, fit_whitening
from kestrel.cli.options import retrieval as options
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.sw.common.kinds import WHITENING
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.maps import parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import save_whitening


@declares(
    "output dimension mode limit rotations backend size pool_maps crops rois moment across region_norm "
    "border fit resize_filter workers strict",
    writes={"output": FileOutput(WHITENING, (".safetensors",))},
    effects=options.DESCRIBING,
)
def whiten(
    network: options.NetworkArgument,
    images: options.ImagesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Whitening file to write (.safetensors).")],
    dimension: Annotated[
        int | None, typer.Option(help="Dimensions kept, of each map; default: all in which the vectors vary.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="Where it will be applied: roi (each region) or after (once, the average).")
    ] = "roi",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use so many of the images, evenly spread over the list.")
    ] = None,
    pooling: options.PoolingOption = "nip",
    rotations: options.RotationsOption = 1,
    backend: options.BackendOption = "reference",
    weights: options.WeightsOption = None,
    size: options.SizeOption = "224",
    pool_maps: options.PoolMapsOption = None,
    crops: options.CropsOption = None,
    rois: options.RoisOption = None,
    moment: options.MomentOption = None,
    across: options.AcrossOption = None,
    region_norm: options.RegionNormOption = True,
    border: options.BorderOption = 0,
    fit: options.FitOption = "stretch",
    resize_filter: options.FilterOption = "bicubic",
    backend_set: options.BackendSetOption = None,
    workers: options.WorkersOption = None,
    strict: options.StrictOption = False,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Learn a PCA whitening from photographs, for descriptors of the same settings.

    It is trained on the vectors of the regions, not of whole pictures, in either mode.
    """
    describer = make_describer(network, DescriptorOptions(
        size=parse_size(size), pooling=pooling, crops=crops, rotations=rotations, fit=fit,
        chain=options.chosen_chain(pooling, rois, moment, across, region_norm, border),
        resize_filter=resize_filter, backend=backend, weights=weights,
        backend_options=options.parse_backend_options(backend_set), pool_maps=parse_maps(pool_maps),
    ))  # fmt: skip
    skip, skipped = options.skipper(strict)
    start = time.perf_counter()
    made = fit_whitening(describer, images, dimension=dimension, mode=mode, limit=limit,
                         run=DescribeRun(skip, workers=workers), progress=partial(progress, rate="images/s"))
    save_whitening(made, output)
    payload = {
        "output": output, "mode": mode, "dimension": made.dimension, "from_dimension": describer.dimension,
        "images": made.pictures, "vectors": made.vectors, "pooling": pooling, "skipped": skipped,
        "sha256": made.digest, "seconds": time.perf_counter() - start,
    }  # fmt: skip

    def human(console: Console) -> None:
        console.print(f"{made.vectors} vectors of {made.pictures} images: {describer.dimension} -> "
                      f"{made.dimension} dimensions, {mode}", highlight=False)
        console.print(f"written: {output}", highlight=False)

    emit(payload, human, json)
