"""Whole frames through the simulated engine, every element of every layer against the reference, and the
counted cycles against the closed form."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.hw.emit.verilog import TOP
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.widths import BIAS_MAX, BIAS_MIN, PIXEL_BITS
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan, plan_layers, with_schedule
from kestrel.sw.planning.proof import check_plan
from kestrel.sw.planning.visit_order import depth_first_schedules
from kestrel.verif.build.rtl import HARNESS, build_engine, engine_sources
from kestrel.verif.build.verilator import build_native
from kestrel.verif.cases.depth_first import depth_first_plan
from kestrel.verif.cases.random_network import constant_network, random_network, stack
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.simulate.compare import OUTPUT, all_equal, compare_maps, compare_run, reference_maps
from kestrel.verif.simulate.frame import Pauses, SimulationError, run_files, run_frame, write_files

NANO = NAMED["nano"]
SMALL = replace(
    NANO, feature_words=(1200, 1500), weight_words=8192, table_words=1024, max_width=40, partial_depth=90
)
CONFIGS = {
    "nano": NANO,
    "4x2": replace(SMALL, input_lanes=4, load_kernels=2, stream_bytes=2),
    "2x4": replace(SMALL, output_lanes=4, stream_bytes=3, partial_depth=40),
    "3x3": replace(SMALL, input_lanes=3, output_lanes=3, load_kernels=3, stream_bytes=3),
    "6x2 batch": replace(
        SMALL, input_lanes=6, load_kernels=2, activation_bits=5, stream_bytes=4, table_words=2048, batch=True
    ),
    "4x4 rows": replace(SMALL, input_lanes=4, output_lanes=4, load_kernels=2, row_groups=True),
    "12x3 rows": replace(
        SMALL,
        input_lanes=12,
        output_lanes=3,
        load_kernels=3,
        activation_bits=6,
        stream_bytes=4,
        row_groups=True,
    ),
}
PIXEL_MAX = (1 << PIXEL_BITS) - 1

every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)

pytestmark = pytest.mark.usefixtures("one_thread")


def build(config):
    if config is NANO:
        return build_engine(config)  # as fast as it gets; others use it too
    return build_native(engine_sources(config), TOP, HARNESS, optimise=1)


def random_pixels(rng, channels, height, width):
    return rng.integers(0, PIXEL_MAX + 1, size=(channels, height, width), dtype=np.uint8)


def check_frame(config, network, pixels, workdir, *, pauses=None, plan=None, seed=1):
    """Run a frame; everything must be as the reference and the cycle model say. Returns values compared."""
    plan = plan or make_plan(network, config, *pixels.shape[1:])
    run = run_frame(build(config), network, plan, pixels, workdir, pauses=pauses, seed=seed)
    results = compare_run(run, network, reference_maps(network, pixels, plan.images))
    what = f"{network}, pixels {pixels.shape}, {plan.visits}, {pauses}, seed {seed}"
    assert all_equal(results), f"{'; '.join(map(str, results))} in {what}"
    assert [result.name for result in results] == [layer.shape.name for layer in network.layers] + [OUTPUT]
    sizes = [record.channels * record.out_height * record.out_width for record in plan.records[1:]]
    assert [result.values_compared for result in results] == sizes

    model = frame_cycles(plan)
    counted = run.record_cycles
    assert counted[1:-1] == [record.cycles for record in model.layers], what
    if pauses is None:
        assert counted == [record.cycles for record in model.records], what
        assert run.cycles == model.total, what
        assert run.start_cycles + sum(counted) == model.total
    return sum(sizes)


# --- shapes that differ in kind -------------------------------------------------------------------------


@every_config
@pytest.mark.parametrize("count", range(5), ids=["1", "lanes - 1", "lanes", "lanes + 1", "3 * lanes + 1"])
def test_channels(config, count, rng, tmp_path):
    def channels(lanes):
        return (1, max(1, lanes - 1), lanes, lanes + 1, 3 * lanes + 1)[count]

    shapes = stack((channels(config.input_lanes), channels(config.output_lanes), channels(config.word_lanes)))
    network = random_network(rng, shapes, 3, activation_bits=config.activation_bits)
    check_frame(config, network, random_pixels(rng, shapes[0].in_channels, 5, 6), tmp_path)


@every_config
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (3, 3), (7, 5), (31, 3)]
)
def test_image_sizes(config, height, width, rng, tmp_path):
    network = random_network(rng, stack((3, 4, 5)), (3, 1), activation_bits=config.activation_bits)
    check_frame(config, network, random_pixels(rng, 3, height, width), tmp_path)


@every_config
@pytest.mark.parametrize("height", [1, 2, 11])
def test_the_widest_row(config, height, rng, tmp_path):
    network = random_network(rng, stack((3, 2, 3)), (2, 3), activation_bits=config.activation_bits)
    plan = make_plan(network, config, height, config.max_width)
    pixels = random_pixels(rng, 3, height, config.max_width)
    check_frame(config, network, pixels, tmp_path, plan=plan)
    assert height < 11 or len(plan.visits) > len(plan.records), "a high map is worked on in strips"


@every_config
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 5), (4, 7), (15, 6), (21, 19)])
def test_pooling(config, height, width, rng, tmp_path):
    shapes = stack((3, 5, 4, 3), pools=(0, 2))
    network = random_network(rng, shapes, 3, activation_bits=config.activation_bits)
    check_frame(config, network, random_pixels(rng, 3, height, width), tmp_path)


@every_config
def test_mask_widths(config, rng, tmp_path):
    for bits in MASK_BITS:
        network = random_network(rng, stack((3, 5, 7)), bits, activation_bits=config.activation_bits)
        check_frame(config, network, random_pixels(rng, 3, 6, 5), tmp_path)
    network = random_network(
        rng, stack((3, 5, 4, 7, 6, 3)), (5, 1, 4, 2, 3), activation_bits=config.activation_bits
    )
    check_frame(config, network, random_pixels(rng, 3, 6, 5), tmp_path)


NARROW = {
    3: replace(SMALL, mask_bits_max=3),
    2: replace(SMALL, input_lanes=4, load_kernels=4, mask_bits_max=2),
    1: replace(SMALL, input_lanes=3, output_lanes=3, activation_bits=6, mask_bits_max=1),
}
"""Engines for narrow masks only, by the widest that they run."""


@pytest.mark.parametrize("most", NARROW)
def test_engines_for_narrow_masks(most, rng, tmp_path):
    config = NARROW[most]
    for widths in (*([bits] * 3 for bits in config.mask_widths), [1, most, 1], [most, 1, most]):
        network = random_network(
            rng, stack((3, 5, 7, 4), pools=(1,)), widths, activation_bits=config.activation_bits
        )
        check_frame(config, network, random_pixels(rng, 3, 9, 6), tmp_path)
    shapes, pixels = stack((7, 5, 4)), np.full((7, 4, 5), PIXEL_MAX, dtype=np.uint8)
    for tap in (mask_values(most)[0], mask_values(most)[-1]):
        network = constant_network(
            shapes, most, tap=tap, bias=BIAS_MAX, shift=15, pad=0, activation_bits=config.activation_bits
        )
        check_frame(config, network, pixels, tmp_path)


@pytest.mark.parametrize("most", NARROW)
def test_random_frames_on_engines_for_narrow_masks(most, rng, tmp_path):
    assert sum(random_frame(NARROW[most], rng, tmp_path, n + 1) for n in range(FRAMES)) > 10_000


@pytest.mark.parametrize("most", NARROW)
def test_wider_masks_than_the_engine_was_made_for_are_refused(most, rng):
    network = random_network(rng, stack((3, 5, 7)), [most, most + 1], activation_bits=4)
    message = f"conv1 has {most + 1} mask bits; allowed by configuration .*: at most {most}"
    with pytest.raises(InputError, match=message):
        make_plan(network, NARROW[most], 4, 4)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("nano", 4), ("nano", 5), ("nano", 6), ("nano", 7), ("nano", 8), ("6x2 batch", 4), ("6x2 batch", 5)],
)
def test_activation_bits_up_to_those_of_the_engine(name, bits, rng, tmp_path):
    config = CONFIGS[name]
    network = random_network(rng, stack((2, 5, 3), pools=(0,)), 3, activation_bits=bits)
    pixels = np.arange(256, dtype=np.uint8).repeat(2).reshape(2, 16, 16)  # every pixel value is rounded
    check_frame(config, network, rng.permuted(pixels, axis=1), tmp_path)


@every_config
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pauses_of_the_streams_change_nothing(config, share, rng, tmp_path):
    network = random_network(rng, stack((3, 5, 4), pools=(0,)), 3, activation_bits=config.activation_bits)
    pixels = random_pixels(rng, 3, 7, 8)
    check_frame(config, network, pixels, tmp_path, pauses=Pauses(int(rng.integers(1 << 30)), share))


@every_config
@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_depth_first_order_with_circular_regions(config, chunk, rng, tmp_path):
    network = random_network(
        rng, stack((3, 5, 7, 4), pools=(1,)), (1, 4, 3), activation_bits=config.activation_bits
    )
    plan = depth_first_plan(network, config, 26, 10, chunk)
    whole = make_plan(network, config, 26, 10)
    assert sum(plan.feature_words) < sum(whole.feature_words), "rows are kept only as long as they are needed"
    check_frame(config, network, random_pixels(rng, 3, 26, 10), tmp_path, plan=plan)


# --- extremes -------------------------------------------------------------------------------------------


@every_config
@pytest.mark.parametrize("mask_bits", MASK_BITS)
@pytest.mark.parametrize("pixel", [0, PIXEL_MAX])
def test_extreme_values(config, mask_bits, pixel, tmp_path):
    """All taps lowest or highest, all scalars highest, the bias at both ends, shift 3 and 15."""
    greatest = (1 << config.activation_bits) - 1
    pixels = np.full((7, 4, 5), pixel, dtype=np.uint8)
    for tap in (mask_values(mask_bits)[0], mask_values(mask_bits)[-1]):
        for bias, shift, pad in ((BIAS_MIN, 15, greatest), (BIAS_MAX, 15, 0), (BIAS_MAX, 3, greatest)):
            network = constant_network(
                stack((7, 5, 4)), mask_bits, tap=tap, bias=bias, shift=shift, pad=pad,
                activation_bits=config.activation_bits,
            )  # fmt: skip
            check_frame(config, network, pixels, tmp_path)


@every_config
@pytest.mark.parametrize("pad", ["zero", "greatest", "one channel"])
def test_pad_values(config, pad, rng, tmp_path):
    greatest = (1 << config.activation_bits) - 1
    values = {"zero": [0] * 5, "greatest": [greatest] * 5, "one channel": [0, 0, 0, 0, greatest]}[pad]
    network = random_network(rng, stack((5, 3)), 3, activation_bits=config.activation_bits, pad=values)
    pixels = np.zeros((5, 3, 3), dtype=np.uint8) if pad == "greatest" else random_pixels(rng, 5, 3, 3)
    check_frame(config, network, pixels, tmp_path)


# --- row groups -----------------------------------------------------------------------------------------

ROWS = {name: config for name, config in CONFIGS.items() if config.row_groups}
with_row_groups = pytest.mark.parametrize("config", ROWS.values(), ids=ROWS)


@with_row_groups
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 7), (6, 2), (7, 9), (31, 3), (2, 40), (12, 40)]
)
def test_rows_in_triples(config, height, width, rng, tmp_path):
    """Every rest of the height by three, one output channel and more than a group of them."""
    for channels in ((1, 1), (config.group_lanes, config.output_lanes + 1, 3)):
        network = random_network(rng, stack(channels), (3, 1)[: len(channels) - 1],
                                 activation_bits=config.activation_bits)  # fmt: skip
        plan = make_plan(network, config, height, width)
        assert plan.row_groups
        check_plan(plan)
        check_frame(config, network, random_pixels(rng, channels[0], height, width), tmp_path, plan=plan)
        assert frame_cycles(plan).layers[0].streaming == -(-height // 3) * width * -(
            -channels[1] // config.output_lanes
        )


@with_row_groups
@pytest.mark.parametrize("pixel", [0, PIXEL_MAX])
def test_extremes_in_triples(config, pixel, tmp_path):
    greatest = (1 << config.activation_bits) - 1
    pixels = np.full((config.group_lanes, 5, 4), pixel, dtype=np.uint8)
    for tap in (-4, 4):
        for bias, shift, pad in ((BIAS_MIN, 15, greatest), (BIAS_MAX, 15, 0), (BIAS_MAX, 3, greatest)):
            network = constant_network(
                stack((config.group_lanes, 5, 4)), 3, tap=tap, bias=bias, shift=shift, pad=pad,
                activation_bits=config.activation_bits,
            )  # fmt: skip
            check_frame(config, network, pixels, tmp_path)


@with_row_groups
@pytest.mark.parametrize(("channels", "bits", "pools"), [(2, 4, ()), (1, 3, (0,)), (5, 3, ())])
def test_layers_that_cannot_run_in_row_groups(config, channels, bits, pools, rng, tmp_path):
    """Too many passes, pooling, too many channels: as on any engine."""
    shapes = stack((channels, 3, 2), pools)
    network = random_network(rng, shapes, bits, activation_bits=config.activation_bits)
    plan = make_plan(network, config, 7, 6)
    assert not plan.row_groups
    check_frame(config, network, random_pixels(rng, channels, 7, 6), tmp_path, plan=plan)


@with_row_groups
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5])
def test_depth_first_in_row_groups(config, chunk, rng, tmp_path):
    network = random_network(rng, stack((1, 4, 3, 5), pools=(1,)), 3, activation_bits=config.activation_bits)
    for height in (13, 14, 15):
        plan = depth_first_plan(network, config, height, 7, chunk)
        assert plan.row_groups
        check_frame(config, network, random_pixels(rng, 1, height, 7), tmp_path, plan=plan)


# --- random frames --------------------------------------------------------------------------------------


def random_frame(config, rng, workdir, seed):
    depth = int(rng.integers(1, 5))
    lanes = max(config.input_lanes, config.output_lanes)
    channels = [int(c) for c in rng.integers(1, 2 * lanes + 4, size=depth + 1)]
    pools = [n for n in range(depth) if rng.random() < 0.3][:2]
    least = 1 << len(pools)
    height, width = (int(rng.integers(least, 14)) if rng.random() < 0.8 else least for _ in range(2))
    activation_bits = int(rng.integers(4, config.activation_bits + 1))
    pad = None if rng.random() < 0.5 else [0] * channels[0]
    network = random_network(
        rng, stack(channels, pools), [int(b) for b in rng.choice(config.mask_widths, size=depth)],
        activation_bits=activation_bits, pad=pad,
    )  # fmt: skip
    pauses = Pauses(seed, float(rng.random() * 0.8)) if rng.random() < 0.3 else None
    plan = make_plan(network, config, height, width)
    if rng.random() < 0.3:
        plan = depth_first_plan(network, config, height, width, int(rng.integers(1, 9)))
    pixels = random_pixels(rng, channels[0], height, width)
    return check_frame(config, network, pixels, workdir, pauses=pauses, plan=plan, seed=seed)


FRAMES = 50


@pytest.mark.parametrize("part", range(4))
@every_config
def test_random_frames(config, part, rng, tmp_path):
    compared = sum(random_frame(config, rng, tmp_path, FRAMES * part + n + 1) for n in range(FRAMES))
    assert compared > 10_000


@pytest.mark.regress
@every_config
def test_many_random_frames(config, rng, tmp_path):
    assert sum(random_frame(config, rng, tmp_path, n + 1) for n in range(4000)) > 1_000_000


# --- several images in a frame --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "height", "width"), [(2, 1, 5), (3, 5, 7), (4, 8, 6), (9, 7, 7), (5, 13, 3)]
)
def test_batches(images, height, width, rng, tmp_path):
    """Rows that the poolings drop between the images; whole maps, and strips that go round."""
    config = CONFIGS["6x2 batch"]
    pools = (0, 1) if height > 3 and width > 3 else (1,) if min(height, width) > 1 else ()
    network = random_network(rng, stack((3, 7, 4, 5), pools), [1, 4, 3], activation_bits=5)
    plan = make_plan(network, config, height, width, images)
    pixels = random_pixels(rng, 3, images * height, width)
    check_frame(config, network, pixels, tmp_path, plan=plan)
    found = depth_first_schedules("stack", plan_layers(network), config, height, width, images=images)
    least = with_schedule(plan, min(found, key=lambda schedule: sum(schedule.feature_words)))
    pauses = Pauses(seed=images, share=0.3)
    check_frame(config, network, pixels, tmp_path, plan=least, pauses=pauses)


# --- the comparison can fail ----------------------------------------------------------------------------


@pytest.fixture
def frame(rng, tmp_path):
    """A good frame's files: network, plan, expected maps, folder. The first kernel's scalar shows in them:
    its map may be 0 or saturated everywhere in one network, but not in many."""
    for _ in range(50):
        network = random_network(rng, stack((3, 4, 5)), 3)
        pixels = random_pixels(rng, 3, 6, 7)
        alpha = network.layers[0].alpha.copy()
        alpha[0, 0] ^= 128
        other = replace(network, layers=(replace(network.layers[0], alpha=alpha), *network.layers[1:]))
        if (reference_maps(other, pixels)[0] != reference_maps(network, pixels)[0]).any():
            break
    else:
        pytest.fail("no network in which the first scalar shows")
    plan = make_plan(network, NANO, 6, 7)
    write_files(network, plan, pixels, tmp_path)
    return network, plan, reference_maps(network, pixels), tmp_path


def compare_files(network, plan, expected, folder):
    return compare_run(run_files(build(NANO), plan, folder), network, expected)


def test_a_good_frame_has_no_mismatch(frame):
    assert all_equal(compare_files(*frame))


def test_a_flipped_bit_in_the_weight_rom_is_reported(frame):
    *_, folder = frame
    path = folder / "weights.mem"
    bits = NANO.rom_word_bits
    words = read_rom(path, bits)
    words[0] ^= 1 << 23  # the top bit of the first kernel's scalar, after the pad values of two channels
    write_rom(path, bits, words)
    first, _, output = compare_files(*frame)
    assert first.mismatches > 0
    assert first.first_mismatch is not None
    assert first.first_mismatch.channel == 0, "the kernel belongs to output channel 0"
    assert output.values_compared == 5 * 6 * 7


def test_swapped_table_words_are_reported(frame):
    """The layers' weight addresses (word 3 of records 2 and 3) change places."""
    *_, folder = frame
    path = folder / "table.mem"
    words = read_rom(path, TABLE_WORD_BITS)
    a, b = 2 * 16 + 3, 3 * 16 + 3
    words[a], words[b] = words[b], words[a]
    write_rom(path, TABLE_WORD_BITS, words)
    results = compare_files(*frame)
    assert not all_equal(results)
    assert results[0].mismatches > 0


def test_a_changed_bias_is_reported_in_its_channel(tmp_path):
    network = constant_network(stack((3, 4, 5)), 3, tap=0, bias=80)
    pixels = np.zeros((3, 6, 7), dtype=np.uint8)
    bias = network.layers[1].bias.copy()
    bias[2] += 8
    changed = replace(network, layers=(network.layers[0], replace(network.layers[1], bias=bias)))
    run = run_frame(build(NANO), changed, make_plan(network, NANO, 6, 7), pixels, tmp_path)
    first, second, output = compare_run(run, network, reference_maps(network, pixels))
    assert first.equal
    assert second.mismatches == output.mismatches == 6 * 7
    assert str(second) == "conv1: 42 of 210 values differ, first channel 2, row 0, column 0: 11, not 10"


def test_a_write_out_of_place_is_an_error(frame):
    *_, folder = frame
    path = folder / "table.mem"
    words = read_rom(path, TABLE_WORD_BITS)
    words[2 * 16 + 9] += 1  # the write stride of the first layer
    write_rom(path, TABLE_WORD_BITS, words)
    with pytest.raises(SimulationError, match="conv0: "):
        compare_files(*frame)


def test_nothing_compared_is_not_equal():
    assert not all_equal([])
    empty = np.zeros((0, 2, 2), np.uint8)
    assert not all_equal(compare_maps([empty], [empty], ["conv0"]))


def test_maps_of_another_shape_or_number_are_refused():
    one, two = np.zeros((1, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"conv0: a map of \(1, 2, 2\), not \(2, 2, 2\)"):
        compare_maps([one], [two], ["conv0"])
    with pytest.raises(ValueError, match="2 maps, 1 expected ones and 1 names"):
        compare_maps([one, one], [one], ["conv0"])
