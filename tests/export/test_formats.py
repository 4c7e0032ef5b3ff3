"""Image files: each format reads back what it wrote, agrees with its specification, refuses damage."""

import re
from pathlib import Path

import numpy as np
import pytest

from kestrel.export.formats.files import FORMATS, read_words, write_words
from kestrel.export.formats.intel_hex import DATA, END, EXTENDED_LINEAR_ADDRESS, record
from kestrel.export.formats.words import Words
from kestrel.hw.spec.errors import InputError


def random_words(rng: np.random.Generator, word_bits: int, count: int) -> Words:
    return Words(word_bits, rng.bytes(count * word_bits // 8))


@pytest.mark.parametrize("count", [1, 2, 31, 300])
@pytest.mark.parametrize("word_bits", [32, 64, 192, 256])
@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(
    suffix: str, word_bits: int, count: int, rng: np.random.Generator, tmp_path: Path
) -> None:
    words = random_words(rng, word_bits, count)
    path = tmp_path / f"image.{suffix}"
    write_words(words, path)
    assert read_words(path, word_bits, count) == words


def test_hex_crosses_64_kib(rng: np.random.Generator, tmp_path: Path) -> None:
    words = random_words(rng, 256, 2 * 2048 + 5)
    path = tmp_path / "image.hex"
    write_words(words, path)
    lines = path.read_text().splitlines()
    assert [line for line in lines if line[7:9] == "04"] == [
        ":020000040000FA", ":020000040001F9", ":020000040002F8",
    ]  # fmt: skip
    assert read_words(path, 256, len(words)) == words


def test_hex_records_by_hand() -> None:
    """Worked on paper: the bytes of a record and its checksum add up to a multiple of 256."""
    # 03 + 00 + 30 + 00 + 02 + 33 + 7A = E2, and 100 - E2 = 1E.
    assert record(DATA, 0x0030, bytes((0x02, 0x33, 0x7A))) == ":0300300002337A1E"
    # 02 + 04 + FF + FF = 204, and 100 - 04 = FC.
    assert record(EXTENDED_LINEAR_ADDRESS, 0, b"\xff\xff") == ":02000004FFFFFC"
    assert record(END, 0, b"") == ":00000001FF"


def test_contents(tmp_path: Path) -> None:
    """What each format looks like, for two words of 32 bits."""
    words = Words.from_ints(32, [0x0123ABCD, 0xF])
    expected = {
        "mem": "0123abcd\n0000000f\n",
        "bin": b"\xcd\xab\x23\x01\x0f\x00\x00\x00".decode("latin-1"),
        # 08 + CD + AB + 23 + 01 + 0F = 1B3, and 100 - B3 = 4D.
        "hex": ":020000040000FA\n:08000000CDAB23010F0000004D\n:00000001FF\n",
        "coe": "memory_initialization_radix=16;\nmemory_initialization_vector=\n0123abcd,\n0000000f;\n",
        "mif": (
            "WIDTH=32;\nDEPTH=2;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n"
            "0 : 0123abcd;\n1 : 0000000f;\nEND;\n"
        ),
    }
    assert expected.keys() == FORMATS.keys()
    for suffix, text in expected.items():
        path = tmp_path / f"image.{suffix}"
        write_words(words, path)
        assert path.read_bytes().decode("latin-1") == text


def damaged(tmp_path: Path, suffix: str, old: str, new: str) -> Path:
    """A file of four words in which a text is replaced."""
    path = tmp_path / f"image.{suffix}"
    write_words(Words.from_ints(32, [0x11111111, 0x22222222, 0x33333333, 0x44444444]), path)
    text = path.read_bytes().decode("latin-1")
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("latin-1"))
    return path


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        ("mem", "44444444\n", "", ":3: the file ends after 3 words; allowed: 4"),
        ("mem", "44444444\n", "4444", ":4: the file ends within a line; allowed: whole lines"),
        ("mem", "2222222", "222222g", ":2: '222222g2'; allowed: a word of 8 hexadecimal digits"),
        ("mem", "22222222", "2222222", ":2: '2222222'; allowed: a word of 8 hexadecimal digits"),
        ("mem", "22222222", "é2222222", ":2: a byte that is not ASCII; allowed: text"),
        ("mem", "44444444", "44444444\n55555555", ":5: the file ends after 5 words; allowed: 4"),
        ("bin", "DDDD", "DDD", ": 15 bytes; allowed: 16, 4 words of 32 bits"),
        ("bin", "DDDD", "DDDDD", ": 17 bytes; allowed: 16, 4 words of 32 bits"),
        ("hex", ":00000001FF\n", "", ":3: no end record; the file is truncated"),
        ("hex", "2222", "2322", ":2: checksum 48; allowed: 47"),
        ("hex", ":1000", ";1000", ":2: not a record of ':' and pairs of hexadecimal digits"),
        ("hex", "2222", "222", ":2: not a record of ':' and pairs of hexadecimal digits"),
        ("hex", ":10000000", ":10001000", ":2: checksum 48; allowed: 38"),
        ("hex", ":020000040000FA", ":020000040001F9", ":2: address 0x00010000; allowed: 0x00000000"),
        ("hex", ":020000040000FA", ":020000021000EC", ":1: record type 02 of 2 bytes; allowed: 00, 01, 04"),
        ("hex", ":020000040000FA", ":030000040000F9", ":1: 2 data bytes; allowed: 3, its length byte"),
        ("hex", ":020000040000FA", ":0000", ":1: record of 2 bytes; allowed: at least 5"),
        ("hex", "01FF\n", "01FF\n:00000001FF\n", ":4: a record after the end record; allowed: none"),
        ("coe", "radix=16", "radix=2", ":1: 'memory_initialization_radix=2;'; allowed: 'memory_init"),
        ("coe", "44444444;\n", "", ":5: '33333333,'; allowed: a last word that ends with ';'"),
        ("coe", "11111111,\n", "", ":5: the file ends after 3 words; allowed: 4"),
        ("coe", "22222222,", "22222222;", ":4: '22222222;'; allowed: a word of 8"),
        ("mif", "END;\n", "", ":9: '3 : 44444444;'; allowed: a last line 'END;'"),
        ("mif", "WIDTH=32", "WIDTH=16", ":1: 'WIDTH=16;'; allowed: 'WIDTH=32;'"),
        ("mif", "DEPTH=4", "DEPTH=5", ":2: 'DEPTH=5;'; allowed: 'DEPTH=4;'"),
        ("mif", "1 : 2222", "2 : 2222", ":7: '2 : 22222222;'; allowed: address 1"),
        ("mif", "22222222;", "22222222", ":7: '1 : 22222222'; allowed: a word of 8"),
        ("mif", "3 : 44444444;\n", "", ":8: the file ends after 3 words; allowed: 4"),
    ],
)
def test_refuses_damage(suffix: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    path = damaged(tmp_path, suffix, old, new)
    with pytest.raises(InputError, match=re.escape(f"{path}{message}")) as caught:
        read_words(path, 32, 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_truncation_is_refused(suffix: str, tmp_path: Path) -> None:
    """Wherever a file is cut off, it is not taken for a whole one."""
    path = tmp_path / f"image.{suffix}"
    write_words(Words.from_ints(32, [1, 2, 3]), path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if suffix == "hex" and length == len(whole) - 1:
            assert read_words(path, 32, 3).to_ints() == [1, 2, 3]  # only the last line's end is lost
            continue
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_words(path, 32, 3)


def test_refuses_unknown_formats_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image.txt: format '.txt'; allowed: .mem, .bin, .hex, .coe, .mif"):
        read_words(tmp_path / "image.txt", 32, 1)
    with pytest.raises(InputError, match=r"image.mem: cannot be read: No such file"):
        read_words(tmp_path / "image.mem", 32, 1)


def test_words() -> None:
    words = Words.from_ints(64, [1, 0xFFFF_FFFF_0000_0000])
    assert (len(words), words.to_hex()) == (2, ["0000000000000001", "ffffffff00000000"])
    assert Words.from_hex(64, words.to_hex()) == words
    # The check value that every catalogue of CRCs gives for this one.
    assert Words(8, b"123456789").crc32 == 0xCBF43926
    with pytest.raises(ValueError, match="word_bits = 12; allowed: a multiple of 8"):
        Words(12, b"")
    with pytest.raises(ValueError, match="5 bytes are not whole words of 4 bytes"):
        Words(32, b"12345")
