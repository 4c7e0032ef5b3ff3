"""The chip's integer descriptor against the float chain: cosines, codes that differ, mean average precision.

    python bench/chip_descriptor.py NETWORK --report FOLDER --dataset DIR --train DIR [--protocol groups]
        [--train-images N] [--poolings nip,rnip5x,...] [--maps N]

FOLDER is a report's, made with ``kestrel report retrieval ... --keep-features`` from the same network, data
and poolings: its features are read, no network runs. They are the regions' normalised vectors, so a region's
sums of squares are taken as round(v^2 (2^32 - 1)): their ratios to 33 bits, where the chip itself looks at
32. ``--maps`` runs the integer network over so many of the pictures besides, whole, and starts from its maps.

Constants of the chip (range, thresholds, whitening) come from the training photographs, as for the float
chain. Writes JSON to standard output and to ``build/bench/chip_descriptor.json``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DESCRIPTOR_FRACTION, DESCRIPTOR_OUTPUT_BYTES
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import load_network
from kestrel.sw.pictures.images import list_images, open_image
from kestrel.sw.pictures.listing import spread
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import evaluate
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.chip_constants import chip_regions, make_constants
from kestrel.sw.retrieval.describe.crops import cut_crops
from kestrel.sw.retrieval.describe.descriptor import Descriptors
from kestrel.sw.retrieval.describe.extract import Describer, find_pooling, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import Whitening, load_whitening
from kestrel.sw.retrieval.pooling.cycles import descriptor_cycles
from kestrel.sw.retrieval.pooling.integer_nip import (
    DescriptorConstants,
    bits,
    codes,
    region_squares,
    vector_of,
)
from kestrel.sw.retrieval.pooling.nip import combine, region_vectors
from kestrel.sw.retrieval.pooling.quantise import Quantiser, fit_quantiser, from_bytes, to_bits, to_bytes
from kestrel.sw.retrieval.report.crop_store import CropStore, CropVectors, Picture
from kestrel.sw.retrieval.report.measure import FEATURES, POOLINGS, crop_specification

OUTPUT = Path("build/bench/chip_descriptor.json")
ONE = 1 << DESCRIPTOR_FRACTION
SQUARES_MAX = (1 << 32) - 1


def integer_vector(crops: CropVectors, constants: DescriptorConstants) -> np.ndarray:
    """int64 [D]: what the chip would make of a picture's regions."""
    turns = [np.concatenate(views) for views in crops.rotations]
    squares = [np.rint(turn * turn * SQUARES_MAX).astype(np.int64) for turn in turns]
    return vector_of(squares, len(turns[0]), constants)


def float_vectors(
    store: CropStore, pictures: Sequence[Picture], crops: str, whitening: Whitening | None
) -> np.ndarray:
    """float32 [N, D] of the float chain."""
    return np.stack([store.descriptor(store.vectors(p, [crops])[crops], whitening) for p in pictures])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


def compare(
    found: np.ndarray, chip: np.ndarray, descriptors: Descriptors, benchmark: Benchmark,
    quantiser: Quantiser, constants: DescriptorConstants,
) -> dict[str, object]:  # fmt: skip
    """found: float32 [N, D] of the float chain; chip: int64 [N, D]."""
    chip_bytes = np.stack([np.frombuffer(codes(v, constants), np.uint8) for v in chip])
    chip_bits = np.stack([np.frombuffer(bits(v, constants), np.uint8) for v in chip])
    signs = np.unpackbits(chip_bits, axis=1, count=found.shape[1], bitorder="little") * 2.0 - 1.0
    as_floats = {
        "floats": chip / ONE, "bytes": from_bytes(chip_bytes, quantiser), "bits": signs,
    }  # fmt: skip
    cosine = cosines(found, chip)
    row: dict[str, object] = {
        "dimension": found.shape[1],
        "cosine_lowest": float(cosine.min()),
        "cosine_mean": float(cosine.mean()),
        "largest_difference": float(np.abs(found - chip / ONE).max()),
        "bytes_that_differ": float((chip_bytes != to_bytes(found, quantiser)).mean()),
        "largest_byte_difference": int(
            np.abs(chip_bytes.astype(int) - to_bytes(found, quantiser).astype(int)).max()
        ),
        "bits_that_differ": float(
            np.unpackbits(chip_bits ^ to_bits(found, quantiser), axis=1).sum() / found.size
        ),
    }
    for kind, values in as_floats.items():
        mine = evaluate(benchmark, replace(descriptors, vectors=values.astype(np.float32)))
        other = evaluate(benchmark, descriptors, codes=kind, quantiser=quantiser)
        row[f"map_{kind}"] = {"float_chain": other.map, "chip": mine.map, "difference": mine.map - other.map}
    return row


def from_maps(
    describer: Describer, pictures: Sequence[Picture], constants: DescriptorConstants,
    whitening: Whitening | None, store: CropStore,
) -> dict[str, object]:  # fmt: skip
    """Whole pictures through the integer network; the maps' own sums of squares."""
    found, chip, stored = [], [], []
    for picture in pictures:
        maps = describer.backend.features(cut_crops(open_image(picture.path), describer.crops).pictures)
        vectors = [region_vectors(features, describer.chain) for features in maps]
        found.append(combine([vectors], [1.0] * len(vectors), describer.chain, whitening))
        rows = [region_squares(f, region) for f in maps for region in constants.regions]
        chip.append(vector_of([np.stack(rows)], len(rows), constants))
        stored.append(integer_vector(store.vectors(picture, ["whole"])["whole"], constants))
    cosine = cosines(np.stack(found), np.stack(chip))
    return {
        "pictures": len(found),
        "cosine_lowest": float(cosine.min()),
        "largest_difference_to_stored_vectors": int(np.abs(np.stack(chip) - np.stack(stored)).max()),
    }


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    network = load_network(arguments.network)
    benchmark = load_benchmark(arguments.protocol, arguments.dataset)
    poolings = arguments.poolings.split(",")
    chain = find_pooling(poolings[0])[1]
    everything = make_describer(network, DescriptorOptions(
        chain=chain, crops=",".join(crop_specification(p) for p in POOLINGS)))
    store = CropStore(arguments.report / FEATURES, everything)
    training = spread(list_images(arguments.train), arguments.train_images)
    learned = [Picture(path.name, path) for path in training]
    pictures = [Picture(name, benchmark.folder / name) for name in benchmark.pictures]
    missing = [picture.name for picture in (*learned, *pictures) if not store.has(picture)]
    if missing:
        raise InputError(f"{arguments.report}: no features of {missing[0]} and {len(missing) - 1} others; "
                         "allowed: a report of the same network, data and poolings with --keep-features")
    height, width = network.map_sizes(everything.settings.height, everything.settings.width)[-1]
    regions = chip_regions(chain, height, width)
    channels = network.layers[-1].shape.out_channels
    whole = make_describer(network, DescriptorOptions(chain=chain, crops="whole"))
    rows: list[dict[str, object]] = []
    for pooling in poolings:
        crops = crop_specification(pooling)
        path = arguments.report / f"whitening-integer-{everything.settings.height}x"
        path = path.with_name(f"{path.name}{everything.settings.width}-{pooling}.safetensors")
        for whitening in (None, load_whitening(path)):
            quantiser = fit_quantiser(float_vectors(store, learned, crops, whitening))
            constants = make_constants(channels, regions, height, width, quantiser, whitening)
            found = float_vectors(store, pictures, crops, whitening)
            chip = np.stack([integer_vector(store.vectors(p, [crops])[crops], constants) for p in pictures])
            names = tuple(picture.name for picture in pictures)
            descriptors = Descriptors(store.settings(crops, whitening), names, found)
            row: dict[str, object] = {
                "pooling": pooling, "whitening": whitening.mode if whitening else "",
                **compare(found, chip, descriptors, benchmark, quantiser, constants),
                "cycles_of_last_frame": {
                    name: descriptor_cycles(constants, NAMED[name], output=DESCRIPTOR_OUTPUT_BYTES)
                    for name in ("nano", "edge")
                },
            }  # fmt: skip
            if arguments.maps and pooling == "nip":
                some = pictures[:: max(1, len(pictures) // arguments.maps)][: arguments.maps]
                row["from_maps"] = from_maps(whole, some, constants, whitening, store)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr)
    return {
        "bench": "chip_descriptor", "network": network.name, "activation_bits": network.activation_bits,
        "images": len(pictures), "queries": len(benchmark.queries), "training_images": len(learned),
        "map": [channels, height, width], "regions": len(regions), "rows": rows,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("network", type=Path, help="the compressed network that the report is of")
    add("--report", type=Path, required=True, help="folder of a report with its features and whitenings")
    add("--dataset", type=Path, required=True)
    add("--train", type=Path, required=True)
    add("--protocol", default="groups")
    add("--train-images", type=int, default=120)
    add("--poolings", default=",".join(POOLINGS))
    add("--maps", type=int, default=0, help="pictures to run the network over besides (default: none)")
    add("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    try:
        report = measure(arguments)
    except InputError as error:
        parser.error(str(error))
    text = json.dumps(report, indent=2)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
