from random import Random

import numpy as np
import pytest

from export.descriptor import decode_descriptor, encode_descriptor
from export.formats import FORMATS, read_words, write_words
from export.words import Words
from hw.spec import DESCRIPTOR_FIELDS, DESCRIPTOR_HEADER_WORDS, InputError, NipConfig
from sw.retrieval.integer_nip import DescriptorConstants, IntegerWhitening
from sw.retrieval.rois import Region
from verif.models.nip_case import random_constants


def same(a, b):
    for name, value in vars(a).items():
        other = getattr(b, name)
        if name == "whitening":
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
        constants = random_constants(source, *(source.randint(1, n) for n in (40, 9, 9)))
        same(constants, decode_descriptor(encode_descriptor(constants)))


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
        2, 3, 4, (Region(1, 2, 2, 1), Region(0, 0, 3, 4)), -5, 1 << 20, np.array([1, -1, 7]), whitening
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
        (NipConfig(channels=2), "3 channels or dimensions; allowed: 1..2"),
        (NipConfig(whitening=False), "with whitening"),
        (NipConfig(rom_words=32), "of 33 words; allowed: 1..32"),
    ],
)
def test_a_unit_that_cannot_hold_it_is_refused(nip, message):
    with pytest.raises(InputError, match=message):
        encode_descriptor(example(), nip)
