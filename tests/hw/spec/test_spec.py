"""The format's description: codes, digits, records, the configuration's checks."""

import pytest

from kestrel.hw.compute.kernel_decoder import digit_table
from kestrel.hw.spec.configurations import NAMED, config_text, load_config
from kestrel.hw.spec.engine_config import MASK_BITS_MAX, EngineConfig, tap_sum_bits
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import (
    DIGIT_MAGNITUDES,
    MASK_BITS,
    MASK_MAGNITUDES,
    PASSES,
    decode_digit,
    decode_mask,
    encode_digit,
    encode_mask,
    mask_digits,
    mask_values,
)
from kestrel.hw.spec.records import RECORD_WORDS, VISIT_WORDS, pack_record, unpack_record
from kestrel.hw.spec.table import LAYER_FIELDS, VISIT_FIELDS
from kestrel.hw.spec.widths import ROM_BITS_PER_KERNEL, kernel_bits


@pytest.mark.parametrize("bits", MASK_BITS)
def test_every_mask_value_has_one_code(bits):
    values = mask_values(bits)
    codes = [encode_mask(value, bits) for value in values]
    assert len(set(codes)) == len(values)
    assert all(0 <= code < 1 << bits for code in codes)
    assert [decode_mask(code, bits) for code in codes] == list(values)


@pytest.mark.parametrize("bits", [b for b in MASK_BITS if b > 1])
def test_minus_zero_decodes_to_zero_and_is_never_written(bits):
    minus_zero = 1 << (bits - 1)
    assert decode_mask(minus_zero, bits) == 0
    assert encode_mask(0, bits) == 0


def test_mask_values_are_those_of_the_arithmetic():
    assert mask_values(1) == (-1, 1)
    assert mask_values(2) == (-1, 0, 1)
    assert mask_values(3) == (-4, -2, -1, 0, 1, 2, 4)
    assert mask_values(4) == tuple(range(-7, 8))
    assert mask_values(5) == tuple(range(-15, 16))


@pytest.mark.parametrize("bits", MASK_BITS)
def test_digits_add_up_to_the_magnitude(bits):
    for magnitude in MASK_MAGNITUDES[bits]:
        digits = mask_digits(magnitude, PASSES[bits])
        assert sum(digit << p for p, digit in enumerate(digits)) == magnitude
        assert all(abs(digit) in DIGIT_MAGNITUDES for digit in digits)


def test_the_digits_are_those_written_down():
    """Lowest digit first."""
    two = ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (-1, 4))
    assert [mask_digits(magnitude, 2) for magnitude in range(8)] == [*two]
    three = (
        (0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (-1, 0, 2),
        (0, 0, 2), (1, 0, 2), (0, 1, 2), (1, 1, 2), (0, 2, 2), (1, 2, 2), (0, -1, 4), (-1, 0, 4),
    )  # fmt: skip
    assert [mask_digits(magnitude, 3) for magnitude in range(16)] == [*three]


def test_the_digit_codes_are_those_written_down():
    """What the decoder puts into a weight register, by mask code: 1, 2, 4 as 1, 2, 3, negative as 5, 6, 7."""
    assert digit_table(1, 0, 3) == [1, 5]
    assert digit_table(2, 0, 3) == [0, 1, 0, 5]
    assert digit_table(3, 0, 3) == [0, 1, 2, 3, 0, 5, 6, 7]
    assert digit_table(4, 0, 3) == [0, 1, 0, 1, 0, 1, 2, 5, 0, 5, 0, 5, 0, 5, 6, 1]
    assert digit_table(4, 1, 3) == [0, 0, 1, 1, 2, 2, 2, 3, 0, 0, 5, 5, 6, 6, 6, 7]
    positive = {
        0: [0, 1, 0, 1, 0, 1, 0, 5, 0, 1, 0, 1, 0, 1, 0, 5],
        1: [0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 2, 2, 5, 0],
        2: [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3],
    }
    for digit, codes in positive.items():
        negative = [code and code ^ 4 for code in codes]
        assert digit_table(5, digit, 3) == codes + negative


def test_a_magnitude_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="magnitude 15 has no form in 1 digits"):
        mask_digits(15, 1)


def test_digit_codes_come_back():
    digits = [sign * m for m in DIGIT_MAGNITUDES for sign in (1, -1)]
    assert [decode_digit(encode_digit(d)) for d in digits] == digits


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_narrow_digit_codes_come_back(bits):
    digits = mask_values(bits)
    assert [decode_digit(encode_digit(d, bits), bits) for d in digits] == list(digits)
    with pytest.raises(ValueError, match="mask value 3 has no"):
        encode_digit(3, bits)


def test_widths_that_follow_from_the_widest_masks():
    configs = [NAMED["nano"].with_options(mask_bits_max=bits) for bits in MASK_BITS_MAX]
    assert [config.digit_bits for config in configs] == [1, 2, 3, 3]
    assert [config.passes_max for config in configs] == [1, 1, 1, 3]
    # 9 * 255 = 2295 and 9 * 4 * 255 = 9180, with a sign.
    assert [tap_sum_bits(config) for config in configs] == [13, 13, 15, 15]


def test_stored_bits_of_a_kernel():
    assert [kernel_bits(b) for b in MASK_BITS] == [17, 26, 35, 44, 53]
    assert kernel_bits(max(MASK_BITS)) <= ROM_BITS_PER_KERNEL


@pytest.mark.parametrize(("layout", "words"), [(LAYER_FIELDS, RECORD_WORDS), (VISIT_FIELDS, VISIT_WORDS)])
def test_fields_do_not_overlap_and_come_back(layout, words):
    full = {field.name: field.max for field in layout}
    record = pack_record(layout, words, full)
    assert unpack_record(layout, record) == full
    assert sum(word.bit_count() for word in record) == sum(field.width for field in layout)


def test_a_value_too_large_for_its_field_is_refused():
    values = dict.fromkeys((field.name for field in VISIT_FIELDS), 0)
    with pytest.raises(ValueError, match=r"rows = 65536 does not fit 16 bits"):
        pack_record(VISIT_FIELDS, VISIT_WORDS, values | {"rows": 1 << 16})


def test_named_configurations_are_what_they_say():
    lanes = {name: (c.input_lanes, c.output_lanes) for name, c in NAMED.items()}
    assert lanes == {"nano": (2, 2), "edge": (16, 16), "asic": (32, 32)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_lanes": 0}, r"input_lanes = 0; allowed: 1\.\.128"),
        ({"input_lanes": 2.5}, r"input_lanes = 2\.5; allowed"),
        ({"activation_bits": 3}, r"activation_bits = 3; allowed: 4\.\.8"),
        ({"input_lanes": 6, "output_lanes": 4, "load_kernels": 1}, "6 x 4 lanes; allowed"),
        ({"load_kernels": 3}, r"load_kernels = 3; allowed: 1\.\.2"),
        ({"max_width": 257}, r"max_width = 257; allowed: 3\.\.256"),
        ({"feature_words": (1, 100)}, r"feature_words\[0\] = 1; allowed"),
        ({"feature_words": 100}, "feature_words = 100; allowed: two word counts"),
        ({"stream_bytes": 3}, r"stream_bytes = 3; allowed: 1\.\.2"),
        ({"mask_bits_max": 4}, "mask_bits_max = 4; allowed: 1, 2, 3, 5"),
        ({"mask_bits_max": True}, "mask_bits_max = True; allowed: 1, 2, 3, 5"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"row_groups": 1}, "row_groups = 1; allowed: true, false"),
        ({"row_groups": True}, "row_groups with input_lanes = 2; allowed: with 3 or more"),
        ({"descriptor_channels": 48}, r"descriptor_channels = 48; allowed: a power of two, 2\.\.512"),
        ({"descriptor_channels": 1}, r"descriptor_channels = 1; allowed: 2\.\.512"),
        ({"descriptor_words": 31}, r"descriptor_words = 31; allowed: 32\.\.1048576"),
        ({"descriptor_words": False}, r"descriptor_words = False; allowed: 32\.\."),
        ({"descriptor_whitening": 1}, "descriptor_whitening = 1; allowed: true, false"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        NAMED["nano"].with_options(**options)


@pytest.mark.parametrize(
    ("lanes", "group"), [(1, 0), (2, 0), (3, 1), (6, 2), (11, 2), (12, 4), (16, 4), (32, 8), (128, 32)],
)
def test_row_groups_are_powers_of_two_of_which_there_are_three(lanes, group):
    config = NAMED["nano"].with_options(input_lanes=lanes, output_lanes=lanes)
    assert config.group_lanes == group
    assert 3 * group <= lanes


def test_a_toml_file_gives_a_configuration(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "nano"\ninput_lanes = 4\noutput_lanes = 4\nfeature_words = [100, 200]\n')
    config = load_config(str(path))
    assert isinstance(config, EngineConfig)
    assert (config.name, config.input_lanes, config.feature_words) == ("mine", 4, (100, 200))
    assert config.partial_depth == NAMED["nano"].partial_depth


@pytest.mark.parametrize("name", NAMED)
def test_a_configuration_as_text_is_read_back(name, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(config_text(NAMED[name]), encoding="utf-8")
    assert load_config(str(path)) == NAMED[name]
