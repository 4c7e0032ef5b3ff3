"""What bits cost in mAP: how many there are, and whether the query keeps its floats.

    python bench/bits.py NETWORK --dataset DIR --train DIR [--protocol groups] [--train-images N]
        [--poolings nip,rnip5x,...] [--bits 256,512,1024] [--features FOLDER] [-o OUTPUT.json]

For each pooling a whitening, ranges and thresholds are learned from the training photographs (whitening once,
after the average), as ``kestrel whiten --mode after`` and ``kestrel describe --codes bits --bits N`` learn
them. Ranked are the queries of the set by floats; by bits; by bits with queries that keep their floats
(asymmetric); and, as far as the chip has rows, all of it by the chip's arithmetic, which keeps of a query the
bytes that it sends. Every value has its difference to the floats with the interval of a paired bootstrap over
the queries.

The network runs once: of every region of every crop the sums of squares are kept in --features, from which
the float chain and the chip's follow exactly, and a stopped run continues. Writes JSON and prints a line a
row.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kestrel.cli.output import progress
from kestrel.hw.spec.descriptor import DESCRIPTOR_CHANNELS_MAX, DESCRIPTOR_FRACTION
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import load_network
from kestrel.sw.pictures.images import open_image
from kestrel.sw.pictures.listing import find_pictures, spread
from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import rankings
from kestrel.sw.retrieval.benchmark.metrics import relevant_ranks, trapezoid_average_precision
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.chip_constants import chip_regions, make_constants
from kestrel.sw.retrieval.describe.crops import CropSettings, Inputs, crop_grid, cut_crops
from kestrel.sw.retrieval.describe.descriptor import recorded
from kestrel.sw.retrieval.describe.extract import Describer, find_pooling, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import Scatter, Whitening
from kestrel.sw.retrieval.pooling.bit_rows import bit_values, check_bits
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import (
    DescriptorConstants,
    bits,
    codes,
    region_squares,
    vector_of,
)
from kestrel.sw.retrieval.pooling.nip import combine, normalise
from kestrel.sw.retrieval.pooling.quantise import LEVELS, Quantiser, fit_quantiser, from_bits, to_bits

OUTPUT = Path("build/bench/bits.json")


@dataclass(frozen=True)
class Row:
    """One way to rank. bits: 0 for floats; chip: by the chip's arithmetic; difference: to the floats of the
    reference."""

    pooling: str
    bits: int
    asymmetric: bool
    chip: bool
    map: float
    difference: Difference

    def line(self) -> str:
        what = f"{self.bits:5d} bits" if self.bits else "    floats"
        how = "asymmetric" if self.asymmetric else "symmetric"
        d = self.difference
        return (f"{self.pooling:8}{what} {'chip' if self.chip else 'reference':9} {how:10} {self.map:.4f} "
                f"{d.difference:+.4f} ({d.low:+.4f} .. {d.high:+.4f})")


class Squares:
    """Sums of squares, uint32 [R, C], of each region of a picture's crops, kept by picture and crop."""

    def __init__(self, folder: Path, describer: Describer, regions: Sequence[GridRegion]) -> None:
        text = json.dumps(recorded(describer.settings), sort_keys=True)
        self._folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._describer = describer
        self._regions = regions

    def file(self, path: Path) -> Path:
        status = path.stat()
        about = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
        return self._folder / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.npz"

    def of(self, path: Path, crops: str) -> np.ndarray:
        """int64 [crops * R, C]; computes what is not there yet."""
        file = self.file(path)
        known: dict[tuple[int, ...], np.ndarray] = {}
        size: tuple[int, ...] = ()
        if file.exists():
            with np.load(file) as stored:
                size = tuple(stored["size"].tolist())
                known = dict(zip(map(tuple, stored["crops"].tolist()), stored["squares"], strict=True))
        rgb = None if size else open_image(path)
        height, width = size or rgb.shape[:2]  # type: ignore[union-attr]
        wanted = [crop.region for crop in crop_grid(crops, height, width)]
        keys = [(r.top, r.left, r.height, r.width) for r in wanted]
        if missing := [n for n, key in enumerate(keys) if key not in known]:
            inputs = cut_crops(open_image(path) if rgb is None else rgb, self._cropping(crops))
            for n, maps in zip(missing, self._maps(inputs, missing), strict=True):
                known[keys[n]] = np.stack([region_squares(maps, r) for r in self._regions]).astype(np.uint32)
            beside = file.with_suffix(".part.npz")
            np.savez(beside, size=np.array([height, width]), crops=np.array(list(known)),
                     squares=np.stack(list(known.values())))
            beside.replace(file)
        return np.concatenate([known[key] for key in keys]).astype(np.int64)

    def _cropping(self, crops: str) -> CropSettings:
        settings = self._describer.crops
        return CropSettings(crops, settings.height, settings.width, 1, settings.fit, settings.filter)

    def _maps(self, inputs: Inputs, chosen: Sequence[int]) -> list[np.ndarray]:
        backend = self._describer.backend
        step = backend.batch(self._describer.settings.height, self._describer.settings.width)
        found: list[np.ndarray] = []
        for first in range(0, len(chosen), step):
            found += list(backend.features([inputs.pictures[n] for n in chosen[first : first + step]]))
        return found


@dataclass(frozen=True)
class Set:
    """Sums of squares of pictures' regions, each [R, C], and the areas of the regions, [R, 1]."""

    squares: list[np.ndarray]
    areas: list[np.ndarray]

    def regions(self) -> list[np.ndarray]:
        """The float chain's regions' vectors, float64 [R, C] each."""
        return [normalise(np.sqrt(squares / area))
                for squares, area in zip(self.squares, self.areas, strict=True)]

    def described(self, describer: Describer, whitening: Whitening) -> np.ndarray:
        """float32 [N, D] of the float chain."""
        return np.stack([combine([[vectors]], [1.0], describer.chain, whitening)
                         for vectors in self.regions()])

    def on_chip(self, constants: DescriptorConstants) -> np.ndarray:
        """int64 [N, B] of the chip's."""
        return np.stack([vector_of([squares], len(squares), constants) for squares in self.squares])


def average_precisions(benchmark: Benchmark, asked: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Of every query with something to find, float64 [Q]; rows of ``asked`` are images of the database."""
    rows = {name: row for row, name in enumerate(benchmark.images)}
    queries = asked[[rows[query.key] for query in benchmark.queries]]
    found = []
    judgements = benchmark.judgements[benchmark.headline]
    for judged, ranking in zip(judgements, rankings(queries, database), strict=True):
        if judged.positives:
            ranks = relevant_ranks(ranking, judged.positives, judged.ignored)
            found.append(trapezoid_average_precision(ranks, len(judged.positives)))
    return np.array(found)


def chip_codes(vectors: np.ndarray, constants: DescriptorConstants, quantiser: Quantiser
               ) -> tuple[np.ndarray, np.ndarray]:
    """The bits that the chip sends, uint8 [N, B / 8], and what its bytes stand for, float64 [N, B]."""
    packed = np.stack([np.frombuffer(bits(vector, constants), np.uint8) for vector in vectors])
    sent = np.stack([np.frombuffer(codes(vector, constants), np.uint8) for vector in vectors])
    shorter = (quantiser.dimension / quantiser.bits) ** 0.5
    step = shorter * (quantiser.high - quantiser.low) / LEVELS
    return packed, shorter * quantiser.low + (sent + 0.5) * step


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    network = load_network(arguments.network)
    benchmark = load_benchmark(arguments.protocol, arguments.dataset)
    if benchmark.boxed:
        raise InputError(f"protocol {arguments.protocol}: queries are parts of images; allowed: whole ones")
    training = spread(find_pictures(arguments.train).paths, arguments.train_images)
    pictures = [benchmark.folder / name for name in benchmark.images]
    describer = make_describer(network, DescriptorOptions(size=arguments.size))
    side, _ = network.map_sizes(arguments.size, arguments.size)[-1]
    regions = chip_regions(describer.chain, side, side)
    store = Squares(arguments.features, describer, regions)
    rows: list[Row] = []
    differing: dict[str, float] = {}
    numbers = [int(number) for number in arguments.bits.split(",")]
    for number in numbers:
        check_bits(number)
    for pooling in arguments.poolings.split(","):
        crops, chain = find_pooling(pooling)
        if chain != describer.chain:
            raise InputError(f"pooling {pooling!r}; allowed: poolings of the chain {describer.chain.text}")
        sets = []
        for what, paths in (("training set", training), (benchmark.protocol, pictures)):
            with progress(f"{pooling}: {what}", len(paths)) as advance:
                squares = []
                for path in paths:
                    squares.append(store.of(path, crops))
                    advance(1)
            area = np.array([[r.height * r.width] for r in regions], dtype=np.float64)
            sets.append(Set(squares, [np.tile(area, (len(s) // len(regions), 1)) for s in squares]))
        learned, asked = sets
        made, differ = pooling_rows(pooling, learned, asked, describer, benchmark, regions, side, numbers)
        rows += made
        differing |= differ
    return {
        "bench": "bits", "network": network.name, "images": len(pictures), "queries": len(benchmark.queries),
        "training_images": len(training), "size": arguments.size, "rows": [asdict(row) for row in rows],
        "bits_of_the_chip_that_differ": differing,
    }  # fmt: skip


def pooling_rows(
    pooling: str, learned: Set, found: Set, describer: Describer, benchmark: Benchmark,
    regions: Sequence[GridRegion], side: int, numbers: Sequence[int],
) -> tuple[list[Row], dict[str, float]]:  # fmt: skip
    """All ways to rank of one pooling, and by number of bits the share in which chip and reference differ."""
    scatter = Scatter(describer.dimension)
    for vectors in learned.regions():
        scatter.add(vectors)
    whitening = scatter.fit(None, "after", describer.settings)
    floats, trained = found.described(describer, whitening), learned.described(describer, whitening)
    exact = floats.astype(np.float64)
    wanted = average_precisions(benchmark, exact, exact)
    rows: list[Row] = []
    differing: dict[str, float] = {}

    def add(number: int, asymmetric: bool, chip: bool, asked: np.ndarray, database: np.ndarray) -> None:
        values = average_precisions(benchmark, asked, database)
        difference = paired_bootstrap(values, wanted)
        rows.append(Row(pooling, number, asymmetric, chip, float(values.mean()), difference))
        print(rows[-1].line(), flush=True)

    add(0, False, False, exact, exact)
    for number in numbers:
        quantiser = fit_quantiser(trained, bits=number)
        packed = to_bits(floats, quantiser)
        signs = _signs(packed, number)
        add(number, False, False, signs, signs)
        asked = bit_values(floats, number, quantiser.weights)
        add(number, True, False, asked, from_bits(packed, quantiser))
        if number > DESCRIPTOR_CHANNELS_MAX:
            continue
        constants = make_constants(describer.dimension, regions, side, side, quantiser, whitening)
        chip = found.on_chip(constants)
        if number == numbers[0]:
            values = chip / (1 << DESCRIPTOR_FRACTION)
            add(0, False, True, values, values)
        chip_packed, sent = chip_codes(chip, constants, quantiser)
        signs = _signs(chip_packed, number)
        add(number, False, True, signs, signs)
        add(number, True, True, sent, from_bits(chip_packed, quantiser))
        flipped = np.bitwise_count(chip_packed ^ packed).sum()
        differing[f"{pooling}, {number}"] = float(flipped / (len(packed) * number))
    return rows, differing


def _signs(packed: np.ndarray, count: int) -> np.ndarray:
    return np.unpackbits(packed.view(np.uint8), axis=1, count=count, bitorder="little") * 2.0 - 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("network", help="compressed network, or embedded")
    add("--dataset", type=Path, required=True)
    add("--train", type=Path, required=True)
    add("--protocol", default="groups")
    add("--train-images", type=int, default=240)
    add("--poolings", default="nip,rnip5x")
    add("--bits", default="256,512")
    add("--size", type=int, default=224, help="side of the network's input")
    add("--features", type=Path, default=Path("build/bench/bits"), help="folder that keeps what was computed")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    try:
        report = measure(arguments)
    except InputError as error:
        parser.error(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
