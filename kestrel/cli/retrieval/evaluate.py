"""``kestrel evaluate``: how well descriptors retrieve, by the rules of a benchmark."""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.api.descriptors import (
    DescribeRun,
    check_bits_of,
    check_threshold,
    describe_benchmark,
    learn_quantiser,
)
from kestrel.api.retrieval import evaluate as run_benchmark
from kestrel.api.retrieval import load_benchmark, own_quantiser, quantiser_is_new
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
from kestrel.cli.rules.effects import Absent, Among, Given, When
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.cli.rules.stopping import keeps, parts_of
from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.common.kinds import DESCRIPTORS, PER_QUERY
from kestrel.sw.common.store import Place
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.benchmark.bootstrap import SAMPLES
from kestrel.sw.retrieval.benchmark.evaluate import (
    CODES,
    CUTS,
    Evaluation,
    as_payload,
    check_asymmetric,
    check_codes,
    compare,
    read_per_query,
    write_per_query,
)
from kestrel.sw.retrieval.benchmark.metrics import AVERAGE_PRECISIONS
from kestrel.sw.retrieval.benchmark.protocols import PROTOCOLS
from kestrel.sw.retrieval.describe.descriptor import Descriptors, load_descriptors, save_descriptors
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.maps import parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.shards import remove_shards
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS

RATE = "images/s"

DatasetOption = Annotated[Path, typer.Option(help="Folder of the benchmark.")]
ProtocolOption = Annotated[str, typer.Option(help=f"Its rules: {', '.join(PROTOCOLS)}.")]


@dataclass(frozen=True)
class _Source:
    """Descriptors, how they were made, and the describer that makes more of the same kind, or None."""

    descriptors: Descriptors
    name: str
    backend: str | None
    pooling: str | None
    describer: Describer | None


@declares(
    "dataset protocol descriptors codes average_precision per_query compare_with strict",
    writes={"save": FileOutput(DESCRIPTORS, (".npz",)), "per_query": FileOutput(PER_QUERY)},
    effects={
        "rotations backend size whitening pool_maps crops rois moment across "
        "region_norm border fit resize_filter save parts": Absent("descriptors"),
        "workers": (Absent("descriptors"), Absent("scheduler"), Absent("dask_workers")),
        "worker_memory": SHARED["worker_memory"],
        **{name: (Absent("descriptors"), SHARED[name],
                  When(lambda values: values["save"] is not None or values["parts"] is not None,
                       "without --save or --parts", "with one of them, which parts are kept beside or in"))
           for name in ("scheduler", "dask_workers")},
        **{name: (Absent("descriptors"), condition) for name, condition in options.DESCRIBING.items()},
        "train": Among("codes", "bytes", "bits"),
        "threshold bits asymmetric": Among("codes", "bits"),
        "seed": Given("compare_with"),
    },
    kept=keeps(lambda values: _parts(values["save"], values["parts"]), "the vectors that were finished"),
)
def evaluate(
    dataset: DatasetOption,
    network: Annotated[
        Path | None,
        typer.Argument(
            help="Compressed network (.safetensors, or a name in list); none with --descriptors."
        ),
    ] = None,
    protocol: ProtocolOption = "groups",
    descriptors: Annotated[
        Path | None, typer.Option(help="Descriptor file of the benchmark, instead of a network.")
    ] = None,
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
    codes: Annotated[str, typer.Option(help=f"What is compared: {', '.join(CODES)}.")] = "floats",
    train: Annotated[
        Path | None,
        typer.Option(help="Descriptor file or folder that ranges and thresholds of bytes and bits come from; "
                          "default: the benchmark's own images."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help=f"Of the bits: {' or '.join(THRESHOLDS)}; default: as the descriptors' codes have, "
                     f"else {THRESHOLDS[0]}."),
    ] = None,
    bits: options.BitsOption = None,
    asymmetric: options.AsymmetricOption = False,
    average_precision: Annotated[
        str, typer.Option(help=f"How a query's ranking is measured: {' or '.join(AVERAGE_PRECISIONS)}.")
    ] = "trapezoid",
    save: Annotated[
        Path | None,
        typer.Option(help="Descriptor file to write (.npz); a stopped run continues from parts beside it."),
    ] = None,
    per_query: Annotated[Path | None, typer.Option(help="CSV file to write: values by query.")] = None,
    compare_with: Annotated[
        Path | None, typer.Option("--compare", help="CSV file of another run's values by query.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
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
    """Measure retrieval: mean average precision, recall at 1, 5 and 10.

    Equal scores rank in the order of the database, which is that of the file names.
    """
    _check(network, descriptors, codes, threshold, average_precision)
    check_bits_of(codes, bits)
    check_asymmetric(asymmetric, codes)
    cluster = chosen_cluster(scheduler, dask_workers, worker_memory)
    place = _parts(save, parts)
    other = None if compare_with is None else read_per_query(compare_with)
    benchmark = load_benchmark(dataset, protocol, strict=strict)
    skip, skipped = options.skipper(strict)
    run, show = DescribeRun(skip, workers=workers), partial(progress, rate=RATE)
    start = time.perf_counter()
    if descriptors is not None:
        source = _Source(load_descriptors(descriptors), str(descriptors), None, None, None)
    else:
        assert network is not None, "checked before"
        describer = make_describer(network, DescriptorOptions(
            size=parse_size(size), pooling=pooling, crops=crops, rotations=rotations, whitening=whitening,
            chain=options.chosen_chain(pooling, rois, moment, across, region_norm, border), fit=fit,
            resize_filter=resize_filter, backend=backend, weights=weights,
            backend_options=options.parse_backend_options(backend_set), pool_maps=parse_maps(pool_maps),
        ))  # fmt: skip
        with nullcontext() if save is None else lock_output(save), locked(parts):
            described = replace(run, parts=place, cluster=cluster)
            benchmark, found = describe_benchmark(describer, benchmark, run=described, progress=show)
            if cluster is not None:
                skipped.sort()  # pieces end in any order
            if save is not None:
                save_descriptors(found, save)
            if place is not None:
                remove_shards(place)
        source = _Source(found, "descriptors", backend, pooling, describer)
    mine, quantiser = source.descriptors, None
    if codes != "floats" and train is not None:
        quantiser = learn_quantiser(train, mine.settings, source.name, source.describer,
                                    threshold=threshold or THRESHOLDS[0],
                                    bits=bits, run=replace(run, skip=options.skipper(strict)[0]),
                                    progress=show)
    elif codes != "floats":
        if quantiser_is_new(mine, threshold, bits):
            note("kestrel: no --train: ranges and thresholds come from the benchmark's own images")
        quantiser = own_quantiser(benchmark, mine, threshold, bits)
    result = run_benchmark(benchmark, mine, codes=codes, quantiser=quantiser, asymmetric=asymmetric,
                           average_precision=average_precision, what=source.name, progress=progress)
    if per_query is not None:
        write_per_query(result, per_query)
    payload: dict[str, Any] = {
        **as_payload(result),
        "settings": {
            **asdict(mine.settings), "backend": source.backend, "preset": source.pooling,
            "dimension": mine.vectors.shape[1], "codes": codes,
            "bits": quantiser.bits if codes == "bits" and quantiser else None, "asymmetric": asymmetric,
            "foreign": mine.settings.foreign,
            "quantiser": None if quantiser is None else
            {"low": quantiser.low, "high": quantiser.high, "source": quantiser.source},
            "average_precision": average_precision, "dataset": dataset,
        },
        "skipped": skipped, "per_query": per_query, "seconds": time.perf_counter() - start,
    }  # fmt: skip
    if other is not None:
        differences = compare(result, other, str(compare_with), seed)
        payload["compare"] = {"file": compare_with, **asdict(differences[result.headline])}
        if len(differences) > 1:
            payload["compare"]["splits"] = {name: asdict(found) for name, found in differences.items()}
    emit(payload, lambda console: _show(console, result, payload, skipped), json)


def _parts(save: Path | None, parts: str | None) -> Place | None:
    """Where finished parts are kept; None for nowhere."""
    return parts if save is None else parts_of(save, parts)


def _check(network: Path | None, descriptors: Path | None, codes: str, threshold: str | None,
           average_precision: str) -> None:
    """Raises InputError for options that can be refused before anything is computed."""
    if (network is None) == (descriptors is None):
        raise InputError(f"network {network} and descriptors {descriptors}; allowed: one of a network and "
                         "--descriptors FILE.npz")
    check_codes(codes)
    if threshold is not None:
        check_threshold(threshold)
    if average_precision not in AVERAGE_PRECISIONS:
        raise InputError(f"average precision {average_precision!r}; allowed: {', '.join(AVERAGE_PRECISIONS)}")


def _show(console: Console, result: Evaluation, payload: dict[str, Any], skipped: list[str]) -> None:
    settings = payload["settings"]
    cuts = ", ".join(map(str, CUTS))
    table = Table("split", "queries", "mAP", f"recall at {cuts}", f"found at {cuts}",
                  title=f"{result.protocol}: {result.images} images, "
                        f"{settings['dimension']} {settings['codes']}")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, split in result.splits.items():
        table.add_row(name, str(split.queries), f"{split.map:.4f}",
                      *("  ".join(f"{shares[k]:.3f}" for k in CUTS)
                        for shares in (split.recall, split.found)))
    console.print(table)
    if result.score is not None:
        console.print(f"UKBench score (4 x recall at 4): {result.score:.3f}", highlight=False)
    if "compare" in payload:
        found = payload["compare"]
        console.print(f"mAP - {found['file']}: {found['difference']:+.4f}, 95% interval "
                      f"{found['low']:+.4f} .. {found['high']:+.4f} ({SAMPLES:,} paired bootstrap samples)",
                      highlight=False)
    if skipped:
        console.print(f"skipped: {len(skipped)}", highlight=False)
    if payload["per_query"] is not None:
        console.print(f"written: {payload['per_query']}", highlight=False)
