"""Search and its evaluation: indexes, queries, benchmarks and reports."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.api.descriptors import check_bits_of, check_threshold
from kestrel.api.planning import Network
from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import Evaluation, check_codes
from kestrel.sw.retrieval.benchmark.evaluate import evaluate as run_benchmark
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark as read_benchmark
from kestrel.sw.retrieval.describe.descriptor import Descriptors, check_comparable, load_descriptors
from kestrel.sw.retrieval.describe.extract import Describer, Skip
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS, Quantiser, fit_quantiser
from kestrel.sw.retrieval.report.measure import FEATURES, ReportRequest, check_request, make_report
from kestrel.sw.retrieval.report.pages import write_report
from kestrel.sw.retrieval.report.rows import Report
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.neighbours import COUNT_MAX
from kestrel.sw.retrieval.search.query import Result, Truth, describer_like
from kestrel.sw.retrieval.search.query import search as search_index
from kestrel.sw.retrieval.search.structures import CODES, Kind, structure_for


@dataclass(frozen=True)
class IndexOptions:
    """Options of a new index. Raises InputError.

    ``codes`` is "floats", "bytes" or "bits". ``structure`` is "flat" (exact), "hnsw", "ivf" or "ivfpq"; None:
    by the number of descriptors that the index is begun with, flat for few. Ranges,
    thresholds and cells are learned from ``train``, descriptors or a file of them (None: from what is added
    first). ``threshold`` is that of bits, "median" or "mean" (None: as in the descriptors' codes, or else
    "median"). ``bits`` is their number (None: as in the descriptors' codes, or else one for each dimension).
    """

    codes: str = CODES[0]
    structure: str | None = None
    train: Descriptors | str | Path | None = None
    threshold: str | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        self.kind_for(0)
        if self.threshold is not None and self.codes != "bits":
            raise InputError(f"--threshold {self.threshold} of {self.codes}; allowed: with --codes bits")
        if self.threshold is not None:
            check_threshold(self.threshold)
        check_bits_of(self.codes, self.bits)

    def kind_for(self, count: int) -> Kind:
        """Of an index that is begun with ``count`` descriptors."""
        return Kind(self.codes, self.structure or structure_for(self.codes, count))


def build_index(
    descriptors: Descriptors | Sequence[Descriptors], options: IndexOptions | None = None, *,
    names: Sequence[str] | None = None, progress: Progress | None = None,
) -> DescriptorIndex:
    """Builds an index of descriptors, which can be searched (``search``), saved (``save``) and added to
    (``add``).

    ``descriptors`` are one set or several, all made in the same way. ``names`` are those of the sets, for
    errors. Raises InputError.
    """
    sets = [descriptors] if isinstance(descriptors, Descriptors) else list(descriptors)
    names = [f"descriptors {number}" for number in range(len(sets))] if names is None else names
    if not sets:
        raise InputError("no descriptors to begin an index with; allowed: at least one set")
    index = new_index(sets[0], names[0], options, sum(len(found.names) for found in sets))
    add_to_index(index, sets, names, progress=progress)
    return index


def new_index(descriptors: Descriptors, name: str, options: IndexOptions | None = None,
              count: int | None = None) -> DescriptorIndex:
    """An empty index for descriptors like the given ones, which errors call ``name``; ``count``: how many it
    is begun with (None: the given ones). Raises InputError."""
    options = options or IndexOptions()
    training = descriptors
    quantiser: Quantiser | None = None
    if options.train is not None:
        train = options.train
        training, label = (train, "training") if isinstance(train, Descriptors) else (
            load_descriptors(train), str(train))
        check_comparable(training.settings, descriptors.settings, label, name)
        name = label
    elif training.codes is not None and options.threshold is None and options.bits in (
            None, training.codes.quantiser.bits):
        quantiser = training.codes.quantiser
    if quantiser is None and len(training.vectors):
        rule = options.threshold or THRESHOLDS[0]
        quantiser = fit_quantiser(training.vectors, rule,
                                  f"{Path(name).name}, {len(training.names)} images, {rule}", options.bits)
    return DescriptorIndex.create(
        options.kind_for(len(descriptors.names) if count is None else count), training, quantiser)


def add_to_index(index: DescriptorIndex, descriptors: Sequence[Descriptors], names: Sequence[str], *,
                 progress: Progress | None = None) -> None:
    """Adds sets of descriptors, which errors call ``names``. Raises InputError for sets that were not made in
    the same way, and for names that are already in the index."""
    for found, name in zip(descriptors[1:], names[1:], strict=True):
        check_comparable(descriptors[0].settings, found.settings, names[0], name)
    with (progress or silent)("indexing", sum(len(found.names) for found in descriptors)) as advance:
        for found, name in zip(descriptors, names, strict=True):
            index.add(found, name, advance)


def query_describer(index: DescriptorIndex, network: Network,
                    options: DescriptorOptions | None = None) -> Describer:
    """A describer that describes queries as the entries of an index were described.

    ``network``, and the whitening, weights and backend in ``options``, must be those with which the index was
    made, of which it knows only the SHA-256. Raises InputError, also if they are others.
    """
    return describer_like(index.settings, network, options)


def search(
    index: DescriptorIndex, queries: Descriptors | np.ndarray, count: int = 10, *,
    names: Sequence[str] | None = None, effort: int | None = None, truth: Truth | None = None,
    asymmetric: bool = False,
) -> list[Result]:
    """Finds the nearest entries for each query.

    ``queries`` are descriptors made like those of the index, or vectors float32 [Q, D]. ``count`` is the
    largest number of matches for each. ``names`` has one name for each query (None: the descriptors' own, or
    numbers). ``effort`` is the number of candidates kept (hnsw) or cells visited (ivf, ivfpq); a larger
    one finds more. ``truth`` marks matches as right and wrong. With ``asymmetric``, queries keep their floats
    in an index of bits. Returns one result for each query, with the best matches first. Raises InputError.
    """
    if not 1 <= count <= COUNT_MAX:
        raise InputError(f"--count {count}; allowed: 1..{COUNT_MAX}")
    if effort is not None and index.kind.structure == "flat":
        raise InputError(f"effort {effort} in a flat index, which is searched whole; allowed: in one "
                         "of structure hnsw, ivf or ivfpq")
    vectors = queries
    if isinstance(queries, Descriptors):
        check_comparable(queries.settings, index.settings, "the query", "the index")
        vectors, names = queries.vectors, queries.names if names is None else names
    assert isinstance(vectors, np.ndarray)
    labels = tuple(map(str, range(len(vectors)))) if names is None else tuple(names)
    return search_index(index, vectors, labels, count, effort, truth, asymmetric)


def load_benchmark(dataset: str | Path, protocol: str = "groups", *, strict: bool = False) -> Benchmark:
    """Loads the benchmark in a folder, whose layout its protocol defines (``kestrel list`` names the
    protocols).

    With ``strict``, extra pictures, missing pictures and contradictions are errors and not warnings
    (InputWarning). Raises InputError.
    """
    return read_benchmark(protocol, Path(dataset), strict=strict)


def load_truth(dataset: str | Path, protocol: str = "groups") -> Truth:
    """Which pictures in a benchmark's folder are right for which query, for ``search``. Raises InputError."""
    return Truth(load_benchmark(dataset, protocol))


def evaluate(
    benchmark: Benchmark | str | Path, descriptors: Descriptors, *, codes: str = "floats",
    quantiser: Quantiser | None = None, asymmetric: bool = False, average_precision: str = "trapezoid",
    what: str = "descriptors", progress: Progress | None = None,
) -> Evaluation:
    """Measures retrieval: mean average precision (``map``), and recall at 1, 5 and 10.

    ``benchmark`` is a benchmark, or the folder of one with the protocol "groups". ``descriptors`` are those
    of all its images and queries. ``codes`` says what is compared: "floats", "bytes" or "bits". ``quantiser``
    is that of the codes (None: the descriptors' own, or else learned from the benchmark's images). With
    ``asymmetric``, queries keep their floats when bits are compared. ``average_precision`` is "trapezoid" or
    "plain". ``what`` names the descriptors in errors. Raises InputError.
    """
    if not isinstance(benchmark, Benchmark):
        benchmark = load_benchmark(benchmark)
    check_codes(codes)
    if codes != "floats" and quantiser is None:
        quantiser = own_quantiser(benchmark, descriptors)
    return run_benchmark(benchmark, descriptors, codes=codes, quantiser=quantiser, asymmetric=asymmetric,
                         average_precision=average_precision, what=what, progress=progress or silent)


def quantiser_is_new(descriptors: Descriptors, threshold: str | None, bits: int | None) -> bool:
    """Whether ``own_quantiser`` learns one, as the descriptors' codes, if any, are not what is wanted."""
    codes = descriptors.codes
    return codes is None or threshold is not None or bits not in (None, codes.quantiser.bits)


def own_quantiser(benchmark: Benchmark, descriptors: Descriptors,
                   threshold: str | None = None, bits: int | None = None) -> Quantiser:
    """The quantiser to use without training photographs: that of the descriptors' codes, or else one learned
    from the benchmark's own images. ``threshold`` is that of the bits (None: as in the codes, or else
    "median"). ``bits`` is the number of bits (None: as in the codes, or else one for each dimension). Raises
    InputError."""
    if descriptors.codes is not None and not quantiser_is_new(descriptors, threshold, bits):
        return descriptors.codes.quantiser
    threshold = threshold or THRESHOLDS[0]
    images = set(benchmark.images)
    own = [row for row, name in enumerate(descriptors.names) if name in images]
    return fit_quantiser(descriptors.vectors[own], threshold,
                         f"the benchmark's {len(own)} images, {threshold}", bits)


def report(
    request: ReportRequest, *, keep_features: bool = False, skip: Skip | None = None,
    progress: Progress | None = None,
) -> tuple[Report, tuple[Path, ...]]:
    """Writes the tables of a benchmark as HTML, Markdown, JSON and plots.

    With ``keep_features``, what the backend computed is kept for another report. ``skip`` is called with
    pictures that cannot be used (None: they are errors). A stopped run continues from its features. A folder
    of another run is refused unless ``request.force`` is set.
    Returns the figures and the files written. Raises InputError.
    """
    check_request(request)
    check_threshold(request.threshold)
    found = make_report(request, progress or silent, skip)
    files = write_report(found, request.output)
    if not keep_features:
        shutil.rmtree(request.output / FEATURES)
    return found, tuple(files)
