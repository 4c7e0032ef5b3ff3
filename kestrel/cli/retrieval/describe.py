"""``kestrel describe``: images to descriptors."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kestrel.cli.options import retrieval as options
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.retrieval.describe.descriptor import (
    CODE_KINDS,
    check_comparable,
    load_descriptors,
    save_descriptors,
    with_codes,
)
from kestrel.sw.retrieval.describe.extract import Describer
from kestrel.sw.retrieval.describe.shards import remove_shards
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS, Quantiser, fit_quantiser

RATE = "images/s"


def describe(
    network: options.NetworkArgument,
    images: options.ImagesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Descriptor file to write (.npz).")],
    pooling: options.PoolingOption = "nip",
    rotations: options.RotationsOption = 1,
    engine: options.EngineOption = "reference",
    weights: options.WeightsOption = None,
    height: options.HeightOption = 224,
    width: options.WidthOption = 224,
    whitening: options.WhiteningOption = None,
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
    engine_set: options.EngineSetOption = None,
    workers: options.WorkersOption = None,
    strict: options.StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Describe images: one vector each, for an index or for comparison.

    A run that was stopped continues from the parts it left beside the output (OUTPUT.parts).
    """
    check_output(output)
    if output.suffix != ".npz":
        raise InputError(f"output {output}: suffix {output.suffix!r}; allowed: .npz")
    _check_codes(codes, train, threshold)
    options.check_bits_option(bits, codes)
    describer = options.chosen_describer(
        network, engine=engine, weights=weights, height=height, width=width, pooling=pooling, crops=crops,
        rois=rois, moment=moment, across=across, region_norm=region_norm, border=border,
        rotations=rotations, whitening=whitening, fit=fit, resize_filter=resize_filter, engine_set=engine_set,
    )  # fmt: skip
    paths, names, single = options.collect_pictures(images)
    start = time.perf_counter()
    learned: Quantiser | None = None
    if codes is not None:
        assert train is not None, "checked before"
        learned = _quantiser(describer, train, output, threshold, bits, workers, strict)
    skip, skipped = options.skipper(single, strict)
    parts = output.with_name(output.name + ".parts")
    if parts.is_dir():
        note(f"kestrel: continuing from {parts}")
    found = describer.describe(paths, names, progress=partial(progress, rate=RATE), skip=skip, shards=parts,
                               workers=workers)
    seconds = time.perf_counter() - start
    if codes is not None and learned is not None:
        found = with_codes(found, codes, learned)
    save_descriptors(found, output)
    remove_shards(parts)
    count, dimension = found.vectors.shape
    payload = {
        "output": output, "count": count, "dimension": dimension, "pooling": pooling,
        "crops": describer.settings.crops, "chain": describer.settings.pooling, "rotations": rotations,
        "engine": engine, "codes": codes,
        "bits": learned.bits if codes == "bits" and learned is not None else None,
        "skipped": skipped(), "seconds": seconds,
        "images_per_second": count / seconds,
    }  # fmt: skip

    def human(console: Console) -> None:
        console.print(f"{count} images, {dimension} dimensions, {pooling}, {rotations} rotations, {engine}: "
                      f"{seconds:.1f} s, {count / seconds:.2f} images a second", highlight=False)
        if skipped():
            console.print(f"skipped: {len(skipped())}", highlight=False)
        console.print(f"written: {output}", highlight=False)

    emit(payload, human, json)


def _check_codes(codes: str | None, train: Path | None, threshold: str) -> None:
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if codes is None:
        if train is not None:
            raise InputError(f"train {train}: ranges and thresholds are for codes; allowed: with --codes")
        return
    if codes not in CODE_KINDS:
        raise InputError(f"codes {codes!r}; allowed: {', '.join(CODE_KINDS)}")
    if train is None:
        raise InputError(f"codes {codes!r} need ranges and thresholds; allowed: --train FILE.npz or FOLDER")


def _quantiser(
    describer: Describer, train: Path, output: Path, threshold: str, bits: int | None, workers: int | None,
    strict: bool,
) -> Quantiser:
    """Learned from a descriptor file made alike, or from a folder that is described first."""
    if train.is_dir():
        paths, names, single = options.collect_pictures([train])
        skip, _ = options.skipper(single, strict)
        found = describer.describe(paths, names, progress=partial(progress, rate=RATE), skip=skip,
                                   workers=workers)
    else:
        found = load_descriptors(train)
        check_comparable(found.settings, describer.settings, str(train), str(output))
    source = f"{train.name}, {len(found.names)} images, {threshold}"
    return fit_quantiser(found.vectors, threshold, source, bits)
