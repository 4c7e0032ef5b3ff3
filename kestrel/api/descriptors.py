"""Descriptors of pictures, and the whitening that is learned for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.api.pictures import Pictures, arrays, collect_pictures, in_memory
from kestrel.api.planning import Network
from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.runner import Cluster, open_runner
from kestrel.sw.common.store import Place
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.run import describe_benchmark as describe_all
from kestrel.sw.retrieval.benchmark.run import describe_benchmark_in_pieces, undescribed
from kestrel.sw.retrieval.describe.descriptor import (
    CODE_KINDS,
    Descriptors,
    DescriptorSettings,
    check_comparable,
    load_descriptors,
    with_codes,
)
from kestrel.sw.retrieval.describe.extract import Describer, Skip, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.pieces import describe_in_pieces
from kestrel.sw.retrieval.describe.whitening import MODES, Whitening
from kestrel.sw.retrieval.pooling.bit_rows import check_bits
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS, Quantiser, fit_quantiser

Training = Descriptors | str | Path
"""Descriptors of training photographs, their file, or a folder of photographs."""


@dataclass(frozen=True)
class DescribeRun:
    """How a run over many pictures proceeds.

    ``skip`` is called with the name of a picture in a folder that cannot be used, and the reason (None: it is
    an error). ``parts`` is a folder for finished parts, or a URL of fsspec's, from which a stopped run
    continues. ``workers`` is the number of processes that read pictures (0: none; None: chosen
    automatically). ``cluster`` is where ``describe`` and ``describe_benchmark`` describe files in pieces,
    each process reading its own (None: here, at once). It needs ``parts``, which all its workers share.
    Raises InputError for ``cluster`` without ``parts``.
    """

    skip: Skip | None = None
    parts: Place | None = None
    workers: int | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        if self.cluster is not None and self.parts is None:
            raise InputError("a cluster without parts; allowed: with a place for them, which workers share")

    def check_no_cluster(self, what: str) -> None:
        """Raises InputError where a cluster is given for ``what``, which runs here alone."""
        if self.cluster is not None:
            raise InputError(f"{what} on a cluster; allowed: describe and "
                             "describe_benchmark of files, or without a cluster")


def describe(
    network: Network | Describer, pictures: Pictures, options: DescriptorOptions | None = None, *,
    names: Sequence[str] | None = None, run: DescribeRun | None = None, progress: Progress | None = None,
) -> Descriptors:
    """Describes pictures: one vector each, for an index or for comparison.

    ``network`` is a network, described with ``options`` (None: the default ones), or the describer that
    ``make_describer`` made from both. ``pictures`` are given as in ``Pictures``. ``names`` has one name for
    each picture. By default, files are named by their path relative to the folder if one folder is given and
    by their path otherwise, and pictures in memory by their number. Returns vectors float32 [N, D] of unit
    length, with names and settings. Raises InputError.
    """
    describer = _describer(network, options)
    run, progress = run or DescribeRun(), progress or silent
    if in_memory(pictures):
        run.check_no_cluster("pictures in memory")
        found = arrays(pictures)
        names = _names(names, [str(number) for number in range(len(found))])
        vectors: list[np.ndarray] = []
        with progress("describing", len(found)) as advance:
            for vector in describer.describe_pictures(found):
                vectors.append(vector)
                advance(1)
        return Descriptors(describer.settings, names, np.stack(vectors))
    paths, labels, single = collect_pictures(_files(pictures))
    if run.cluster is not None and run.parts is not None:
        with open_runner(run.cluster) as runner:
            return describe_in_pieces(describer, paths, _names(names, labels), runner, run.parts,
                                      progress=progress, skip=_unless_asked_for(run.skip, single))
    return describer.describe(paths, _names(names, labels), progress=progress,
                              skip=_unless_asked_for(run.skip, single), shards=run.parts, workers=run.workers)


def describe_benchmark(
    network: Network | Describer, benchmark: Benchmark, options: DescriptorOptions | None = None, *,
    run: DescribeRun | None = None, progress: Progress | None = None,
) -> tuple[Benchmark, Descriptors]:
    """Describes a benchmark's pictures, and its queries that are crops of pictures.

    The parameters are those of ``describe``. Returns the benchmark without what was skipped, and the
    descriptors, float32 [N, D]. Raises InputError.
    """
    run, describer, progress = run or DescribeRun(), _describer(network, options), progress or silent
    if run.cluster is not None and run.parts is not None:
        with open_runner(run.cluster) as runner:
            found = describe_benchmark_in_pieces(benchmark, describer, runner, run.parts, progress=progress,
                                                 skip=run.skip)
    else:
        found = describe_all(benchmark, describer, progress=progress, skip=run.skip, shards=run.parts,
                             workers=run.workers)
    return benchmark.without(undescribed(benchmark, found)), found


def fit_whitening(
    network: Network | Describer, pictures: Pictures, options: DescriptorOptions | None = None, *,
    dimension: int | None = None, mode: str = "roi", limit: int | None = None,
    run: DescribeRun | None = None, progress: Progress | None = None,
) -> Whitening:
    """Learns a PCA whitening for descriptors of the same options, from the vectors of all regions.

    The result has ``transform`` (vectors [R, D] -> [R, dimension]). ``DescriptorOptions`` takes it if
    descriptors are to be whitened, and ``save_whitening`` saves it.

    ``network``, ``pictures`` and ``options`` are as for ``describe``, the options without a whitening.
    ``dimension`` is the number of dimensions kept, of each map that is pooled (None: all in which the vectors
    vary). ``mode`` is where it
    will be applied: "roi" (to each region's vector) or "after" (once, to the average; the chip has this one).
    ``limit`` is the largest number of pictures used, spread evenly. Raises InputError.
    """
    describer = _describer(network, options)
    run, progress = run or DescribeRun(), progress or silent
    run.check_no_cluster("a whitening")
    if mode not in MODES:
        raise InputError(f"mode {mode!r}; allowed: {', '.join(MODES)}")
    most = min(describer.dimensions)
    if dimension is not None and not 1 <= dimension <= most:
        raise InputError(f"dimension {dimension}; allowed: 1..{most}")
    if in_memory(pictures):
        chosen = _spread(arrays(pictures), limit)
        return describer.fit_whitening(describer.map_regions_of_pictures(chosen), dimension, mode)
    paths, names, single = collect_pictures(_files(pictures))
    return describer.train_whitening(
        _spread(paths, limit), _spread(names, limit), dimension=dimension, mode=mode, progress=progress,
        skip=_unless_asked_for(run.skip, single), workers=run.workers,
    )


@dataclass(frozen=True)
class CodeOptions:
    """How descriptors are stored in few bits.

    ``kind`` is "bytes" or "bits". Range and thresholds are learned from ``train``. ``threshold`` is that of
    the bits, "median" or "mean". ``bits`` is their number (None: one for each dimension). Raises InputError.
    """

    kind: str
    train: Training
    threshold: str = THRESHOLDS[0]
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in CODE_KINDS:
            raise InputError(f"codes {self.kind!r}; allowed: {', '.join(CODE_KINDS)}")
        check_threshold(self.threshold)
        check_bits_of(self.kind, self.bits)


def check_bits_of(codes: str | None, bits: int | None) -> None:
    """Raises InputError for a number of bits with codes other than bits, or one that is out of range."""
    if bits is not None:
        if codes != "bits":
            raise InputError(f"--bits {bits} with codes {codes}; allowed: with --codes bits")
        check_bits(bits)


def check_threshold(threshold: str) -> None:
    """Raises InputError unless ``threshold`` is one of THRESHOLDS."""
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")


def learn_quantiser(
    train: Training, like: DescriptorSettings, what: str, describer: Describer | None = None, *,
    threshold: str = THRESHOLDS[0], bits: int | None = None, run: DescribeRun | None = None,
    progress: Progress | None = None,
) -> Quantiser:
    """Learns the range of bytes and the thresholds of bits from training photographs.

    Their settings must equal ``like``, which are the settings of what ``what`` names in errors. ``describer``
    is for a folder of photographs; without it, only descriptors are accepted. ``bits`` is the number of bits
    (None: one for each dimension). Raises InputError.
    """
    check_threshold(threshold)
    if isinstance(train, Descriptors):
        found, name = train, "training"
    elif Path(train).is_dir():
        if describer is None:
            raise InputError(f"train {train}: a folder cannot be described without a network; "
                             "allowed with --descriptors: a descriptor file")
        found, name = describe(describer, train, run=run, progress=progress), Path(train).name
    else:
        found, name = load_descriptors(train), Path(train).name
    check_comparable(found.settings, like, str(train) if isinstance(train, str | Path) else name, what)
    return fit_quantiser(found.vectors, threshold, f"{name}, {len(found.names)} images, {threshold}", bits)


def encode(descriptors: Descriptors, kind: str, quantiser: Quantiser) -> Descriptors:
    """The same descriptors with codes in addition to the vectors: ``kind`` "bytes" (uint8 [N, D]) or "bits"
    (uint8 [N, ceil(bits / 8)], with ``bits`` of the quantiser). Raises InputError for another kind."""
    if kind not in CODE_KINDS:
        raise InputError(f"codes {kind!r}; allowed: {', '.join(CODE_KINDS)}")
    return with_codes(descriptors, kind, quantiser)


def _describer(network: Network | Describer, options: DescriptorOptions | None) -> Describer:
    if not isinstance(network, Describer):
        return make_describer(network, options)
    if options is not None:
        raise InputError("options beside a describer, which has its own; allowed: with a network")
    return network


def _files(pictures: Pictures) -> list[str | Path]:
    given = [pictures] if isinstance(pictures, str | Path) else pictures
    return [picture for picture in given if isinstance(picture, str | Path)]


def _names(names: Sequence[str] | None, found: Sequence[str]) -> tuple[str, ...]:
    if names is not None and len(names) != len(found):
        raise InputError(f"{len(names)} names for {len(found)} pictures; allowed: one each")
    return tuple(found if names is None else names)


def _spread(items: Sequence, limit: int | None) -> list:
    """At most ``limit`` of the items, evenly spread."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def _unless_asked_for(skip: Skip | None, single: frozenset[str]) -> Skip | None:
    """A ``skip`` that raises the error of a picture that was asked for by name, instead of skipping it."""
    if skip is None:
        return None

    def skip_others(name: str, error: InputError) -> None:
        if name in single:
            raise error
        skip(name, error)

    return skip_others
