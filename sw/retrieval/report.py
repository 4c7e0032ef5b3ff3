"""The published tables of RNIP for one's own network and data.

Table 1 holds NIP against RNIP with 5, 9 and 14 crops, as floats, bytes and bits; table 2 the float network on
the large picture with NIP against the integer network on a small input with RNIP. Both come from the same
features: the engine computes each crop once (``sw.retrieval.crop_store``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hw.spec import InputError
from sw.compress.calibrate import Progress, silent
from sw.compressed import CompressedNetwork, load_network
from sw.images import list_images
from sw.retrieval.bootstrap import Difference, paired_bootstrap
from sw.retrieval.crop_store import CropStore, Picture
from sw.retrieval.crops import PRESETS
from sw.retrieval.datasets import Benchmark
from sw.retrieval.descriptor import Descriptors
from sw.retrieval.evaluate import CODES, Evaluation, evaluate
from sw.retrieval.extract import Skip, make_describer
from sw.retrieval.quantise import fit_quantiser
from sw.retrieval.whitening import MODES, Scatter, Whitening, load_whitening, save_whitening

POOLINGS = ("nip", "rnip5x", "rnip9x", "rnip14x")
TABLE2_POOLING = "rnip9x"
LARGE = (480, 640)
"""Height and width of table 2's large picture; upright pictures turned, proportions kept."""

TRAINING_PICTURES = 240
FEATURES = "features"
"""Folder of the output that keeps the crops' vectors until the report is written."""

FLOAT_BYTES = 4
PLAIN = ""
"""The mode of no whitening."""


@dataclass(frozen=True)
class ReportRequest:
    """weights: the float network's, None for no float rows; train: photographs for whitening and thresholds
    (None: no whitening, thresholds from the benchmark's own images), of which ``training_pictures`` are
    taken, evenly spread; seed: of the bootstrap."""

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


@dataclass(frozen=True)
class Setup:
    """One engine on one input size. fit: of sw.retrieval.crops."""

    engine: str
    arithmetic: str
    height: int
    width: int
    fit: str
    poolings: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.arithmetic}-{self.height}x{self.width}"


@dataclass(frozen=True)
class Row:
    """One run. crops: of a picture, on average; whitening: its mode, "" for none; descriptor_bytes: of one
    image; recall: at 1, 5, 10."""

    arithmetic: str
    height: int
    width: int
    pooling: str
    crops: float
    whitening: str
    codes: str
    dimension: int
    descriptor_bytes: int
    map: float
    recall: dict[int, float]

    @property
    def key(self) -> tuple[str, int, int, str, str, str]:
        return (self.arithmetic, self.height, self.width, self.pooling, self.whitening, self.codes)


@dataclass(frozen=True)
class Comparison:
    """What ``this`` run's mAP gains over the ``other``'s. about: which question it answers."""

    about: str
    this: Row
    other: Row
    gain: Difference


@dataclass(frozen=True)
class Report:
    """Everything that the tables are written from."""

    network: str
    activation_bits: int
    weight_bytes: int
    float_bytes: int
    protocol: str
    split: str
    images: int
    queries: int
    training_pictures: int
    quantiser_source: str
    poolings: tuple[str, ...]
    rotations: int
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]

    def row(
        self, arithmetic: str, size: tuple[int, int], pooling: str, whitening: str, codes: str
    ) -> Row | None:
        key = (arithmetic, *size, pooling, whitening, codes)
        return next((row for row in self.rows if row.key == key), None)

    @property
    def whitenings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.whitening for row in self.rows))

    @property
    def size(self) -> tuple[int, int]:
        """The integer network's input."""
        return next((row.height, row.width) for row in self.rows if row.arithmetic == "integer")


def check_request(request: ReportRequest) -> None:
    """Raises InputError for values that no report can be made with."""
    for pooling in request.poolings:
        if pooling not in PRESETS:
            raise InputError(f"pooling {pooling!r}; allowed: {', '.join(PRESETS)}")
    if not request.poolings:
        raise InputError(f"poolings: none; allowed: {', '.join(PRESETS)}")
    if request.whitening_mode not in MODES:
        raise InputError(f"whitening mode {request.whitening_mode!r}; allowed: {', '.join(MODES)}")


def setups(request: ReportRequest) -> tuple[Setup, ...]:
    """Integer and float network on the small input; the float network once more on the large one."""
    small = (request.height, request.width, "stretch", request.poolings)
    found = [Setup("reference", "integer", *small)]
    if request.weights is not None:
        found += [Setup("float", "float", *small), Setup("float", "float", *LARGE, "keep", ("nip",))]
    return tuple(found)


def make_report(request: ReportRequest, progress: Progress = silent, skip: Skip | None = None) -> Report:
    """Runs everything. Writes the whitenings, and ``FEATURES``, into the output folder. Raises InputError."""
    check_request(request)
    network = load_network(request.network)
    training = _training(request)
    results: dict[tuple[str, int, int, str, str, str], tuple[Row, Evaluation]] = {}
    used, source = 0, ""
    # All of them are made first: what they cannot use is said before the long computation.
    for run in [_Run(request, network, setup, training) for setup in setups(request)]:
        run.fill(progress, skip)
        used = len(run.training)
        for row, evaluation in run.rows():
            results[row.key] = (row, evaluation)
        source = run.source
    first = next(iter(results.values()))[1]
    return Report(
        network=network.name, activation_bits=network.activation_bits,
        weight_bytes=-(-network.weight_bits // 8),
        float_bytes=FLOAT_BYTES * sum(layer.mask.size for layer in network.layers),
        protocol=request.benchmark.protocol, split=request.benchmark.headline, images=first.images,
        queries=first.queries, training_pictures=used, quantiser_source=source, poolings=request.poolings,
        rotations=request.rotations, rows=tuple(row for row, _ in results.values()),
        comparisons=tuple(_comparisons(request, results)),
    )  # fmt: skip


def _training(request: ReportRequest) -> list[Picture]:
    if request.train is None:
        return []
    paths = list_images(request.train)
    count = min(request.training_pictures, len(paths))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    return [Picture(f"{request.train.name}/{path.name}", path) for path in chosen]


class _Run:
    """One setup: features, whitenings, descriptors, rankings."""

    def __init__(self, request: ReportRequest, network: CompressedNetwork, setup: Setup,
                 training: Sequence[Picture]) -> None:
        self.request = request
        self.setup = setup
        self.training = list(training)
        self.source = ""
        self.benchmark = benchmark = request.benchmark
        self.pictures = [Picture(name, benchmark.folder / name) for name in benchmark.pictures]
        self.pictures += [Picture(q.key, benchmark.folder / q.image, q.box) for q in benchmark.boxed]
        union = ",".join(PRESETS[pooling] for pooling in setup.poolings)
        describer = make_describer(
            network, weights=request.weights if setup.engine == "float" else None, engine=setup.engine,
            height=setup.height, width=setup.width, crops=union, rotations=request.rotations, fit=setup.fit)
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

    def rows(self) -> Iterator[tuple[Row, Evaluation]]:
        """All rows of the setup, pooling by pooling."""
        for pooling in self.setup.poolings:
            crops = PRESETS[pooling]
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
                        codes, dimension, size[codes], result.map, result.splits[result.headline].recall,
                    ), result  # fmt: skip

    def _whiten(self, pooling: str, crops: str) -> Whitening:
        """Trained on the regions' vectors of the training pictures' crops; kept in the output folder."""
        scatter = Scatter(self.store.describer.dimension)
        for picture in self.training:
            turns = self.store.vectors(picture, [crops])[crops].rotations
            scatter.add(np.concatenate([turn.reshape(-1, turn.shape[-1]) for turn in turns]))
        made = scatter.fit(self.request.whitening_dimension, self.request.whitening_mode,
                           self.store.settings(crops, None))
        path = self.request.output / f"whitening-{self.setup.name}-{pooling}.safetensors"
        save_whitening(made, path)
        return load_whitening(path)

    def _describe(self, pictures: Sequence[Picture], crops: str,
                  whitenings: Sequence[Whitening | None]) -> tuple[list[np.ndarray], float]:
        """Per whitening the descriptors [N, D], and the mean number of crops."""
        vectors: list[list[np.ndarray]] = [[] for _ in whitenings]
        counts: list[int] = []
        for picture in pictures:
            found = self.store.vectors(picture, [crops])[crops]
            counts.append(len(found.weights))
            for number, whitening in enumerate(whitenings):
                vectors[number].append(self.store.descriptor(found, whitening))
        stacked = [np.stack(rows) if rows else np.zeros((0, 0)) for rows in vectors]
        return stacked, float(np.mean(counts or [0]))


def _comparisons(
    request: ReportRequest, results: dict[tuple[str, int, int, str, str, str], tuple[Row, Evaluation]]
) -> Iterator[Comparison]:
    """The questions that the tables answer, each with its interval, where both runs are there."""
    split = request.benchmark.headline

    def values(evaluation: Evaluation) -> np.ndarray:
        return np.array([result.ap for result in evaluation.per_query if result.split == split])

    def compare(about: str, this: Row, **other: str | int) -> Iterator[Comparison]:
        key = replace(this, **other).key
        if key in results and key != this.key:
            row, evaluation = results[key]
            gain = paired_bootstrap(values(results[this.key][1]), values(evaluation), request.seed)
            yield Comparison(about, this, row, gain)

    for row, _ in results.values():
        if row.arithmetic == "integer":
            if row.codes == "floats":
                yield from compare("integer against float network", row, arithmetic="float")
                yield from compare("more crops", row, pooling="nip")
                if row.whitening != PLAIN:
                    yield from compare("whitening", row, whitening=PLAIN)
            else:
                yield from compare(f"{row.codes} against floats", row, codes="floats")
            if row.pooling == TABLE2_POOLING:
                yield from compare("table 2: small input with RNIP against large input with NIP", row,
                                   arithmetic="float", height=LARGE[0], width=LARGE[1], pooling="nip")
