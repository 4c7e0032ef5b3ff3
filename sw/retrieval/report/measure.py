"""The published tables of RNIP, measured for one's own network and data.

Table 1 compares NIP with RNIP of 5, 9 and 14 crops, as floats, bytes and bits. Table 2 compares the float
network on the large picture with NIP and the integer network on a small input with RNIP. Both are made from
the same features: the backend computes each crop once (``kestrel.sw.retrieval.report.crop_store``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output_directory, claim_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.common.provenance import provenance_now
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.compress.report import weight_count
from kestrel.sw.model.compressed import CompressedNetwork, content_digest, load_network
from kestrel.sw.model.digest import network_digest
from kestrel.sw.pictures.listing import find_pictures, spread
from kestrel.sw.retrieval.benchmark.bootstrap import mean_interval
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import CODES, Evaluation, evaluate
from kestrel.sw.retrieval.describe.crops import PRESETS
from kestrel.sw.retrieval.describe.descriptor import Descriptors
from kestrel.sw.retrieval.describe.extract import POOLINGS as ALL_POOLINGS
from kestrel.sw.retrieval.describe.extract import Skip, find_pooling, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import MODES, Scatter, Whitening, load_whitening, save_whitening
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser
from kestrel.sw.retrieval.report.crop_store import CropStore, Picture
from kestrel.sw.retrieval.report.pages import PAGES
from kestrel.sw.retrieval.report.rows import PLAIN, Report, Row, RowKey, comparisons, query_values

POOLINGS = ("nip", "rnip5x", "rnip9x", "rnip14x")
LARGE = (480, 640)
"""Height and width of the large picture in table 2; upright pictures are turned, and proportions are kept."""

TRAINING_PICTURES = 240
FEATURES = "features"
"""The folder inside the output that keeps the crops' vectors until the report is written."""

FLOAT_BYTES = 4


@dataclass(frozen=True)
class ReportRequest:
    """``weights`` are those of the float network; None means no float rows. ``train`` holds photographs for
    whitening and thresholds, of which ``training_pictures`` are taken, evenly spread; None means no
    whitening, and thresholds from the benchmark's own images. ``seed`` is that of the bootstrap. With
    ``force``, what another run has left in ``output`` is replaced, but for its features. ``command`` is the
    command line, for the page ("": there was none)."""

    network: Path
    benchmark: Benchmark
    output: Path
    weights: str | None = None
    train: Path | None = None
    training_pictures: int = TRAINING_PICTURES
    poolings: tuple[str, ...] = POOLINGS
    height: int = 224
    width: int = 224
    rotations: int = 1
    whitening_mode: str = "after"
    whitening_dimension: int | None = None
    threshold: str = "median"
    seed: int = 0
    force: bool = False
    command: str = ""


@dataclass(frozen=True)
class Setup:
    """One backend on one input size. ``fit`` is that of kestrel.sw.retrieval.describe.crops. ``poolings`` are
    those with the same ``chain``, whose crops can be shared."""

    backend: str
    arithmetic: str
    height: int
    width: int
    fit: str
    chain: NipSettings
    poolings: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.arithmetic}-{self.height}x{self.width}"


def check_request(request: ReportRequest) -> None:
    """Raises InputError for values with which no report can be made."""
    for pooling in request.poolings:
        find_pooling(pooling)
    if not request.poolings:
        raise InputError(f"poolings: none; allowed: {', '.join(ALL_POOLINGS)}")
    if request.whitening_mode not in MODES:
        raise InputError(f"whitening mode {request.whitening_mode!r}; allowed: {', '.join(MODES)}")


def setups(request: ReportRequest) -> tuple[Setup, ...]:
    """Integer and float network on the small input, and the float network also on the large one."""
    chains = {find_pooling(pooling)[1]: None for pooling in request.poolings}
    small = [
        (request.height, request.width, "stretch", chain,
         tuple(pooling for pooling in request.poolings if find_pooling(pooling)[1] == chain))
        for chain in chains
    ]  # fmt: skip
    found = [Setup("reference", "integer", *values) for values in small]
    if request.weights is not None:
        found += [Setup("float", "float", *values) for values in small]
        found.append(Setup("float", "float", *LARGE, "keep", find_pooling("nip")[1], ("nip",)))
    return tuple(found)


def crop_specification(pooling: str) -> str:
    """The terms of a pooling's crop specification."""
    crops, _ = find_pooling(pooling)
    return PRESETS.get(crops, crops)


def make_report(request: ReportRequest, progress: Progress = silent, skip: Skip | None = None) -> Report:
    """Makes the whole report. Makes the output folder if it is missing, and writes the whitenings and
    ``FEATURES`` into it. Raises InputError."""
    check_request(request)
    network = load_network(request.network)
    origin = _origin(request, network)
    check_output_directory(request.output, origin, force=request.force)
    training = _training(request)
    results: dict[RowKey, tuple[Row, Evaluation]] = {}
    used, source = 0, ""
    # All runs are made first, so that unusable settings are reported before the long computation.
    runs = [_Run(request, network, setup, training) for setup in setups(request)]
    whitenings = [run.whitening_file(pooling) for run in runs for pooling in run.setup.poolings]
    claim_directory(request.output, origin, (*PAGES, *whitenings, FEATURES), force=request.force,
                    kept=(FEATURES,))
    for run in runs:
        run.fill(progress, skip)
        used = len(run.training)
        for row, evaluation in run.rows():
            results[row.key] = (row, evaluation)
        source = run.source
    first = next(iter(results.values()))[1]
    return Report(
        network=network.name, dataset=request.benchmark.folder.resolve().name,
        provenance=provenance_now(str(request.network), network_digest(network),
                                  str(request.benchmark.folder), request.command),
        activation_bits=network.activation_bits,
        weight_bytes=-(-network.weight_bits // 8),
        float_bytes=FLOAT_BYTES * sum(map(weight_count, network.layers)),
        protocol=request.benchmark.protocol, split=request.benchmark.headline, images=first.images,
        queries=first.queries, training_pictures=used, quantiser_source=source, poolings=request.poolings,
        rotations=request.rotations, rows=tuple(row for row, _ in results.values()),
        comparisons=tuple(comparisons(results, LARGE, request.seed)), large=LARGE,
    )  # fmt: skip


def _origin(request: ReportRequest, network: CompressedNetwork) -> Origin:
    """Of the output folder: everything that decides a figure."""
    weights = request.weights
    return Origin("a report", {
        "network": network.name, "network file": content_digest(network),
        "weights": weights and (str(Path(weights).resolve()) if Path(weights).exists() else weights),
        "dataset": str(request.benchmark.folder.resolve()), "protocol": request.benchmark.protocol,
        "train": request.train and str(request.train.resolve()), "train images": request.training_pictures,
        "poolings": request.poolings, "height": request.height, "width": request.width,
        "rotations": request.rotations, "whitening mode": request.whitening_mode,
        "whitening dimension": request.whitening_dimension, "threshold": request.threshold,
        "seed": request.seed,
    })  # fmt: skip


def _training(request: ReportRequest) -> list[Picture]:
    if request.train is None:
        return []
    chosen = spread(find_pictures(request.train).names, request.training_pictures)
    return [Picture(f"{request.train.name}/{name}", request.train / name) for name in chosen]


class _Run:
    """One setup: its features, whitenings, descriptors and rankings."""

    def __init__(self, request: ReportRequest, network: CompressedNetwork, setup: Setup,
                 training: Sequence[Picture]) -> None:
        self.request = request
        self.setup = setup
        self.training = list(training)
        self.source = ""
        self.benchmark = benchmark = request.benchmark
        self.pictures = [Picture(name, benchmark.folder / name) for name in benchmark.pictures]
        self.pictures += [Picture(q.key, benchmark.folder / q.image, q.box) for q in benchmark.boxed]
        union = ",".join(crop_specification(pooling) for pooling in setup.poolings)
        describer = make_describer(network, DescriptorOptions(
            size=(setup.height, setup.width), chain=setup.chain, crops=union, rotations=request.rotations,
            fit=setup.fit, backend=setup.backend,
            weights=request.weights if setup.backend == "float" else None))
        self.store = CropStore(request.output / FEATURES, describer)

    def fill(self, progress: Progress, skip: Skip | None) -> None:
        what = f"{self.setup.arithmetic} {self.setup.height}x{self.setup.width}"
        self.store.fill(self.training, f"{what}: training set", progress, skip)
        self.store.fill(self.pictures, f"{what}: {self.request.benchmark.protocol}", progress, skip)
        self.training = [picture for picture in self.training if self.store.has(picture)]
        missing = {picture.name for picture in self.pictures if not self.store.has(picture)}
        self.benchmark = self.benchmark.without(missing)
        self.pictures = [picture for picture in self.pictures if picture.name not in missing]
        if self.request.train is not None and not self.training:
            raise InputError(f"train {self.request.train}: no readable picture; allowed: at least one")

    def whitening_file(self, pooling: str) -> str:
        """Name in the output folder."""
        return f"whitening-{self.setup.name}-{pooling}.safetensors"

    def rows(self) -> Iterator[tuple[Row, Evaluation]]:
        """All rows of the setup, one pooling after the other."""
        for pooling in self.setup.poolings:
            crops = crop_specification(pooling)
            whitenings: list[Whitening | None] = [None]
            if self.training:
                whitenings.append(self._whiten(pooling, crops))
            found, count = self._describe(self.pictures, crops, whitenings)
            trained, _ = self._describe(self.training, crops, whitenings)
            for number, whitening in enumerate(whitenings):
                settings = self.store.settings(crops, whitening)
                names = tuple(picture.name for picture in self.pictures)
                descriptors = Descriptors(settings, names, found[number])
                if self.training:
                    learned, self.source = trained[number], f"{len(self.training)} training images"
                else:
                    known = {name: row for row, name in enumerate(names)}
                    learned = found[number][[known[name] for name in self.benchmark.images]]
                    self.source = "the benchmark's own images"
                quantiser = fit_quantiser(learned, self.request.threshold, self.source)
                mode = PLAIN if whitening is None else whitening.mode
                for codes in CODES:
                    result = evaluate(self.benchmark, descriptors, codes=codes, quantiser=quantiser)
                    dimension = found[number].shape[1]
                    size = {"floats": FLOAT_BYTES * dimension, "bytes": dimension, "bits": -(-dimension // 8)}
                    yield Row(
                        self.setup.arithmetic, self.setup.height, self.setup.width, pooling, count, mode,
                        codes, dimension, size[codes], result.map,
                        *mean_interval(query_values(result), self.request.seed),
                        result.splits[result.headline].recall,
                    ), result  # fmt: skip

    def _whiten(self, pooling: str, crops: str) -> Whitening:
        """Trains a whitening on the regions' vectors of the training pictures' crops, and saves it in the
        output folder."""
        scatter = Scatter(self.store.describer.dimension)
        for picture in self.training:
            turns = self.store.vectors(picture, [crops])[crops].rotations
            scatter.add(np.concatenate([view for turn in turns for view in turn]))
        made = scatter.fit(self.request.whitening_dimension, self.request.whitening_mode,
                           self.store.settings(crops, None))
        path = self.request.output / self.whitening_file(pooling)
        save_whitening(made, path)
        return load_whitening(path)

    def _describe(self, pictures: Sequence[Picture], crops: str,
                  whitenings: Sequence[Whitening | None]) -> tuple[list[np.ndarray], float]:
        """For each whitening the descriptors [N, D], and the mean number of crops."""
        vectors: list[list[np.ndarray]] = [[] for _ in whitenings]
        counts: list[int] = []
        for picture in pictures:
            found = self.store.vectors(picture, [crops])[crops]
            counts.append(found.crops)
            for number, whitening in enumerate(whitenings):
                vectors[number].append(self.store.descriptor(found, whitening))
        stacked = [np.stack(rows) if rows else np.zeros((0, 0)) for rows in vectors]
        return stacked, float(np.mean(counts or [0]))
