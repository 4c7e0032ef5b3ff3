"""``kestrel describe``: from images to descriptors."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kestrel.api.descriptors import (
    CodeOptions,
    DescribeRun,
    check_bits_of,
    check_threshold,
    encode,
    learn_quantiser,
)
from kestrel.api.descriptors import describe as describe_pictures
from kestrel.cli.options import retrieval as options
from kestrel.cli.options.cluster import (
    SHARED,
    DaskWorkersOption,
    PartsOption,
    SchedulerOption,
    WorkerMemoryOption,
    chosen_cluster,
    locked,
)
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Absent, Among, Given
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.cli.rules.stopping import keeps, parts_of
from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.common.kinds import DESCRIPTORS
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.describe.descriptor import CODE_KINDS, save_descriptors
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.maps import parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.shards import has_parts, remove_shards
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS

RATE = "images/s"


@declares(
    "output rotations backend size whitening pool_maps crops rois moment across region_norm border fit "
    "resize_filter codes parts strict",
    writes={"output": FileOutput(DESCRIPTORS, (".npz",))},
    effects=options.DESCRIBING | SHARED | {
        "workers": (Absent("scheduler"), Absent("dask_workers")),
        "train threshold": Given("codes"),
        "bits": Among("codes", "bits"),
    },
    kept=keeps(lambda values: parts_of(values["output"], values["parts"]), "the vectors that were finished"),
)
def describe(
    network: options.NetworkArgument,
    images: options.ImagesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Descriptor file to write (.npz).")],
    pooling: options.PoolingOption = "nip",
    rotations: options.RotationsOption = 1,
    backend: options.BackendOption = "reference",
    weights: options.WeightsOption = None,
    size: options.SizeOption = "224",
    whitening: options.WhiteningOption = None,
    pool_maps: options.PoolMapsOption = None,
    crops: options.CropsOption = None,
    rois: options.RoisOption = None,
    moment: options.MomentOption = None,
    across: options.AcrossOption = None,
    region_norm: options.RegionNormOption = True,
    border: options.BorderOption = 0,
    fit: options.FitOption = "stretch",
    resize_filter: options.FilterOption = "bicubic",
    codes: Annotated[
        str | None, typer.Option(help=f"Also store {' or '.join(CODE_KINDS)}; needs --train.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Descriptor file or folder that ranges and thresholds come from.")
    ] = None,
    threshold: Annotated[str, typer.Option(help=f"Of the bits: {' or '.join(THRESHOLDS)}.")] = "median",
    bits: options.BitsOption = None,
    backend_set: options.BackendSetOption = None,
    workers: options.WorkersOption = None,
    scheduler: SchedulerOption = None,
    dask_workers: DaskWorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    parts: PartsOption = None,
    strict: options.StrictOption = False,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Describe images: one vector each, for an index or for comparison.

    A stopped run continues from the parts that it left in OUTPUT.parts, or in --parts.
    """
    chosen = _codes(codes, train, threshold, bits)
    cluster = chosen_cluster(scheduler, dask_workers, worker_memory)
    describer = make_describer(network, DescriptorOptions(
        size=parse_size(size), pooling=pooling, crops=crops, rotations=rotations, whitening=whitening,
        chain=options.chosen_chain(pooling, rois, moment, across, region_norm, border), fit=fit,
        resize_filter=resize_filter, backend=backend, weights=weights,
        backend_options=options.parse_backend_options(backend_set), pool_maps=parse_maps(pool_maps),
    ))  # fmt: skip
    show = partial(progress, rate=RATE)
    start = time.perf_counter()
    learned = None
    if chosen is not None:
        skip, _ = options.skipper(strict)
        learned = learn_quantiser(chosen.train, describer.settings, str(output), describer,
                                  threshold=chosen.threshold, bits=chosen.bits,
                                  run=DescribeRun(skip, workers=workers), progress=show)
    place = parts_of(output, parts)
    with lock_output(output), locked(parts):
        if has_parts(place):
            note(f"kestrel: continuing from {place}")
        skip, skipped = options.skipper(strict)
        found = describe_pictures(describer, images, run=DescribeRun(skip, place, workers, cluster),
                                  progress=show)
        seconds = time.perf_counter() - start
        if chosen is not None and learned is not None:
            found = encode(found, chosen.kind, learned)
        save_descriptors(found, output)
        remove_shards(place)
    if cluster is not None:
        skipped.sort()  # pieces end in any order
    count, dimension = found.vectors.shape
    payload = {
        "output": output, "count": count, "dimension": dimension, "pooling": pooling,
        "crops": describer.settings.crops, "chain": describer.settings.pooling, "rotations": rotations,
        "backend": backend, "codes": codes,
        "bits": learned.bits if codes == "bits" and learned is not None else None,
        "skipped": skipped, "seconds": seconds,
        "images_per_second": count / seconds,
    }  # fmt: skip

    def human(console: Console) -> None:
        console.print(f"{count} images, {dimension} dimensions, {pooling}, {rotations} rotations, {backend}: "
                      f"{seconds:.1f} s, {count / seconds:.2f} images a second", highlight=False)
        if skipped:
            console.print(f"skipped: {len(skipped)}", highlight=False)
        console.print(f"written: {output}", highlight=False)

    emit(payload, human, json)


def _codes(codes: str | None, train: Path | None, threshold: str, bits: int | None) -> CodeOptions | None:
    check_threshold(threshold)
    check_bits_of(codes, bits)
    if codes is None:
        if train is not None:
            raise InputError(f"train {train}: ranges and thresholds are for codes; allowed: with --codes")
        return None
    if codes not in CODE_KINDS:
        raise InputError(f"codes {codes!r}; allowed: {', '.join(CODE_KINDS)}")
    if train is None:
        raise InputError(f"codes {codes!r} need ranges and thresholds; allowed: --train FILE.npz or FOLDER")
    return CodeOptions(codes, train, threshold, bits)
