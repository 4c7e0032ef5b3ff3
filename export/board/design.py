"""A network's chip for a board: lanes and memories that its device holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from kestrel.export.descriptor_rom import fit_descriptor
from kestrel.hw.spec.boards import BoardSpec
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import (
    FEATURE_WORDS_MIN,
    MASK_BITS_MAX,
    TABLE_WORDS_MIN,
    WEIGHT_WORDS_MAX,
    WEIGHT_WORDS_MIN,
    EngineConfig,
)
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import INFO_BYTES, RING_BYTES
from kestrel.sw.estimate.devices import find_device
from kestrel.sw.estimate.estimate import DeviceUse, use_of
from kestrel.sw.estimate.logic import Logic, estimate_logic
from kestrel.sw.estimate.memories import Memory, chip_memories
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.memory import table_words
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.sw.retrieval.describe.chip_constants import joined_constants, map_shapes, plain_quantiser
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants

LANES = ((16, 16), (8, 16), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 1))
"""Input and output lanes that there are designs of, most first."""

ROUTED = LANES.index((8, 8))
"""The most of which a design has been routed and met its clock (docs/board.md). Without a wish for lanes, no
more are taken: whoever makes a bitstream should not find after an hour that there is none."""

FEATURE_WORDS = (16384, 12288, 8192, 6144, 4096, 2048, 1024, 512)
"""Words of a feature bank that are tried: those of which block RAMs hold whole words without waste."""

PARTIAL_DEPTHS = (2048, 1024, 512)
TABLE_WORDS = 4096
"""More than the schedule of a network has that fits a device."""

ENOUGH = 0.03
"""A design that takes no more than this share longer than one with all the memory in the world is taken."""

LUT_SHARE = 0.8
"""Of the device's look-up tables that a design may take by the estimate: a fuller one is hard to route."""

BLOCK_SHARE = 0.95
"""The same of its block RAMs, which have their places."""

LINK_MEMORIES = (
    Memory("image on its way", 1, RING_BYTES, 8, "dual"),
    Memory("output on its way", 1, RING_BYTES, 9, "dual"),
    Memory("information", 1, INFO_BYTES, 8, "rom"),
)
"""Those of the bridge to the host."""


@dataclass(frozen=True)
class BoardDesign:
    """``chip`` for ``network`` on ``board``; ``plan`` of its frame and the frame's ``cycles``; ``crops``: how
    pictures are cut, ``constants``: those of the descriptor unit; ``use``: what of the device it takes by the
    estimate."""

    board: BoardSpec
    network: CompressedNetwork
    chip: ChipConfig
    plan: Plan
    cycles: int
    crops: str
    constants: DescriptorConstants
    use: DeviceUse


def design_board(
    board: BoardSpec, network: CompressedNetwork, height: int, width: int, pooling: str = "nip",
    lanes: tuple[int, int] | None = None,
) -> BoardDesign:  # fmt: skip
    """The chip whose frame takes the fewest cycles among those that fit the device, of the most lanes that
    do and that were routed (ROUTED), or of ``lanes``. Its descriptors are those of ``pooling`` with plain
    ranges. Raises InputError."""
    options = DescriptorOptions(size=(height, width), pooling=pooling)
    describer = make_describer(network, options)
    if describer.crops.joins:
        raise InputError(f"pooling {pooling!r} joins maps; allowed on a board: crops that are summed")
    last = len(network.layers) - 1
    constants = joined_constants(
        map_shapes(network, [last], height, width), describer.chain,
        plain_quantiser(describer.dimension, False),
    )  # fmt: skip
    nearest: DeviceUse | None = None
    refused: InputError | None = None
    for pair in LANES[ROUTED:] if lanes is None else (lanes,):
        try:
            base, best = _base(network, pair, height, width, constants)
        except InputError as error:
            refused = error
            continue
        logic = estimate_logic(base, chip=True)
        found: list[tuple[int, int, Plan]] = []
        for config in _largest(board, base, logic, width):
            try:
                plan = make_plan(network, config, height, width)
            except InputError as error:
                refused = error
                continue
            plan = _trimmed(network, plan)
            found.append((frame_cycles(plan).total, sum(plan.config.feature_words), plan))
            if found[-1][0] <= best * (1 + ENOUGH):
                break
        if found:
            cycles, _, plan = min(found, key=lambda each: each[:2])
            chip = ChipConfig(plan.config, descriptor_unit(plan.config))
            use = _use(board, plan.config, estimate_logic(plan.config, chip=True))
            return BoardDesign(board, network, chip, plan, cycles, describer.crops.crops, constants, use)
        nearest = _use(board, base.with_options(feature_words=(FEATURE_WORDS[-1],) * 2), logic)
    raise InputError(_why(board, network, height, width, nearest, refused))


def _base(
    network: CompressedNetwork, lanes: tuple[int, int], height: int, width: int,
    constants: DescriptorConstants,
) -> tuple[EngineConfig, int]:
    """With these lanes, the ROMs that the network needs, and more feature memory than any device has; and the
    cycles of its frame."""
    masks = max(layer.mask_bits for layer in network.layers)
    config = EngineConfig(
        name="board", input_lanes=lanes[0], output_lanes=lanes[1], activation_bits=network.activation_bits,
        load_kernels=1, partial_depth=max(PARTIAL_DEPTHS), max_width=width, feature_words=(1 << 20, 1 << 20),
        weight_words=WEIGHT_WORDS_MAX, table_words=TABLE_WORDS, stream_bytes=1,
        mask_bits_max=min(bits for bits in MASK_BITS_MAX if bits >= masks), residual=not network.is_plain,
        scalar_tables=network.has_tables, descriptor_whitening=False,
    )  # fmt: skip
    plan = make_plan(network, config, height, width)
    config = config.with_options(weight_words=max(WEIGHT_WORDS_MIN, plan.weight_words))
    return fit_descriptor(config, constants), frame_cycles(plan).total


def _largest(board: BoardSpec, base: EngineConfig, logic: Logic, width: int) -> Iterator[EngineConfig]:
    """For each depth of the partial sums, the largest feature memory that the device holds: parts of one
    size, and a second one of half the size, as maps shrink behind a pooling."""
    for depth in (depth for depth in PARTIAL_DEPTHS if depth >= width):
        for ratio in (2, 1):
            sizes = ((words, words // ratio) for words in FEATURE_WORDS)
            fitting = (base.with_options(partial_depth=depth, feature_words=words) for words in sizes)
            config = next((config for config in fitting if _fits(_use(board, config, logic))), None)
            if config is not None:
                yield config


def _trimmed(network: CompressedNetwork, plan: Plan) -> Plan:
    """The plan on a configuration with the memories that it uses, if that takes no more cycles."""
    words = plan.feature_words
    config = plan.config.with_options(
        feature_words=(max(FEATURE_WORDS_MIN, words[0]), max(FEATURE_WORDS_MIN, words[1])),
        table_words=max(TABLE_WORDS_MIN, table_words(plan)),
    )
    trimmed = make_plan(network, config, plan.height, plan.width)
    return trimmed if frame_cycles(trimmed).total <= frame_cycles(plan).total else plan


def _use(board: BoardSpec, config: EngineConfig, logic: Logic) -> DeviceUse:
    return use_of(find_device(board.device), logic, (*chip_memories(config), *LINK_MEMORIES))


def _fits(use: DeviceUse) -> bool:
    shares = {"LUT4": LUT_SHARE, "flip-flops": LUT_SHARE, "multipliers": 1.0}
    return all(resource.share <= shares.get(resource.name, BLOCK_SHARE) for resource in use.resources)


def _why(board: BoardSpec, network: CompressedNetwork, height: int, width: int, nearest: DeviceUse | None,
         refused: InputError | None) -> str:
    """Why there is no design: what the smallest lacks."""
    what = f"network {network.name} at {height} x {width} does not fit board {board.name}"
    if nearest is not None and not _fits(nearest):
        needs = ", ".join(f"{r.used:,} of {r.available:,} {r.name}" for r in nearest.resources)
        return f"{what}: the least would take {needs}; allowed: a smaller network or image"
    return f"{what}: {refused}" if refused else what
