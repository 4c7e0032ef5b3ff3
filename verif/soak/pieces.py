"""Pieces of the soak: a frame that is compared, or a chip that is disturbed. Each follows from a seed, the
number of a configuration and its own number."""

import json
import re
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from random import Random

from kestrel.sw.common.threads import one_thread
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.verilator import Build
from kestrel.verif.chip.case import ROM_WORDS, run_chip, write_case
from kestrel.verif.chip.variables import COUNTS_FILE, TURNS_VARIABLE
from kestrel.verif.regress.run import run_case
from kestrel.verif.soak.configurations import drawn_chip, drawn_engine
from kestrel.verif.soak.frames import frame_case, make_soak_frame

FRAMES = 10
"""Frames of a configuration before it is another one's turn."""

TURNS = 100
"""Disturbances of a simulation, and after each a frame that must be right."""

SECONDS = 1800
"""Of a simulation of disturbances, at most."""

BENCH = "kestrel.verif.chip.robustness_bench"


class Kind(StrEnum):
    """What a piece is."""

    FRAME = "frame"
    CHIP = "chip"


@dataclass(frozen=True)
class Piece:
    """Number ``number`` of a kind on configuration ``config``."""

    kind: Kind
    config: int
    number: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.config}/{self.number}"


@dataclass(frozen=True)
class Done:
    """A piece that ran. what: the kind of frame, or the chip's case; values: compared with the reference;
    disturbed: disturbances; counts: of each kind of them, and of what was found; message: of a failure, "" if
    all was right."""

    piece: str
    what: str
    seed: int
    sources: str
    values: int = 0
    cycles: int = 0
    disturbed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    message: str = ""
    seconds: float = 0.0

    @property
    def headline(self) -> str:
        """The line of the message that says what was wrong: the last error in it, or else its first line."""
        lines = [line.strip() for line in self.message.splitlines() if line.strip()] or [""]
        wrong = [line for line in lines if re.match(r"[\w.]*Error\b", line)]
        return wrong[-1] if wrong else lines[0]

    def line(self) -> str:
        """As a line of the results."""
        return json.dumps(asdict(self)) + "\n"


def pieces(kind: Kind, configs: int) -> Iterator[Piece]:
    """The pieces of a kind, without an end: configuration after configuration, a few pieces of each."""
    several = FRAMES if kind is Kind.FRAME else 1
    turn = 0
    while True:
        for config in range(configs):
            for number in range(turn * several, (turn + 1) * several):
                yield Piece(kind, config, number)
        turn += 1


def run_piece(piece: Piece, seed: int, sources: str) -> Done:
    """Runs it. Whatever goes wrong is its failure."""
    begun = time.perf_counter()
    try:
        done = (_run_frame if piece.kind is Kind.FRAME else _run_chip)(piece, seed, sources)
    except Exception:  # noqa: BLE001 - whatever it is, it is this piece's failure
        done = Done(str(piece), "", seed, sources, message=traceback.format_exc()[-8000:])
    return Done(**{**asdict(done), "seconds": round(time.perf_counter() - begun, 3)})


def _run_frame(piece: Piece, seed: int, sources: str) -> Done:
    config = drawn_engine(seed, piece.config)
    case = frame_case(config, piece.number)
    with one_thread():
        result = run_case(
            case, _engine(seed, piece.config), sources, make=lambda case: make_soak_frame(case, config)
        )
    return Done(
        str(piece), case.kind, seed, sources, values=result.values, cycles=result.cycles,
        message=result.message,
    )  # fmt: skip


def _run_chip(piece: Piece, seed: int, sources: str) -> Done:
    chip = drawn_chip(seed, piece.config)
    own = zlib.crc32(f"{seed} {piece}".encode())
    cases = ["tiny"] * 8 + ["rows", "pooled"] + ["graph"] * chip.engine.residual
    name = Random(own).choice(cases)
    with tempfile.TemporaryDirectory(prefix="kestrel-soak-") as folder:
        write_case(chip, name, own, Path(folder))
        run_chip(
            chip, BENCH, Path(folder), name, own, env={TURNS_VARIABLE: str(TURNS)}, visible=ROM_WORDS,
            timeout=SECONDS,
        )  # fmt: skip
        counts = json.loads((Path(folder) / COUNTS_FILE).read_text(encoding="ascii"))
    return Done(str(piece), name, seed, sources, disturbed=TURNS, counts=counts)


@lru_cache(1)
def _engine(seed: int, number: int) -> Build:
    return build_engine(drawn_engine(seed, number))
