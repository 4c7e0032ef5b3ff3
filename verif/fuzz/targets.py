"""What reads files, and from which good files bad ones are made for it."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kestrel.export.descriptor_rom import decode_descriptor
from kestrel.export.export import import_network
from kestrel.export.formats.files import read_words
from kestrel.export.formats.words import Words
from kestrel.export.manifest import MANIFEST
from kestrel.export.schedule_table import network_crc
from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.kinds import file_kind
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.pictures.images import open_image
from kestrel.sw.retrain.checkpoint import load_checkpoint
from kestrel.sw.retrieval.benchmark.evaluate import read_per_query
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.describe.whitening import load_whitening
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.study.grid import read_grid
from kestrel.verif.fuzz import seeds
from kestrel.verif.fuzz.mutate import Mutator, any_archive, any_bytes, any_json, any_safetensors, any_text

Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A reader of files.

    file: the file's name in the folder in which it is read, into which ``prepare`` puts what else belongs
    there.
    read: reads it by its path. named: whether a refusal names the file, as those of readers of paths do.
    share: how many inputs of a run it gets, in comparison with others; quick readers get more.
    """

    file: str
    seeds: Callable[[Path], list[bytes]]
    read: Reader
    mutators: Sequence[Mutator]
    prepare: Callable[[Path], None] = lambda folder: None
    named: bool = True
    share: float = 1


def _weights(path: Path) -> object:
    return load_weights(str(path), parse_network(seeds.STACK))


def _truth(protocol: str) -> Reader:
    return lambda path: load_benchmark(protocol, path.parent)


def _pictures(*names: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        for name in names:
            (folder / name).write_bytes(b"")  # a benchmark looks at names alone

    return prepare


def _oxford(folder: Path) -> None:
    _pictures("all_souls_000001.jpg", "all_souls_000002.jpg")(folder)
    for kind in ("good", "ok", "junk"):
        (folder / f"all_souls_1_{kind}.txt").write_text("all_souls_000002\n", encoding="utf-8")
    (folder / "all_souls_1_query.txt").write_text("oxc1_all_souls_000001 1 2 30 40\n", encoding="utf-8")


def _export(folder: Path) -> None:
    made = seeds.export(folder)
    for path in made.iterdir():
        shutil.move(path, folder / path.name)
    made.rmdir()


def _exported(name: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [(seeds.export(folder) / name).read_bytes()]


def _import(path: Path) -> object:
    return import_network(path.parent)


def _words(bits: int, decode: Callable[[Words], object]) -> Reader:
    """A decoder of words, which whoever calls it names the file for."""

    def read(path: Path) -> object:
        data = path.read_bytes()
        whole = len(data) // (bits // 8) * (bits // 8)
        return decode(Words(bits, data[:whole]))

    return read


def _table(words: Words) -> object:
    if len(words) < 16:
        raise InputError("a table of fewer words than its header")
    return network_crc(words)


TEXT = (any_text, any_text, any_bytes)
BYTES = (any_bytes,)
SAFETENSORS = (any_safetensors, any_safetensors, any_bytes)
ARCHIVE = (any_archive, any_archive, any_bytes)
JSON = (any_json, any_json, any_text)

TARGETS: dict[str, Target] = {
    "network": Target("n.safetensors", seeds.networks, load_network, SAFETENSORS),
    **{
        f"rom-{suffix}": Target(
            f"image.{suffix}",
            lambda folder, suffix=suffix: seeds.rom_image(folder, suffix),
            lambda path: read_words(path, seeds.WORD_BITS, seeds.WORDS),
            TEXT if suffix != "bin" else BYTES,
            share=4,
        )
        for suffix in ("bin", "mem", "hex", "coe", "mif")
    },
    "manifest": Target(MANIFEST, _exported(MANIFEST), _import, JSON, _export),
    "table": Target("table.bin", _exported("table.bin"), _words(32, _table), BYTES, named=False, share=2),
    "descriptor-rom": Target(
        "descriptor.bin", lambda _: seeds.descriptor_roms(),
        _words(seeds.UNIT.word_bits, decode_descriptor), BYTES, named=False, share=2,
    ),
    "descriptors": Target("d.npz", seeds.descriptors, load_descriptors, ARCHIVE),
    "index": Target("i.index", seeds.indexes, DescriptorIndex.load, ARCHIVE, share=0.5),
    "whitening": Target("w.safetensors", seeds.whitenings, load_whitening, SAFETENSORS),
    "checkpoint": Target("c.safetensors", seeds.checkpoints, load_checkpoint, SAFETENSORS),
    "configuration": Target(
        "c.toml", lambda _: seeds.configurations(), lambda path: load_config(str(path)), TEXT, share=3
    ),
    "grid": Target("g.toml", lambda _: [seeds.GRID], read_grid, TEXT),
    **{
        f"weights-{suffix}": Target(
            f"weights.{suffix}", lambda folder, suffix=suffix: seeds.weights(folder, suffix), _weights,
            mutators, share=share,
        )
        for suffix, mutators, share in (
            ("safetensors", SAFETENSORS, 1), ("npz", ARCHIVE, 0.5), ("pth", ARCHIVE, 0.5),
            ("onnx", BYTES, 0.5),
        )
    },
    "truth-json": Target(
        "gnd_roxford5k.json", lambda _: seeds.truth_json(), _truth("roxford5k"), JSON,
        _pictures("a.jpg", "b.jpg", "c.jpg", "q.jpg"),
    ),
    "truth-pickle": Target(
        "gnd_roxford5k.pkl", lambda _: seeds.pickles(), _truth("roxford5k"), BYTES,
        _pictures("a.jpg", "b.jpg", "c.jpg", "q.jpg"),
    ),
    "truth-query": Target(
        "all_souls_1_query.txt", lambda _: [b"oxc1_all_souls_000001 136.5 34.1 648.5 955.7\n"],
        _truth("oxford5k"), TEXT, _oxford,
    ),
    "truth-list": Target(
        "all_souls_1_good.txt", lambda _: [b"all_souls_000002\nall_souls_000001\n"], _truth("oxford5k"), TEXT,
        _oxford,
    ),
    "truth-groups": Target(
        "manifest.csv", lambda _: [b"file,group\na.jpg,x\nb.jpg,x\nc.jpg,y\n"], _truth("groups"), TEXT,
        _pictures("a.jpg", "b.jpg", "c.jpg"),
    ),
    "per-query": Target(
        "q.csv", lambda _: [b"query,split,positives,first,ap\na.jpg,all,1,1,0.5\nb.jpg,all,3,2,0.25\n"],
        read_per_query, TEXT,
    ),
    "picture": Target("photo.png", lambda _: seeds.pictures(), open_image, BYTES, share=0.5),
    "kind": Target(
        "any.file",
        lambda folder: [
            *seeds.networks(folder), *seeds.descriptors(folder), *seeds.pictures(), seeds.GRID,
            json.dumps({"a": 1}).encode(), *seeds.weights(folder, "onnx"), *seeds.indexes(folder),
        ],
        file_kind, (any_bytes, any_archive, any_safetensors, any_text), named=False,
    ),
}  # fmt: skip
"""By name. Whatever a user may hand to a command as a file is read by one of these."""
