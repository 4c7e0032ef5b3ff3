"""Fitted memories: they hold the network, no frame is slower, and none can be a word smaller."""

from random import Random

import numpy as np
import pytest

from kestrel.cli.options.config import chosen_config
from kestrel.export.descriptor_rom import encode_descriptor, fit_descriptor
from kestrel.export.schedule_table import encode_table
from kestrel.export.weight_rom import encode_weights
from kestrel.hw.spec.configurations import NAMED, load_config
from kestrel.hw.spec.descriptor import DescriptorConfig, descriptor_unit
from kestrel.hw.spec.engine_config import (
    DESCRIPTOR_WORDS_MIN,
    FEATURE_WORDS_MIN,
    MAX_WIDTH_MIN,
    PARTIAL_DEPTH_MIN,
    TABLE_WORDS_MIN,
    WEIGHT_WORDS_MIN,
    WHITENING_ROWS,
)
from kestrel.hw.spec.errors import InputError
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.fit import FittedConfig, fit_memories
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.planning.proof import check_plan
from kestrel.verif.cases.descriptor_case import random_constants
from kestrel.verif.cases.random_graph import lane_channels, random_graph
from kestrel.verif.cases.random_network import random_network, stack

NANO = NAMED["nano"]
LANES = ((1, 1), (2, 2), (4, 2), (2, 4), (3, 3), (6, 2), (12, 3))
DRAWS = 40


def drawn(rng):
    """A random network, size and configuration that holds it; half of the time one that must go depth
    first."""
    lanes = LANES[rng.integers(len(LANES))]
    config = NANO.with_options(
        input_lanes=lanes[0], output_lanes=lanes[1], row_groups=bool(lanes[0] >= 3 and rng.random() < 0.5),
        partial_depth=int(rng.integers(64, 300)), max_width=40,
    )  # fmt: skip
    count = int(rng.integers(1, 5))
    height, width = (int(n) for n in rng.integers(1, 33, 2))
    pools = [n for n in range(count) if min(height, width) >= 2 ** (n + 1) and rng.random() < 0.4]
    channels = [int(n) for n in rng.integers(1, 10, count + 1)]
    network = random_network(rng, stack(channels, pools), [int(b) for b in rng.integers(1, 6, count)])
    if rng.random() < 0.5:
        whole = make_plan(network, config, height, width).feature_words
        share = rng.uniform(0.3, 1)
        tight = config.with_options(feature_words=tuple(max(2, int(share * words)) for words in whole))
        if cycles_of(network, tight, height, width) is not None:
            config = tight
    return network, config, height, width


def cycles_of(network, config, height, width):
    """Of a frame, None if it is refused."""
    try:
        plan = make_plan(network, config, height, width)
        encode_table(plan)
        encode_weights(network, config)
    except InputError:
        return None
    return frame_cycles(plan).total


def one_word_less(config):
    """Every configuration with a single memory a word smaller, as far as such a one may be."""
    for name, least in (("weight_words", WEIGHT_WORDS_MIN), ("table_words", TABLE_WORDS_MIN),
                        ("max_width", MAX_WIDTH_MIN),
                        ("partial_depth", max(PARTIAL_DEPTH_MIN, config.max_width))):
        if getattr(config, name) > least:
            yield config.with_options(**{name: getattr(config, name) - 1})
    for part in (0, 1):
        words = list(config.feature_words)
        words[part] -= 1
        if words[part] >= FEATURE_WORDS_MIN:
            yield config.with_options(feature_words=tuple(words))


def test_random_networks_fit_and_nothing_is_left_over(rng):
    for _ in range(DRAWS):
        network, config, height, width = drawn(rng)
        fitted = fit_memories(network, config, height, width)
        what = f"{network}, {height} x {width}, {config} -> {fitted}"
        cycles = cycles_of(network, config, height, width)
        check_plan(make_plan(network, fitted, height, width))
        found = cycles_of(network, fitted, height, width)
        assert found is not None, what
        assert cycles is not None, what
        assert found <= cycles, what
        assert fitted.partial_depth <= config.partial_depth, what
        assert all(np.less_equal(fitted.feature_words, config.feature_words)), what
        for smaller in one_word_less(fitted):
            less = cycles_of(network, smaller, height, width)
            assert less is None or less > cycles, f"{smaller} does as well: {what}"
        assert fit_memories(network, fitted, height, width) == fitted, what


def test_graphs_get_the_option_and_nothing_is_left_over(rng):
    """Half of the time with an image in blocks; a 3x3 pooling decides the widest row."""
    base = NANO.with_options(partial_depth=160, max_width=40)
    option = base.with_options(residual=True)
    for number in range(6):
        network = random_graph(rng, int(rng.integers(2, 6)), lane_channels(2), blocks=number % 2 == 1)
        if network.is_plain:
            continue
        height, width = (int(n) for n in rng.integers(16, 25, 2))
        fitted = fit_memories(network, base, height, width)
        assert fitted.residual
        assert fit_memories(network, option, height, width) == fitted
        cycles = cycles_of(network, option, height, width)
        what = f"{network}, {height} x {width} -> {fitted}"
        check_plan(make_plan(network, fitted, height, width))
        found = cycles_of(network, fitted, height, width)
        assert cycles is not None, what
        assert found is not None, what
        assert found <= cycles, what
        for smaller in one_word_less(fitted):
            less = cycles_of(network, smaller, height, width)
            assert less is None or less > cycles, f"{smaller} does as well: {what}"


def test_stacks_get_no_option_that_was_not_asked_for(rng):
    network = random_network(rng, stack((3, 4, 5)), 3)
    assert not fit_memories(network, NANO, 8, 8).residual
    assert fit_memories(network, NANO.with_options(residual=True), 8, 8).residual


def test_nothing_but_memories_changes(rng):
    network, config, height, width = drawn(rng)
    fitted = fit_memories(network, config, height, width)
    memories = ("partial_depth", "max_width", "feature_words", "weight_words", "table_words")
    assert fitted.with_options(**{name: getattr(config, name) for name in memories}) == config


def test_roms_and_rows_grow_where_the_network_asks_for_more(rng):
    network = random_network(rng, stack((3, 9, 9)), 3)
    small = NANO.with_options(weight_words=8, table_words=32, max_width=4)
    fitted = fit_memories(network, small, 10, 20)
    assert fitted == fit_memories(network, NANO, 10, 20)
    assert fitted.max_width == 20
    assert fitted.weight_words > small.weight_words


@pytest.mark.parametrize(("options", "message"), [
    ({"feature_words": (8, 8)}, r"words a bank in feature parts .*; allowed: --set feature_words="),
    ({"partial_depth": 10, "max_width": 10},
     r"width 1\.\.10; allowed: --set max_width=20 --set partial_depth=40"),
    ({"activation_bits": 7}, "8 activation bits.*; allowed: --set activation_bits=8"),
    ({"mask_bits_max": 2}, "3 mask bits.*; allowed: --set mask_bits_max=3"),
])
def test_a_configuration_that_cannot_hold_it_is_refused(options, message, rng):
    network = random_network(rng, stack((3, 9, 9)), 3)
    with pytest.raises(InputError, match=message):
        fit_memories(network, NANO.with_options(**options), 10, 20)


@pytest.mark.parametrize(("channels", "size", "message"), [
    ((3, 9, 10), (10, 20), "words of weight ROM; configuration 'nano' has .*; allowed: --set weight_words="),
    ((3, 9, 9), (10, 21), "width 1..20; allowed: --set max_width=21"),
    ((3, 9, 9), (16, 20), r"words a bank in feature parts .*; allowed: --set feature_words="),
])
def test_another_network_or_size_is_refused_with_the_remedy(channels, size, message, rng):
    fitted = fit_memories(random_network(rng, stack((3, 9, 9)), 3), NANO, 10, 20)
    with pytest.raises(InputError, match=message):
        make_plan(random_network(rng, stack(channels), 3), fitted, *size)


def test_a_longer_schedule_is_refused_with_the_remedy(rng):
    fitted = fit_memories(random_network(rng, stack((3, 4)), 3), NANO, 8, 8)
    plan = make_plan(random_network(rng, stack((3, 1, 1)), 1), fitted, 8, 8)
    with pytest.raises(InputError, match=r"schedule takes .*; allowed: --set table_words="):
        encode_table(plan)


@pytest.mark.parametrize("rows", WHITENING_ROWS)
def test_a_descriptor_unit_has_what_the_constants_need(rows, rng, seed):
    source = Random(seed)
    config = NANO.with_options(whitening_rows=rows)
    for _ in range(30):
        constants = random_constants(source, source.randint(1, 70), 5, 6)
        fitted = fit_descriptor(config, constants)
        unit = descriptor_unit(fitted)
        words = encode_descriptor(constants, unit)
        assert unit.rom_words == max(DESCRIPTOR_WORDS_MIN, len(words))
        assert unit.whitening == (constants.whitening is not None)
        size = max(constants.channels, constants.dimensions)
        assert unit.channels // 2 < max(2, size) <= unit.channels
        if unit.rom_words > DESCRIPTOR_WORDS_MIN:
            less = fitted.with_options(descriptor_words=unit.rom_words - 1)
            with pytest.raises(InputError, match=f"or --set descriptor_words={len(words)}"):
                encode_descriptor(constants, descriptor_unit(less))
        if unit.channels > 2:
            less = fitted.with_options(descriptor_channels=unit.channels // 2)
            with pytest.raises(InputError, match=f"or --set descriptor_channels={unit.channels}"):
                encode_descriptor(constants, descriptor_unit(less))


def test_a_descriptor_unit_is_as_ever_where_no_configuration_says_otherwise():
    assert descriptor_unit(NANO) == DescriptorConfig(512, 69632, True, 4)
    assert descriptor_unit(NAMED["asic"]) == DescriptorConfig(512, 20480, True, 16)


def test_a_fitted_configuration_as_file_and_as_options(rng, tmp_path):
    network, config, height, width = drawn(rng)
    constants = random_constants(Random(1), 5, 3, 3)
    made = fit_descriptor(fit_memories(network, config, height, width), constants)
    named = made.with_options(name="nano-fitted")
    fitted = FittedConfig(named, config, 'a "network"\nof two lines', height, width)
    path = tmp_path / "fitted.toml"
    path.write_text(fitted.text)
    assert load_config(str(path)) == fitted.config
    assert chosen_config("nano", [*changes(config), *fitted.settings]).with_options(name="") == (
        fitted.config.with_options(name="")
    )


def changes(config):
    """As options, what ``config`` has different from ``nano``."""
    return FittedConfig(config, NANO, "", 1, 1).settings
