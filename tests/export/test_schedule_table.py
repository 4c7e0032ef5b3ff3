"""The schedule table says what the plan says, in the fields of the format."""

import numpy as np
import pytest

from kestrel.export.schedule_table import encode_table
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.records import RECORD_WORDS, VISIT_WORDS, unpack_record
from kestrel.hw.spec.table import (
    HEADER_FIELDS,
    KIND_CONV,
    KIND_END,
    KIND_INPUT,
    KIND_OUTPUT,
    LAYER_FIELDS,
    TABLE_MAGIC,
    VISIT_FIELDS,
)
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_network import random_network, stack

CONFIG = EngineConfig(
    name="test", input_lanes=2, output_lanes=4, activation_bits=8, load_kernels=1, partial_depth=32,
    max_width=16, feature_words=(256, 256), weight_words=1 << 16, table_words=512, stream_bytes=1,
)  # fmt: skip


def records(words: list[int]) -> tuple[dict[str, int], list[dict[str, int]], list[dict[str, int]]]:
    """Header, layer records (numbered from 1 in the visits), visits including the end."""
    header = unpack_record(HEADER_FIELDS, words[:RECORD_WORDS])
    base = header["visits_base"]
    layers = [
        unpack_record(LAYER_FIELDS, words[k : k + RECORD_WORDS])
        for k in range(RECORD_WORDS, base, RECORD_WORDS)
    ]
    visits = [
        unpack_record(VISIT_FIELDS, words[k : k + VISIT_WORDS]) for k in range(base, len(words), VISIT_WORDS)
    ]
    return header, layers, visits


def test_table(rng: np.random.Generator) -> None:
    """3 -> 5 channels with a pool and 4-bit masks, then 5 -> 6, an image of 10 x 7, by hand."""
    network = random_network(rng, stack((3, 5, 6), pools=[0]), (4, 1), pad=(1, 2, 3), activation_bits=6)
    header, layers, visits = records(encode_table(make_plan(network, CONFIG, 10, 7)).to_ints())
    assert header == {
        "magic": TABLE_MAGIC, "version": 1, "activation_bits": 6, "input_lanes": 2, "output_lanes": 4,
        "load_kernels": 1, "mask_bits": 4, "visits_base": 5 * RECORD_WORDS,
    }  # fmt: skip
    image, first, second, output = layers
    # A word has 4 lanes: the image takes one word a pixel, in part 0; 10 rows in 3 banks are 4 slots.
    assert (image["in_groups"], image["last_in_lanes"], image["read_part"]) == (1, 3, 1)
    assert (image["write_base"], image["write_end"], image["write_stride"]) == (0, 4 * 7, 7)
    assert first == {
        "height": 10, "width": 7, "in_groups": 2, "out_groups": 2, "last_in_lanes": 1, "last_out_lanes": 1,
        "mask_bits": 4, "passes": 2, "shift": network.layers[0].shift, "pool": 1, "has_pad": 1,
        "read_part": 0, "row_groups": 0, "weight_base": 0, "read_base": 0, "read_end": 28, "read_stride": 7,
        # 5 rows of 3 pixels, two words each
        "write_base": 0, "write_end": 2 * 6, "write_stride": 6, "out_width": 3,
    }  # fmt: skip
    assert (second["height"], second["width"], second["in_groups"], second["last_in_lanes"]) == (5, 3, 3, 1)
    assert (second["pool"], second["has_pad"], second["read_part"], second["passes"]) == (0, 0, 1, 1)
    # Tiles of the first layer, in 64-bit words: 2 pads, 8 kernels of 44 bits: 368 bits, 6 words; then 1 pad,
    # 4 kernels, 4 biases: 232, 4; then one output channel: 2 pads, 2 kernels: 104, 2; 1, 1 and 1 bias: 64, 1.
    assert second["weight_base"] == 6 + 4 + 2 + 1
    assert (output["height"], output["width"], output["in_groups"], output["last_in_lanes"]) == (5, 3, 2, 2)
    assert (output["read_base"], output["read_end"], output["read_part"]) == (0, 12, 0)

    assert [v["kind"] for v in visits] == [KIND_INPUT, *[KIND_CONV] * 4, KIND_OUTPUT, KIND_END]
    assert [v["layer"] for v in visits] == [1, 2, 2, 2, 3, 4, 0]
    assert [v["new_layer"] for v in visits] == [1, 1, 0, 0, 1, 1, 0]
    assert [(v["first_row"], v["rows"]) for v in visits] == [
        (0, 10), (0, 4), (4, 4), (8, 2), (0, 5), (0, 5), (0, 0),
    ]  # fmt: skip
    # Row -1 precedes row 0: bank 2, the last slot. Row 3 is in bank 0, slot 1; row 7 in bank 1, slot 2.
    assert [(v["read_bank"], v["read_slot"]) for v in visits[1:4]] == [(2, 21), (0, 7), (1, 14)]
    # What is written there: rows 0, 2 and 4 of the pooled map.
    assert [(v["write_bank"], v["write_slot"]) for v in visits[1:4]] == [(0, 0), (2, 0), (1, 6)]
    assert (visits[5]["read_bank"], visits[5]["read_slot"]) == (0, 0)


@pytest.mark.parametrize(("height", "triples", "last"), [(7, 3, 1), (8, 3, 2), (9, 3, 3)])
def test_row_groups(height: int, triples: int, last: int, rng: np.random.Generator) -> None:
    """One channel in groups of one lane: rows of three, the image's from the row above the first on."""
    network = random_network(rng, stack((1, 5, 2)), 3)
    engine = CONFIG.with_options(input_lanes=4, row_groups=True)
    header, layers, visits = records(encode_table(make_plan(network, engine, height, 7)).to_ints())
    assert header["version"] == 2
    image, first, second, _ = layers
    assert [layer["row_groups"] for layer in layers] == [last, last, 0, 0]
    assert (image["height"], first["height"], second["height"]) == (height, triples, height)
    assert (image["last_in_lanes"], first["in_groups"], first["last_in_lanes"]) == (1, 1, 3)
    # The last virtual row is the one below the image.
    assert image["write_end"] == (height // 3 + 1) * 7
    assert (visits[0]["write_bank"], visits[0]["write_slot"]) == (2, height // 3 * 7)
    assert [(v["first_row"], v["rows"], v["read_bank"], v["read_slot"]) for v in visits[1:2]] == [
        (0, triples, 0, 0)
    ]  # fmt: skip
    assert visits[1]["write_bank"] == 0


def test_refuses_too_long_a_schedule(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((1, 1, 1)), 1)
    plan = make_plan(network, CONFIG.with_options(table_words=99), 4, 4)
    with pytest.raises(
        InputError,
        match=r"the schedule takes 100 table words \(4 layer records, 4 visits\); "
        r"configuration 'test' has table_words = 99",
    ):
        encode_table(plan)


def test_refuses_too_many_layers(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((1,) * 255), 1)
    plan = make_plan(network, CONFIG.with_options(table_words=1 << 16), 1, 1)
    with pytest.raises(InputError, match=r"the schedule has 256 layer records, .* allowed: 255"):
        encode_table(plan)
