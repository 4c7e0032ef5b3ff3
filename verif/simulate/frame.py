"""Runs one frame through the simulated engine: files in, feature maps out."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kestrel.export.formats.files import write_words
from kestrel.export.formats.words import Words
from kestrel.export.schedule_table import FIRST_RECORD, encode_table, seal_table
from kestrel.export.weight_rom import encode_weights
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.status import COUNTERS, ERRORS, TRACE_ADDRESS_BITS
from kestrel.hw.spec.table import KIND_CONV, KIND_END, KIND_OUTPUT
from kestrel.hw.spec.widths import BYTE, PIXEL_BITS
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.geometry import Region
from kestrel.sw.planning.plan import Plan, Record
from kestrel.verif.build.verilator import COVERAGE_FILE, Build, random_start

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WAVES_BROKEN = "FST_CHECK"
"""What the writer of waveforms says, and no more, when it cannot write: it compares places in its file."""


class SimulationError(RuntimeError):
    """The simulated engine did not complete a frame correctly."""


@dataclass(frozen=True)
class Pauses:
    """Random pauses of both streams, in a ``share`` of the cycles drawn from ``seed``."""

    seed: int = 1
    share: float = 0.0


@dataclass(frozen=True)
class Waves:
    """An FST file of ``cycles`` cycles from cycle ``start`` on, a nanosecond each. It ends earlier where it
    would become larger than ``bytes``, 0 for any size."""

    file: Path
    start: int = 0
    cycles: int = 1 << 62
    bytes: int = 0

    def arguments(self) -> list[str]:
        """For the binary (``verif/harness/waves.h``)."""
        name = "+kestrel_waves"
        return [f"{name}={self.file}", f"{name}_from={self.start}", f"{name}_cycles={self.cycles}",
                f"{name}_bytes={self.bytes}"]


@dataclass(frozen=True)
class FrameRun:
    """The results of a frame.

    ``maps`` holds for each layer uint8 [C, H, W], assembled from the writes into the feature memory;
    ``outputs`` are the same from the output stream, of the layers ``inner`` and of the last one.
    ``cycles`` are the busy cycles of the frame, ``record_cycles`` those of each record of the plan, and
    ``start_cycles`` those before the first hand-over. ``counters`` are the engine's own
    (kestrel.hw.spec.COUNTERS).
    """

    maps: list[np.ndarray]
    outputs: list[np.ndarray]
    cycles: int
    record_cycles: list[int]
    start_cycles: int
    counters: dict[str, int] = field(default_factory=dict)
    inner: tuple[int, ...] = ()

    @property
    def output(self) -> np.ndarray:
        """The last layer's map from the output stream."""
        return self.outputs[-1]


def run_frame(
    build: Build,
    network: CompressedNetwork,
    plan: Plan,
    pixels: np.ndarray,
    workdir: Path,
    *,
    pauses: Pauses | None = None,
    waves: Waves | None = None,
    seed: int = 1,
    progress: Callable[[int], None] = lambda cycles: None,
) -> FrameRun:
    """Sends ``pixels`` (uint8 [C, H, W], 8 bits, in the network's channel order) through the engine.

    Files are left in ``workdir``. ``seed`` determines the power-up state. ``progress`` is called with the
    number of cycles simulated since its last call. Raises SimulationError if the frame does not complete
    correctly, or if a write is missing, doubled or out of place.
    """
    write_files(network, plan, pixels, workdir)
    return run_files(build, plan, workdir, pauses=pauses, waves=waves, seed=seed, progress=progress)


def write_files(network: CompressedNetwork, plan: Plan, pixels: np.ndarray, workdir: Path) -> None:
    """Writes what a frame needs: weights.mem, table.mem and image.bin."""
    config = plan.config
    workdir.mkdir(parents=True, exist_ok=True)
    weights = encode_weights(network, config).words
    write_words(weights, workdir / "weights.mem")
    write_words(seal_table(encode_table(plan), plan, weights), workdir / "table.mem")
    image_beats(pixels, config).tofile(workdir / "image.bin")


def write_descriptor(network: CompressedNetwork, plan: Plan, words: Words, workdir: Path) -> None:
    """Writes descriptor.mem, and writes table.mem again with its entries about the descriptor."""
    weights = encode_weights(network, plan.config).words
    write_words(words, workdir / "descriptor.mem")
    write_words(seal_table(encode_table(plan), plan, weights, words), workdir / "table.mem")


def rom_arguments(workdir: Path) -> list[str]:
    """The arguments by which a binary finds the ROM images in ``workdir``."""
    images = [workdir.absolute() / f"{image}.mem" for image in ("weights", "table", "descriptor")]
    return [f"+{image.name}={image}" for image in images if image.is_file()]


def run_files(
    build: Build,
    plan: Plan,
    workdir: Path,
    *,
    pauses: Pauses | None = None,
    waves: Waves | None = None,
    seed: int = 1,
    progress: Callable[[int], None] = lambda cycles: None,
    arguments: Sequence[str] = (),
) -> FrameRun:
    """Like ``run_frame``, but with the files of ``write_files`` already in ``workdir``. ``arguments``
    (``+name=value``) are passed to the binary. One built with coverage leaves ``COVERAGE_FILE`` there too."""
    pauses = pauses or Pauses()
    names = [str(workdir / name) for name in ("image.bin", "trace.bin", "output.bin", "stats.txt")]
    command = [
        str(build.binary),
        *names,
        str(pauses.seed),
        str(round(pauses.share * 256)),
        *(waves.arguments() if waves else []),
        *([f"+verilator+coverage+file+{workdir / COVERAGE_FILE}"] if build.coverage else []),
        *rom_arguments(workdir),
        # The first change of a value that power-up drew at random would count as a toggle.
        *([] if build.coverage else random_start(seed)),
        *arguments,
    ]
    run_harness(command, workdir / "log.txt", progress)
    stats = _read_stats(workdir / "stats.txt")
    values = stats.values
    if values["outcome"] != "done":
        cause = ERRORS.get(int(values["error"]), values["error"])
        raise SimulationError(
            f"the engine ended with {values['outcome']} ({cause}) after {values['simulated']} cycles, "
            f"{values['sent']} beats sent, {values['received']} received"
        )
    _check_counters(stats, plan)
    return FrameRun(
        maps=maps_from_writes(np.fromfile(workdir / "trace.bin", dtype="<u4"), plan),
        outputs=maps_from_beats(np.fromfile(workdir / "output.bin", dtype="<u4"), plan),
        cycles=int(values["cycles"]),
        record_cycles=[stats.records[n] for n, _ in enumerate(plan.records, FIRST_RECORD)],
        start_cycles=stats.visits.get((KIND_END, 0), 0),
        counters=stats.counters,
        inner=plan.inner,
    )


def run_harness(command: list[str], log: Path, progress: Callable[[int], None]) -> None:
    """Runs a harness, which prints the number of the cycle from time to time. ``progress`` is called with the
    cycles since its last call. Standard error goes to ``log``. Raises SimulationError if the harness
    fails, and InputError if that is for want of room on the disk."""
    with log.open("w+", encoding="utf-8") as errors:
        reported = 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip().isdigit():
                    progress(int(line) - reported)
                    reported = int(line)
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip()[-500:]
            if (full := _full_disk(process.returncode, said)) is not None:
                raise InputError(f"the simulation cannot write its files ({full}); allowed: a disk with room")
            raise SimulationError(f"the simulation ended with code {process.returncode}: {said}")


def _full_disk(code: int, said: str) -> str | None:
    """What the system calls it if a program has ended so because a file could not grow."""
    if code == -signal.SIGXFSZ:
        return os.strerror(errno.EFBIG)
    if _WAVES_BROKEN in said:
        return "no more of the waveforms"
    return next((os.strerror(n) for n in FULL_DISK if os.strerror(n) in said), None)


def image_beats(pixels: np.ndarray, config: EngineConfig) -> np.ndarray:
    """Beats of the image stream as rows of 32-bit words, as the harness reads them.

    Every memory word of a pixel begins with a new beat. Bytes beyond its channels are 0xA5, to show that the
    engine ignores them.
    """
    channels, height, width = pixels.shape
    per_beat = config.stream_bytes
    rows = []
    flat = pixels.reshape(channels, -1).T  # [H * W, C]
    for first in range(0, channels, config.word_lanes):
        part = flat[:, first : first + config.word_lanes]
        beats = -(-part.shape[1] // per_beat)
        padded = np.full((height * width, beats * per_beat), 0xA5, dtype=np.uint8)
        padded[:, : part.shape[1]] = part
        rows.append(padded.reshape(height * width, beats, per_beat))
    beats = np.concatenate(rows, axis=1).reshape(-1, per_beat)
    words = -(-per_beat * PIXEL_BITS // 32)
    out = np.zeros((len(beats), words * 4), dtype=np.uint8)
    out[:, :per_beat] = beats
    return out.view("<u4")


@dataclass(frozen=True)
class _Stats:
    """The figures that the harness wrote: the outcome, the cycles that it counted for each (kind, record),
    and the engine's counters."""

    values: dict[str, str]
    visits: dict[tuple[int, int], int]
    counters: dict[str, int]
    records: dict[int, int]


def _read_stats(path: Path) -> _Stats:
    stats = _Stats({}, {}, {}, {})
    for line in path.read_text(encoding="ascii").splitlines():
        name, *values = line.split()
        if name == "visit":
            stats.visits[int(values[0]), int(values[1])] = int(values[2])
        elif name == "counter":
            stats.counters[COUNTERS[int(values[0])]] = int(values[1])
        elif name == "record":
            stats.records[int(values[0])] = int(values[1])
        else:
            stats.values[name] = values[0]
    return stats


def _check_counters(stats: _Stats, plan: Plan) -> None:
    """Compares the engine's counters with each other and with what was counted from outside."""
    parts = sum(stats.counters[name] for name in COUNTERS[1:])
    if not stats.counters["busy"] == parts == int(stats.values["cycles"]):
        raise SimulationError(f"counters do not add up: {stats.counters}, {stats.values['cycles']} cycles")
    for number, record in enumerate(plan.records, FIRST_RECORD):
        counted = stats.visits.get((record.kind, number))
        if stats.records.get(number) != counted:
            raise SimulationError(f"{record.name}: counter {stats.records.get(number)}, counted {counted}")


def words_for(bits: int) -> int:
    """The number of 32-bit words that hold ``bits`` bits."""
    return -(-bits // 32)


def maps_from_writes(words: np.ndarray, plan: Plan) -> list[np.ndarray]:
    """Every layer's map, uint8 [C, H, W], from the writes into the feature memory.

    ``words`` are uint32: for each write the record number, then the engine's trace ports (``trace_words``).
    Raises SimulationError for a write that is missing, doubled or out of place.
    """
    config = plan.config
    raw = _single_writes(words.reshape(-1, 1 + sum(trace_words(config))), config)
    return [
        _assemble(raw[raw[:, 0] == number], record, config)
        for number, record in enumerate(plan.records, FIRST_RECORD)
        if record.kind == KIND_CONV
    ]


def trace_words(config: EngineConfig) -> list[int]:
    """The 32-bit words of each of the engine's trace ports: part, bank, address, lanes and data."""
    banks = BANKS if config.writes_banks else 1
    return [1, 1, *(words_for(banks * bits) for bits in _bank_bits(config))]


def _bank_bits(config: EngineConfig) -> tuple[int, int, int]:
    """The bits of address (at most), lanes and data of a write into one bank."""
    return TRACE_ADDRESS_BITS, config.word_lanes, config.word_bits


def _single_writes(raw: np.ndarray, config: EngineConfig) -> np.ndarray:
    """One row for each bank that is written: record, part, bank, address, lanes and data."""
    if not config.writes_banks:
        return raw
    record, part, enables = raw[:, 0], raw[:, 1], raw[:, 2]
    columns = [np.repeat(record, BANKS), np.repeat(part, BANKS), np.tile(np.arange(BANKS), len(raw))]
    start = 3
    for bits, count in zip(_bank_bits(config), trace_words(config)[2:], strict=True):
        columns += list(_split_banks(raw[:, start : start + count], bits).T)
        start += count
    written = (enables[:, None] >> np.arange(BANKS)) & 1
    return np.stack(columns, axis=1)[written.astype(bool).reshape(-1)].astype("<u4", copy=False)


def _split_banks(words: np.ndarray, bits: int) -> np.ndarray:
    """Splits a port's words [N, K], with ``bits`` bits for each bank, into words [N * BANKS, ...] of one."""
    size = words_for(bits) * 4
    out = np.zeros((len(words), BANKS, size), dtype=np.uint8)
    if bits % BYTE == 0:
        data = np.ascontiguousarray(words).view(np.uint8)
        out[:, :, : bits // BYTE] = data[:, : BANKS * bits // BYTE].reshape(len(words), BANKS, -1)
    else:
        packed = np.packbits(_bits(words, BANKS * bits).reshape(-1, bits), axis=1, bitorder="little")
        out[:, :, : packed.shape[1]] = packed.reshape(len(words), BANKS, -1)
    return out.reshape(-1, size).view("<u4")


def _assemble(raw: np.ndarray, record: Record, config: EngineConfig) -> np.ndarray:
    """A layer's map from its writes. Every word, and every group of lanes in it, must be written exactly
    once.

    A region may be shorter than the map. An address is then written again for a later row, and the n-th write
    to it belongs to the n-th row that lies there.
    """
    region = record.write
    assert isinstance(region, Region)
    part, bank, address = raw[:, 1], raw[:, 2], raw[:, 3].astype(np.int64)
    lanes = raw[:, 4 : 4 + words_for(config.word_lanes)]
    values = _activations(raw[:, 4 + lanes.shape[1] :], config.activation_bits, config.word_lanes)
    enabled = _bits(lanes, config.word_lanes).astype(bool)
    if (part != region.part).any() or (address < region.base).any() or (address >= region.end).any():
        raise SimulationError(f"{record.name}: a write outside its region")

    first_lane = enabled.argmax(axis=1)
    key = (address * BANKS + bank) * config.word_lanes + first_lane
    order = np.argsort(key, kind="stable")
    sorted_key = key[order]
    start_of_run = np.r_[True, sorted_key[1:] != sorted_key[:-1]]
    run_start = np.maximum.accumulate(np.where(start_of_run, np.arange(len(key)), 0))
    turn = np.empty(len(key), dtype=np.int64)
    turn[order] = np.arange(len(key)) - run_start

    slot, within = np.divmod(address - region.base, region.stride)
    group, column = np.divmod(within, region.width)
    row = slot * BANKS + bank + turn * (region.slots * BANKS)
    groups = -(-record.channels // config.word_lanes)
    if (row >= record.out_height).any():
        raise SimulationError(f"{record.name}: more writes than the map has pixels")
    result = np.zeros((record.out_height, record.out_width, groups, config.word_lanes), dtype=np.uint8)
    count = np.zeros(result.shape, dtype=np.uint8)
    lane = np.arange(config.word_lanes)
    at = (row[:, None], column[:, None], group[:, None], lane[None, :])
    full = tuple(np.broadcast_to(index, enabled.shape)[enabled] for index in at)
    np.add.at(count, full, 1)
    result[full] = values[enabled]
    flat = result.reshape(record.out_height, record.out_width, -1)
    written = count.reshape(flat.shape)
    if (written[..., : record.channels] != 1).any():
        raise SimulationError(f"{record.name}: an element was not written exactly once")
    if flat[..., record.channels :].any():
        raise SimulationError(f"{record.name}: a lane without a channel is not zero")
    return np.ascontiguousarray(flat[..., : record.channels].transpose(2, 0, 1))


def maps_from_beats(words: np.ndarray, plan: Plan) -> list[np.ndarray]:
    """The output stream as maps, each uint8 [C, H, W], with TKEEP and TLAST checked: a packet for each map.

    ``words`` are uint32: for each beat as many words as TDATA takes, then TKEEP, then TLAST. Raises
    SimulationError.
    """
    raw = words.reshape(-1, words_for(plan.config.word_lanes * BYTE) + words_for(plan.config.word_lanes) + 1)
    records = [record for record in plan.records if record.kind == KIND_OUTPUT]
    ends = np.flatnonzero(raw[:, -1])[: len(records) - 1] + 1
    packets = np.split(raw, ends)
    if len(packets) != len(records):
        raise SimulationError(f"output: {len(packets)} packets, not {len(records)}")
    return [_map_of(packet, record, plan.config) for packet, record in zip(packets, records, strict=True)]


def _map_of(raw: np.ndarray, record: Record, config: EngineConfig) -> np.ndarray:
    """A packet as a map."""
    lanes = config.word_lanes
    data_words, keep_words = words_for(lanes * BYTE), words_for(lanes)
    groups = -(-record.channels // lanes)
    beats = record.height * record.width * groups
    if len(raw) != beats:
        raise SimulationError(f"output: {len(raw)} beats, not {beats}")
    if raw[:-1, -1].any() or raw[-1, -1] != 1:
        raise SimulationError("output: TLAST is not with the last beat alone")
    keep = _bits(raw[:, data_words : data_words + keep_words], lanes).reshape(-1, groups * lanes)
    if not (keep[:, : record.channels] == 1).all() or keep[:, record.channels :].any():
        raise SimulationError("output: TKEEP does not mark the channels that exist")
    values = raw[:, :data_words].copy().view(np.uint8)[:, :lanes].reshape(-1, groups * lanes)
    image = values[:, : record.channels].reshape(record.height, record.width, record.channels)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _bits(words: np.ndarray, count: int) -> np.ndarray:
    """Unpacks little-endian 32-bit words [N, K] into bits [N, count]."""
    data = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(data, axis=1, bitorder="little")[:, :count]


def _activations(words: np.ndarray, bits: int, lanes: int) -> np.ndarray:
    """Unpacks activations into uint8 [N, lanes]."""
    if bits == BYTE:
        return np.ascontiguousarray(words).view(np.uint8)[:, :lanes]
    planes = _bits(words, bits * lanes).reshape(len(words), lanes, bits)
    return (planes << np.arange(bits, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)
