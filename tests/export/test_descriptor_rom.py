"""The descriptor ROM: written, read back, part of an export, refused."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from kestrel.export.descriptor_rom import decode_descriptor, encode_descriptor
from kestrel.export.export import export_network, import_descriptor
from kestrel.export.formats.files import FORMATS, read_words, write_words
from kestrel.export.formats.words import Words
from kestrel.export.manifest import read_manifest
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DESCRIPTOR_FIELDS, DESCRIPTOR_HEADER_WORDS, DescriptorConfig
from kestrel.hw.spec.engine_config import WHITENING_ROWS, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.records import RECORD_WORDS, unpack_record
from kestrel.hw.spec.table import IDENTITY_FIELDS
from kestrel.sw.planning.geometry import Visit
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.retrieval.describe.backends import network_digest
from kestrel.sw.retrieval.describe.chip_constants import trained_constants
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, IntegerWhitening
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.verif.cases.descriptor_case import chained_constants, random_constants
from kestrel.verif.cases.random_network import random_network, stack


def same(a, b):
    for name, value in vars(a).items():
        other = getattr(b, name)
        if name in ("whitening", "following"):
            assert (value is None) == (other is None)
            if value is not None:
                same(value, other)
        elif isinstance(value, np.ndarray):
            assert np.array_equal(value, other), name
        else:
            assert value == other, name


def test_what_is_read_is_what_was_written(seed):
    source = Random(seed)
    for _ in range(60):
        channels, height, width = (source.randint(1, n) for n in (40, 9, 9))
        constants = random_constants(source, channels, height, width)
        same(constants, decode_descriptor(encode_descriptor(constants)))


@pytest.mark.parametrize("rows", WHITENING_ROWS)
def test_several_maps_lie_one_after_the_other(rows, seed):
    source = Random(seed)
    for count in (2, 3, 4):
        unit = DescriptorConfig(maps=count, matrix_rows=rows)
        sizes = [(source.randint(1, 40), source.randint(1, 9), source.randint(1, 9)) for _ in range(count)]
        constants = chained_constants(source, sizes)
        words = encode_descriptor(constants, unit)
        read = decode_descriptor(words)
        assert len(read.maps) == count
        same(constants, read)
        with pytest.raises(InputError, match=f"{count} maps; allowed: 1..{count - 1}, or --set"):
            encode_descriptor(constants, replace(unit, maps=count - 1))
        # A section that ends elsewhere than it says, or after which nothing follows, is refused.
        values = words.to_ints()
        place = next(f.word for f in DESCRIPTOR_FIELDS if f.name == "words")
        for end in (0, values[place] - 1, values[place] + 1, len(values), 1 << 20):
            changed = [*values[:place], end, *values[place + 1 :]]
            with pytest.raises(InputError, match=r"^descriptor ROM: "):
                decode_descriptor(Words.from_ints(8 * rows, changed))


def test_bits_of_a_map_before_another_fill_bytes(seed):
    source = Random(seed)
    last = random_constants(source, 5, 3, 3)
    with pytest.raises(InputError, match="12 dimensions of a map before the last; allowed: a multiple of 8"):
        replace(random_constants(source, 12, 3, 3, whitens=False), following=last)


@pytest.mark.parametrize("rows", WHITENING_ROWS)
def test_words_of_more_rows(rows, seed):
    source = Random(seed)
    nip = DescriptorConfig(matrix_rows=rows)
    for _ in range(30):
        constants = random_constants(source, source.randint(1, 40), 3, 4)
        words = encode_descriptor(constants, nip)
        assert words.word_bits == 8 * rows
        same(constants, decode_descriptor(words))


def test_a_unit_of_other_rows_than_the_engine_is_refused():
    with pytest.raises(InputError, match="matrix_rows = 8; allowed: 4, the whitening_rows of configuration"):
        ChipConfig(CONFIG, DescriptorConfig(matrix_rows=8))
    with pytest.raises(InputError, match="matrix_rows = 5; allowed: 4, 8, 16"):
        DescriptorConfig(matrix_rows=5)
    with pytest.raises(InputError, match="whitening_rows = 12; allowed: 4, 8, 16"):
        replace(CONFIG, whitening_rows=12)


def test_an_export_for_more_rows(rng, tmp_path):
    network = network_of(rng)
    constants = trained_constants(network, trained(network, rng), "train.npz", 8, 10)
    report = export_network(network, replace(CONFIG, whitening_rows=8), 8, 10, tmp_path / "rom", constants)
    entry = report.manifest.descriptor
    assert entry is not None
    assert entry.word_bits == 64
    found = import_descriptor(tmp_path / "rom")
    assert found is not None
    same(found, constants)


def test_in_every_file_format(tmp_path, seed):
    words = encode_descriptor(random_constants(Random(seed), 7, 3, 3))
    for suffix in FORMATS:
        path = tmp_path / f"descriptor.{suffix}"
        write_words(words, path)
        assert read_words(path, words.word_bits, len(words)) == words


def example():
    matrix = np.array([[1, -2], [3, -4], [127, -128]], dtype=np.int8)
    whitening = IntegerWhitening(matrix, np.array([5, -6, 0]), np.array([65535, 1, 2]))
    return DescriptorConstants(
        2, 3, 4, (GridRegion(1, 2, 2, 1), GridRegion(0, 0, 3, 4)), -5, 1 << 20, np.array([1, -1, 7]),
        whitening,
    )


def test_the_words_are_those_of_the_documentation():
    words = encode_descriptor(example()).to_ints()
    assert words[:10] == [
        0x01014B4E, 2 | 3 << 16, 3 | 4 << 16, 2, 0xFFFFFFFB, 1 << 20, 16, 20, 23, 33,
    ]  # fmt: skip
    assert words[10:16] == [0] * 6
    assert words[16:20] == [1 | 2 << 16, 2 | 1 << 16, 0, 3 | 4 << 16]
    assert words[20:23] == [1, 0xFFFFFFFF, 7]
    assert words[23:25] == [0x007F0301, 0x0080FCFE]
    assert words[25:] == [5, 65535, 6 | 1 << 31, 1, 0, 2, 0, 0]


def test_a_changed_word_that_matters_is_refused_or_read(seed):
    good = encode_descriptor(example())
    source = Random(seed)
    for _ in range(200):
        values = good.to_ints()
        values[source.randrange(len(values))] ^= 1 << source.randrange(32)
        try:
            read = decode_descriptor(Words.from_ints(32, values))
        except InputError:
            continue
        assert encode_descriptor(read).to_ints() == values


@pytest.mark.parametrize("count", [0, 10, 20, 32])
def test_an_image_that_ends_early_is_refused(count):
    values = encode_descriptor(example()).to_ints()[:count]
    if count > DESCRIPTOR_HEADER_WORDS:
        values[next(f.word for f in DESCRIPTOR_FIELDS if f.name == "words")] = count
    with pytest.raises(InputError, match="descriptor ROM"):
        decode_descriptor(Words.from_ints(32, values))


@pytest.mark.parametrize(
    ("nip", "message"),
    [
        (DescriptorConfig(channels=2), "3 channels or dimensions; allowed: 1..2"),
        (DescriptorConfig(whitening=False), "with whitening"),
        (DescriptorConfig(rom_words=32), "of 33 words; allowed: 1..32"),
    ],
)
def test_a_unit_that_cannot_hold_it_is_refused(nip, message):
    with pytest.raises(InputError, match=message):
        encode_descriptor(example(), nip)


# --------------------------------------------------------------------------------------------------------
# As part of an export
# --------------------------------------------------------------------------------------------------------

CONFIG = EngineConfig(
    name="test", input_lanes=2, output_lanes=2, activation_bits=8, load_kernels=1, partial_depth=64,
    max_width=16, feature_words=(256, 256), weight_words=1 << 16, table_words=512, stream_bytes=1,
)  # fmt: skip


def network_of(rng):
    return random_network(rng, stack((3, 5, 4), pools=[0]), (5, 3))


def trained(of, rng, **changes):
    settings = DescriptorSettings(
        network_digest(of), "integer", 8, 10, "caffe", "whole", NipSettings(levels=(1, 2)).text, 1, ""
    )
    vectors = np.abs(rng.normal(size=(30, 4))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Descriptors(replace(settings, **changes), tuple(map(str, range(30))), vectors)


def test_an_export_holds_it(rng, tmp_path):
    network = network_of(rng)
    constants = trained_constants(network, trained(network, rng), "train.npz", 8, 10)
    assert (constants.channels, constants.height, constants.width) == (4, 4, 5)
    report = export_network(network, CONFIG, 8, 10, tmp_path / "rom", constants)
    entry = report.manifest.descriptor
    assert entry is not None
    assert entry.crc32 == encode_descriptor(constants).crc32
    assert {f"descriptor.{suffix}" for suffix in FORMATS} <= {path.name for path in report.files}
    assert read_manifest(tmp_path / "rom") == report.manifest
    found = import_descriptor(tmp_path / "rom")
    assert found is not None
    same(found, constants)
    table = read_words(tmp_path / "rom" / "table.bin", 32, report.manifest.table.words).to_ints()
    assert unpack_record(IDENTITY_FIELDS, table[:RECORD_WORDS])["descriptor_crc"] == entry.crc32
    header = (tmp_path / "rom" / "kestrel.h").read_text()
    assert f"0x{entry.crc32:08X}UL" in header
    assert "KESTREL_DESCRIPTOR_WORDS" in header
    path = tmp_path / "rom" / "descriptor.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match=r"descriptor\.bin"):
        import_descriptor(tmp_path / "rom")


def test_an_export_without_has_none(rng, tmp_path):
    export_network(network_of(rng), CONFIG, 8, 10, tmp_path / "rom")
    assert import_descriptor(tmp_path / "rom") is None


def test_constants_of_another_map_are_refused(rng, tmp_path):
    network = network_of(rng)
    constants = trained_constants(network, trained(network, rng), "train.npz", 8, 10)
    with pytest.raises(InputError, match=r"allowed: \[\[4, 5, 5\]\]"):
        export_network(network, CONFIG, 10, 10, tmp_path / "rom", constants)
    assert not (tmp_path / "rom").exists()


def test_a_last_map_that_is_not_whole_in_memory_is_refused(rng, tmp_path, monkeypatch):
    """Plans as they are made send the last map at once; one that sends it row by row is not for a
    descriptor."""

    def by_rows(*arguments, **options):
        plan = make_plan(*arguments, **options)
        last = plan.visits[-1]
        rows = [Visit(last.record, row, 1) for row in range(last.rows)]
        return replace(plan, visits=(*plan.visits[:-1], *rows))

    network = network_of(rng)
    constants = trained_constants(network, trained(network, rng), "train.npz", 8, 10)
    monkeypatch.setattr("kestrel.export.export.make_plan", by_rows)
    with pytest.raises(InputError, match="does not lie whole"):
        export_network(network, CONFIG, 8, 10, tmp_path / "rom", constants)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "other"}, "network is 'other'"),
        ({"arithmetic": "float"}, "arithmetic is 'float'"),
        ({"height": 9}, "height is 9; allowed: 8"),
        ({"whitening": "abc"}, "whitening is 'abc'"),
        ({"crops": "mosaic:2x3"}, "no mosaic"),
        ({"crops": "whole*2"}, "no weights"),
        ({"pooling": NipSettings(moment="max").text}, "allowed on the chip"),
        ({"pooling": "anything"}, "as describe writes it"),
    ],
)
def test_descriptors_of_another_kind_are_refused(changes, message, rng):
    network = network_of(rng)
    with pytest.raises(InputError, match=message):
        trained_constants(network, trained(network, rng, **changes), "train.npz", 8, 10)
