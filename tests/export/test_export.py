"""Whole exports: written, read back, compiled, refused."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kestrel.export.c_header import c_header
from kestrel.export.entries import file_entry
from kestrel.export.export import ExportReport, export_network, import_network
from kestrel.export.formats.files import FORMATS
from kestrel.export.manifest import read_manifest
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork, same
from kestrel.sw.model.network import parse_network
from kestrel.verif.cases.random_graph import lane_channels, random_graph
from kestrel.verif.cases.random_network import constant_network, random_network, stack

CONFIG = EngineConfig(
    name="test", input_lanes=2, output_lanes=2, activation_bits=8, load_kernels=1, partial_depth=64,
    max_width=16, feature_words=(256, 256), weight_words=1 << 16, table_words=512, stream_bytes=1,
)  # fmt: skip


def small_network(rng: np.random.Generator, **options: Any) -> CompressedNetwork:
    return random_network(rng, stack((3, 5, 4), pools=[0]), (5, 3), **options)


@pytest.fixture
def exported(rng: np.random.Generator, tmp_path: Path) -> ExportReport:
    return export_network(small_network(rng, pad=(1, 2, 3)), CONFIG, 8, 10, tmp_path / "rom")


@pytest.mark.parametrize("lanes", [(1, 1, 1), (3, 3, 1), (4, 2, 2), (16, 16, 4)])
def test_round_trip(lanes: tuple[int, int, int], rng: np.random.Generator, tmp_path: Path) -> None:
    config = CONFIG.with_options(
        input_lanes=lanes[0], output_lanes=lanes[1], load_kernels=lanes[2], feature_words=(4096, 4096)
    )
    network = random_network(
        rng, stack((3, 17, 6, 9), pools=[1]), (1, 4, 2), activation_bits=int(rng.integers(4, 9))
    )
    untrained = replace(network.layers[1], trained=False, scale=0.1)
    network = replace(network, layers=(network.layers[0], untrained, network.layers[2]))
    report = export_network(network, config, 6, 5, tmp_path / "rom")
    assert same(import_network(tmp_path / "rom"), network)
    assert read_manifest(tmp_path / "rom") == report.manifest


def test_files(exported: ExportReport) -> None:
    stems = [f"{stem}.{suffix}" for stem in ("table", "weights") for suffix in FORMATS]
    assert sorted(path.name for path in exported.files) == sorted([*stems, "kestrel.h", "manifest.json"])
    assert all(path.is_file() for path in exported.files)
    manifest = exported.manifest
    assert sorted(entry.name for entry in manifest.files) == sorted([*stems, "kestrel.h"])
    assert manifest.weights.words * 64 == manifest.rom_bits
    assert manifest.rom_bits == 64 * sum(layer.rom_words for layer in manifest.layers)
    assert (manifest.height, manifest.width, manifest.network) == (8, 10, "random")


def test_exports_are_reproducible(rng: np.random.Generator, tmp_path: Path) -> None:
    network = small_network(rng)
    first = export_network(network, CONFIG, 4, 4, tmp_path / "a")
    second = export_network(network, CONFIG, 4, 4, tmp_path / "b")
    assert [p.read_bytes() for p in first.files] == [p.read_bytes() for p in second.files]


# --------------------------------------------------------------------------------------------------------
# Where it writes
# --------------------------------------------------------------------------------------------------------


def test_an_earlier_export_is_replaced_of_another_network_only_by_force(
    exported: ExportReport, rng: np.random.Generator
) -> None:
    mine, other = import_network(exported.directory), small_network(rng, name="other")
    export_network(mine, CONFIG, 8, 10, exported.directory)
    with pytest.raises(InputError, match='export of another run: network is "random" there and "other" here'):
        export_network(other, CONFIG, 8, 10, exported.directory)
    assert same(import_network(exported.directory), mine)
    export_network(other, CONFIG, 4, 6, exported.directory, force=True)
    assert same(import_network(exported.directory), other)


def test_other_folders_are_left_alone(rng: np.random.Generator, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"output folder .*notes holds files that are not an earlier output"):
        export_network(small_network(rng), CONFIG, 4, 4, tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_nothing_is_left_behind_after_a_failure(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(manifest: object, directory: object) -> None:
        raise RuntimeError("interrupted")

    monkeypatch.setattr("kestrel.export.export.write_manifest", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        export_network(small_network(rng), CONFIG, 4, 4, tmp_path / "rom")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------
# What it refuses
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({"weight_words": 8}, (4, 4), r"weight"),
        ({"table_words": 64}, (4, 4), r"the schedule takes \d+ table words .* has table_words = 64"),
        ({"activation_bits": 7}, (4, 4), r"8 activation bits; allowed by configuration 'test': at most 7"),
        ({}, (4, 17), r"width 1\.\.16"),
        ({"feature_words": (256, 2)}, (8, 8), r"feature part.*; configuration 'test' has .*2"),
        ({}, (1, 8), r"conv0 would pool a map of 1 x 8 to nothing"),
    ],
)
def test_refuses_what_the_configuration_cannot_hold(
    options: dict[str, Any], size: tuple[int, int], message: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        export_network(small_network(rng), CONFIG.with_options(**options), *size, tmp_path / "rom")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_refuses_networks_that_are_not_valid(rng: np.random.Generator, tmp_path: Path) -> None:
    network = small_network(rng)
    first = network.layers[0]
    odd = replace(network, layers=(replace(first, shift=16), network.layers[1]))
    with pytest.raises(InputError, match=r"layer conv0: shift = 16; allowed: 3\.\.15"):
        export_network(odd, CONFIG, 4, 4, tmp_path / "rom")
    wide = constant_network(stack((244, 1)), 5, tap=15)
    mask, alpha = np.full((1, 245, 3, 3), 15, np.int8), np.full((1, 245), 255, np.uint8)
    layer = replace(
        wide.layers[0], shape=replace(wide.layers[0].shape, in_channels=245), mask=mask, alpha=alpha
    )
    with pytest.raises(InputError, match=r"constant, layer conv0: an accumulator may reach"):
        export_network(
            replace(wide, layers=(layer,), pad=np.zeros(245, np.uint8)), CONFIG, 1, 1, tmp_path / "rom"
        )


@pytest.mark.parametrize("name", ["weights.bin", "weights.mem", "table.mif", "kestrel.h"])
def test_import_refuses_missing_and_damaged_files(name: str, exported: ExportReport) -> None:
    path = exported.directory / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=rf"{name}: {len(whole) - 1} bytes; expected: {len(whole)}"):
        import_network(exported.directory)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    expected = next(entry.sha256 for entry in exported.manifest.files if entry.name == name)
    with pytest.raises(InputError, match=rf"{name}: SHA-256 {file_entry(path).sha256}; expected: {expected}"):
        import_network(exported.directory)
    path.unlink()
    with pytest.raises(InputError, match=rf"{name}: missing; expected: a file of {len(whole)} bytes"):
        import_network(exported.directory)


def change(manifest: dict[str, Any], path: tuple[str | int, ...], value: object) -> None:
    place: Any = manifest
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value


def test_an_export_from_before_the_descriptor_unit_was_configured_is_read(exported: ExportReport) -> None:
    file = exported.directory / "manifest.json"
    manifest = json.loads(file.read_text())
    for name in ("descriptor_channels", "descriptor_words", "descriptor_whitening"):
        del manifest["config"][name]
    file.write_text(json.dumps(manifest))
    assert read_manifest(exported.directory) == exported.manifest
    import_network(exported.directory)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("version",), 5, r"version = 5; allowed: 2, 3, 4"),
        (("version",), 3, r"blocks: missing"),
        (("network",), ..., r"network: missing"),
        (("network",), 5, r"network = 5; allowed: str"),
        (("surplus",), 1, r"surplus: not known; allowed: version, "),
        (("activation_bits",), 9, r"activation_bits = 9; allowed: 4\.\.8"),
        (("activation_bits",), True, r"activation_bits = True; allowed: int"),
        (("preprocessing",), "bgr", r"preprocessing = 'bgr'; allowed: "),
        (("config", "input_lanes"), 0, r"configuration 'test': input_lanes = 0; allowed: 1\.\.128"),
        (("config", "load_kernels"), ..., r"config\.load_kernels: missing"),
        (("config", "feature_words"), [1], r"feature_words"),
        (("layers",), [], r"number of layers = 0; allowed: 1\.\."),
        (("layers", 0, "mask_bits"), 6, r"layers\[0\]\.mask_bits = 6; allowed: 1\.\.5"),
        (("layers", 0, "mask_bits"), 4, r"layer conv0 has \d+ ROM words from 0 on; expected: \d+ from 0 on"),
        (("layers", 1, "rom_word"), 1, r"layer conv1 has \d+ ROM words from 1 on; expected: "),
        (("layers", 1, "in_channels"), 1 << 40, r"layers\[1\]\.in_channels = \d+; allowed: 1\.\.65536"),
        (("layers", 1, "out_channels"), 60000, r"layers\[1\]\.rom_words = \d+; allowed: at least \d+"),
        (("layers", 1, "scale"), -1.0, r"layers\[1\]\.scale = -1\.0; allowed: finite and above 0"),
        (("layers", 1, "shift"), 2, r"layer conv1: shift = 2; allowed: 3\.\.15"),
        (("layers", 1), 3, r"layers\[1\] = 3; allowed: an object"),
        (("weights", "crc32"), 1, r"weights\.bin: CRC-32 [0-9a-f]{8}; expected: 00000001"),
        (("network_crc32",), 1, r"manifest\.json: network_crc32 = 00000001; expected: [0-9a-f]{8}"),
        (("table", "crc32"), 1, r"table\.bin: CRC-32 [0-9a-f]{8}; expected: 00000001"),
        (("weights", "words"), 3, r"weights\.bin: \d+ bytes; allowed: 24, 3 words of 64 bits"),
        (("weights", "word_bits"), 32, r"weights\.word_bits = 32; allowed: 64"),
        (("table", "word_bits"), 12, r"table\.word_bits = 12; allowed: a multiple of 8"),
        (("files", 0, "name"), "../x", r"files\[0\]\.name = '\.\./x'; allowed: a plain file name"),
    ],
)
def test_import_refuses_wrong_manifests(
    path: tuple[str | int, ...], value: object, message: str, exported: ExportReport
) -> None:
    assert_refused(exported, path, value, message)


def assert_refused(
    exported: ExportReport, path: tuple[str | int, ...], value: object, message: str
) -> None:
    """The export is refused in one line that names it, with ``value`` at ``path`` of its manifest."""
    file = exported.directory / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest, path, value)
    file.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=message) as caught:
        import_network(exported.directory)
    assert str(caught.value).startswith(str(exported.directory))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.unlink(), r"manifest\.json: cannot be read: No such file"),
        (lambda p: p.write_text("{"), r"manifest\.json: is not JSON"),
        (lambda p: p.write_text("[]"), r"manifest\.json: \[\]; allowed: an object"),
        (lambda p: p.write_bytes(b"\xff\xfe"), r"manifest\.json: is not UTF-8 text"),
    ],
)
def test_import_refuses_what_is_no_manifest(
    spoil: Callable[[Path], object], message: str, exported: ExportReport
) -> None:
    spoil(exported.directory / "manifest.json")
    with pytest.raises(InputError, match=message):
        import_network(exported.directory)


# --------------------------------------------------------------------------------------------------------
# Networks that are graphs
# --------------------------------------------------------------------------------------------------------

RESIDUAL = CONFIG.with_options(
    residual=True, partial_depth=128, max_width=128, feature_words=(4096, 4096), table_words=4096
)


@pytest.fixture
def exported_graph(rng: np.random.Generator, tmp_path: Path) -> ExportReport:
    """With an image in blocks, a 3x3 pooling, a step of two, both kinds of shortcuts and a shared layer."""
    shapes = parse_network("shared_resnet/32:layer2.1").layers
    network = random_network(rng, shapes, [int(n) for n in rng.integers(1, 6, len(shapes))], blocks=True)
    return export_network(network, RESIDUAL, 17, 20, tmp_path / "rom")


@pytest.mark.parametrize("blocks", [False, True])
def test_round_trip_of_random_graphs(blocks: bool, rng: np.random.Generator, tmp_path: Path) -> None:
    for number in range(4):
        network = random_graph(rng, 6, lane_channels(2), blocks=blocks)
        folder = tmp_path / str(number)
        report = export_network(network, RESIDUAL, 18, 16, folder)
        assert same(import_network(folder), network)
        assert read_manifest(folder) == report.manifest


def test_header_of_a_graph_speaks_of_the_image_and_of_the_output(exported_graph: ExportReport) -> None:
    text = c_header(exported_graph.manifest)
    for name, value in (("IMAGE_CHANNELS", 3), ("OUTPUT_HEIGHT", 3), ("OUTPUT_WIDTH", 3)):
        assert re.search(rf"#define KESTREL_{name} +{value}\n", text), name


def test_shared_layers_are_stored_once(exported_graph: ExportReport) -> None:
    layers = exported_graph.manifest.layers
    shared = [entry for n, entry in enumerate(layers) if entry.graph and entry.graph.weights != n]
    assert shared
    for entry in shared:
        assert entry.graph is not None
        assert (entry.rom_word, entry.rom_words) == (layers[entry.graph.weights].rom_word, 0)


def test_an_engine_of_stacks_refuses_a_graph(rng: np.random.Generator, tmp_path: Path) -> None:
    network = random_network(rng, parse_network("resnet18/32:layer1.0").layers, 2, blocks=True)
    with pytest.raises(InputError, match=r"conv1 is no plain 3x3 layer.*allowed: --set residual=true"):
        export_network(network, RESIDUAL.with_options(residual=False), 16, 16, tmp_path / "rom")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("blocks",), 1, r"blocks = 1; allowed: bool"),
        (("version",), 2, r"blocks: not known"),
        (("layers", 1, "graph"), ..., r"layers\[1\]\.graph: missing"),
        (("layers", 1, "graph", "stride"), 3, r"layer1_0_conv1: stride = 3; allowed: 1, 2"),
        (("layers", 1, "graph", "source"), 5, r"layer1_0_conv1: source = 5; allowed: 0\.\.0"),
        (("layers", 2, "graph", "shortcut"), "sum", r"layers\[2\]\.graph\.shortcut = 'sum'; allowed: none, "),
        (("layers", 2, "graph", "shortcut_source"), 9, r"shortcut's source = 9; allowed: 0\.\.1"),
        (("layers", 2, "graph", "shortcut_shift"), 5, r"shortcut_shift = 5; allowed: 0\.\.4"),
        (("layers", 3, "graph", "weights"), 2, r"layer1_1_conv1: shares the integers of layer1_0_conv2"),
        (("layers", 3, "graph", "weights"), 3, r"layers\[3\]\.rom_words = 0; allowed: at least \d+"),
    ],
)
def test_import_refuses_wrong_manifests_of_graphs(
    path: tuple[str | int, ...], value: object, message: str, exported_graph: ExportReport
) -> None:
    assert_refused(exported_graph, path, value, message)


# --------------------------------------------------------------------------------------------------------
# The C header
# --------------------------------------------------------------------------------------------------------

PROGRAM = """
#include <stdio.h>
#include "kestrel.h"
#include "kestrel.h"
#define ROW(index, name, in, out, height, width, bits, shift, pool, word, words) \\
    printf("%d %s %d %d %d %d %d %d %d %lu %lu\\n", index, name, in, out, height, width, bits, shift, pool, \\
           word, words);
int main(void) {
    printf("%s|%s|%d %d %lu %lu %lx %lx\\n", KESTREL_NETWORK, KESTREL_CONFIG, KESTREL_IMAGE_HEIGHT,
           KESTREL_OUTPUT_WIDTH, KESTREL_WEIGHT_WORDS, KESTREL_TABLE_WORDS, KESTREL_WEIGHT_CRC32,
           KESTREL_TABLE_CRC32);
    KESTREL_LAYERS(ROW)
    return 0;
}
"""


def test_header_compiles_and_agrees_with_the_manifest(exported: ExportReport, tmp_path: Path) -> None:
    """Under -pedantic, included twice, and with a configuration name that C would misread unescaped."""
    name = 'a "b\\ ??/ \u00e9'
    manifest = replace(exported.manifest, config=replace(exported.manifest.config, name=name))
    (tmp_path / "kestrel.h").write_text(c_header(manifest), encoding="ascii")
    (tmp_path / "main.c").write_text(PROGRAM)
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "-o", "main"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    out = subprocess.run([tmp_path / "main"], check=True, capture_output=True, encoding="utf-8").stdout
    w, t = manifest.weights, manifest.table
    lines = [f"random|{name}|8 5 {w.words} {t.words} {w.crc32:x} {t.crc32:x}"]
    lines += [
        f"{n} {e.name} {e.in_channels} {e.out_channels} {e.height} {e.width} {e.mask_bits} {e.shift} "
        f"{int(e.pool)} {e.rom_word} {e.rom_words}"
        for n, e in enumerate(manifest.layers)
    ]
    assert out.splitlines() == lines


def test_header_has_no_line_beyond_the_macros(exported: ExportReport) -> None:
    text = (exported.directory / "kestrel.h").read_text()
    assert text.isascii()
    assert not re.search(r"\\\n\n", text), "the last macro runs into the next line"
