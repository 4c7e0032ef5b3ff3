"""Boards: files for a bitstream, the board's design in simulation, and a board at a serial port."""

import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from kestrel.api.pictures import Pictures, named_pictures
from kestrel.api.planning import Network, find_network
from kestrel.export.board import texts
from kestrel.export.board.design import BoardDesign, design_board
from kestrel.export.export import DESCRIPTOR, TABLE, WEIGHTS, export_network
from kestrel.hw.board.board import Board
from kestrel.hw.emit.verilog import verilog_files
from kestrel.hw.spec.boards import find_board
from kestrel.hw.spec.configurations import config_text
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import LinkConfig
from kestrel.sw.board.client import PATIENCE_SECONDS, BoardClient
from kestrel.sw.board.connection import LinkCounts
from kestrel.sw.board.info import BoardInfo
from kestrel.sw.board.line import BAUD
from kestrel.sw.common.files import atomic_directory, check_output_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.common.progress import Progress, silent
from kestrel.sw.model.compressed import content_digest
from kestrel.sw.model.digest import network_digest
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.retrieval.describe.backends import BackendRequest, ReferenceBackend
from kestrel.sw.retrieval.describe.crops import CropSettings, cut_crops
from kestrel.sw.retrieval.pooling.integer_nip import describe as describe_integers
from kestrel.verif.board.simulated import SimulatedBoard, build_board_simulation
from kestrel.verif.build.shown import builds_shown

ROMS = (WEIGHTS, TABLE, DESCRIPTOR)
SIZE = 128
SIMULATED_PATIENCE = 600.0
"""Seconds for which a simulated board, which may take thousands of times as long as a real one, is waited
for."""

Lanes = tuple[int, int]


@dataclass(frozen=True)
class BoardFiles:
    """A board's folder: ``files`` in it, ``top`` the name of the top module, which ``make bitstream`` in it
    turns into ``TOP.bit``; ``design``: what was chosen; ``baud``: of the serial line."""

    folder: Path
    files: tuple[Path, ...]
    top: str
    design: BoardDesign
    baud: int


@dataclass(frozen=True)
class BoardProof:
    """Pictures described by a simulated board, with the host's software at its pseudo-terminal, against the
    reference. ``found`` and ``expected`` are descriptors, one for each of ``images``; ``cycles``: those of
    the chip for the last one; ``clock_cycles``: all that were simulated; ``counts`` of the line; ``lost``:
    times that it was lost."""

    images: tuple[str, ...]
    found: tuple[bytes, ...]
    expected: tuple[bytes, ...]
    cycles: int
    clock_cycles: int
    counts: LinkCounts
    lost: int
    design: BoardDesign
    build_seconds: float

    @property
    def bit_exact(self) -> bool:
        return len(self.expected) > 0 and all(self.expected) and self.found == self.expected


@dataclass(frozen=True)
class BoardDescriptors:
    """Pictures described by a board: ``descriptors``, bytes, one for each of ``images``; ``info``: what the
    board says of itself; ``cycles``: those of the chip for the last one; ``counts`` and ``lost`` of the
    line."""

    images: tuple[str, ...]
    descriptors: tuple[bytes, ...]
    info: BoardInfo
    cycles: int
    counts: LinkCounts
    lost: int


def build_board(
    network: Network, folder: str | Path, board: str = "ulx3s", size: Size = SIZE, *, pooling: str = "nip",
    lanes: Lanes | None = None, baud: int = BAUD, force: bool = False, progress: Progress | None = None,
) -> BoardFiles:  # fmt: skip
    """Writes what makes a bitstream of a network: Verilog, ROM images, pins, a Makefile.

    ``folder`` is written; it must be new, empty or written before for the same. ``size`` is that of the
    pictures, in pixels, ``pooling`` that of the descriptors. Lanes and memories are chosen to fit the board's
    device, no more lanes than have been routed (docs/board.md), or the memories alone where ``lanes`` are
    given, as input and output lanes. ``baud`` is the rate of the serial line in bits a second. With
    ``force`` an output of another run in the folder is replaced too. Raises InputError, in which case nothing
    is written.
    """
    spec, loaded, (height, width), output = (
        find_board(board), find_network(network), height_width(size), Path(folder),
    )  # fmt: skip
    link = _link(spec.clock, baud)
    origin = Origin("a board's files", {
        "network": loaded.name, "network file": content_digest(loaded), "board": board, "height": height,
        "width": width, "pooling": pooling, "lanes": None if lanes is None else list(lanes), "baud": baud,
    })  # fmt: skip
    check_output_directory(output, origin, force=force)
    with (progress or silent)("choosing lanes and memories", None):
        design = design_board(spec, loaded, height, width, pooling, lanes)
    with (progress or silent)("generating Verilog", None):
        rtl = verilog_files(Board(design.chip, link))
    top = texts.top_name(spec)
    sources = [*(file.name for file in rtl), f"{top}.v"]
    with atomic_directory(output, origin, force=force, later=texts.made_by_make(spec)) as temporary:
        images = write_roms(design, link, temporary)
        for file in rtl:
            (temporary / file.name).write_text(file.text, encoding="utf-8")
        for name, text in (
            (f"{top}.v", texts.wrapper(spec)),
            (f"{top}.lpf", texts.pins(spec)),
            ("synthesis.ys", texts.synthesis_script(spec, sources)),
            ("Makefile", texts.makefile(spec, sources, images)),
            ("tools.py", (resources.files("kestrel.export.board") / "tools.py").read_text(encoding="utf-8")),
            ("config.toml", config_text(design.chip.engine)),
            ("estimate.json", json.dumps({r.name: asdict(r) for r in design.use.resources}, indent=2) + "\n"),
        ):
            (temporary / name).write_text(text, encoding="utf-8")
        names = sorted(path.name for path in temporary.iterdir())
    return BoardFiles(output, tuple(output / name for name in names), top, design, baud)


def simulate_board(
    network: Network, pictures: Pictures, board: str = "ulx3s", size: Size = SIZE, *, pooling: str = "nip",
    lanes: Lanes | None = None, baud: int = BAUD, noise: float = 0.0, seed: int = 1,
    progress: Progress | None = None,
) -> BoardProof:  # fmt: skip
    """Simulates a board's whole design, from its serial line on, and compares the descriptors with the
    reference's. The host's software is that of ``describe_on_board``, at a pseudo-terminal.

    ``noise`` is the share of bytes on the line that are lost, doubled or changed, 0..0.01. ``seed`` is that
    of the noise and of the power-up state. The other parameters are those of ``build_board``. Raises
    InputError, and SimulationError or BoardError if the board does not do its work.
    """
    if not 0 <= noise <= NOISE_MAX:
        raise InputError(f"noise {noise:g}; allowed: 0..{NOISE_MAX}")
    progress = progress or silent
    spec, loaded, (height, width) = find_board(board), find_network(network), height_width(size)
    link = _link(spec.clock, baud)
    found = named_pictures(pictures, (2 * height, 2 * width))
    with progress("choosing lanes and memories", None):
        design = design_board(spec, loaded, height, width, pooling, lanes)
    with builds_shown(progress):
        build = build_board_simulation(design.chip, link)
    reference = ReferenceBackend(BackendRequest(loaded, height, width))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kestrel-")))
        write_roms(design, link, folder)
        advance = stack.enter_context(progress("simulating", None))
        simulated = stack.enter_context(
            SimulatedBoard(build, link, folder, seed=seed, noise=noise, progress=advance)
        )
        client = stack.enter_context(BoardClient(simulated.port, baud, SIMULATED_PATIENCE))
        described = tuple(client.descriptor(rgb) for _, rgb in found)
        cycles, counts, lost, clock_cycles = client.cycles, client.counts, client.lost, simulated.cycles
    return BoardProof(
        tuple(name for name, _ in found), described,
        tuple(_expected(design, reference, rgb) for _, rgb in found),
        cycles, clock_cycles, counts, lost, design, build.seconds,
    )  # fmt: skip


NOISE_MAX = 0.01


def describe_on_board(
    pictures: Pictures, port: str, *, baud: int = BAUD, patience: float = PATIENCE_SECONDS,
    progress: Progress | None = None,
) -> BoardDescriptors:  # fmt: skip
    """The descriptors of pictures, by the board at the serial port ``port``, which knows its network, size
    and pooling. ``baud`` is the rate of the line; a silent board or a port that has gone is waited for
    ``patience`` seconds. Raises InputError where there is no board, and BoardError for one that does not do
    its work."""
    with BoardClient(port, baud, patience) as client:
        found = named_pictures(pictures, (2 * client.info.height, 2 * client.info.width))
        described: list[bytes] = []
        with (progress or silent)("describing", len(found)) as advance:
            for _, rgb in found:
                described.append(client.descriptor(rgb))
                advance(1)
        return BoardDescriptors(
            tuple(name for name, _ in found), tuple(described), client.info, client.cycles, client.counts,
            client.lost,
        )  # fmt: skip


def _link(clock: int, baud: int) -> LinkConfig:
    if baud < 1:
        raise InputError(f"--baud {baud}; allowed: at least 1")
    return LinkConfig(clock, baud)


def write_roms(design: BoardDesign, link: LinkConfig, folder: Path) -> list[str]:
    """The images of all ROMs; their names."""
    network, plan = design.network, design.plan
    with tempfile.TemporaryDirectory(prefix="kestrel-") as name:
        exported = export_network(
            network, design.chip.engine, plan.height, plan.width, Path(name) / "rom", design.constants
        )
        images = [f"{rom}.mem" for rom in ROMS]
        for image in images:
            (folder / image).write_bytes((exported.directory / image).read_bytes())
    info = _info(design, link, exported.manifest.network_crc32)
    (folder / "info.mem").write_text("".join(f"{byte:02x}\n" for byte in info.rom), encoding="ascii")
    return [*images, "info.mem"]


def _info(design: BoardDesign, link: LinkConfig, network_crc: int) -> BoardInfo:
    network, plan = design.network, design.plan
    rows, columns = network.map_sizes(plan.height, plan.width)[-1]
    channels = network.layers[-1].shape.out_channels
    return BoardInfo(
        board=design.board.name, network=network.name, digest=network_digest(network),
        network_crc=network_crc, height=plan.height, width=plan.width, preprocessing=network.preprocessing,
        crops=design.crops, channels=channels, rows=rows, columns=columns, dimensions=channels,
        clock=link.clock,
    )  # fmt: skip


def _expected(design: BoardDesign, reference: ReferenceBackend, rgb: np.ndarray) -> bytes:
    """The descriptor by the integer reference."""
    inputs = cut_crops(rgb, CropSettings(design.crops, design.plan.height, design.plan.width))
    maps = list(reference.features(inputs.pictures))
    return describe_integers([maps], design.constants, 0)
