"""A board's whole design in Verilator, behind a pseudo-terminal that takes the place of its serial port."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from kestrel.hw.board.board import Board
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.link import LinkConfig
from kestrel.verif.build.rtl import HARNESS, SHARED, design_sources
from kestrel.verif.build.verilator import Build, build_native, random_start
from kestrel.verif.simulate.frame import SimulationError

BOARD_HARNESS = HARNESS.with_name("board.cpp")
START_SECONDS = 60
ROMS = ("weights", "table", "descriptor", "info")


def build_board_simulation(chip: ChipConfig, link: LinkConfig) -> Build:
    """The native simulation of a board's design (``verif/harness/board.cpp``)."""
    sources = design_sources("board", (chip, link), lambda: Board(chip, link))
    return build_native(sources, sources[-1].stem, BOARD_HARNESS, shared=SHARED)


class SimulatedBoard:
    """A running board. In a ``with`` block: ``port`` is what the host opens.

    ``roms`` is a folder with the images that ROMS names, ``noise`` the share of bytes, in either direction,
    that are lost, doubled or changed. Raises SimulationError if the simulation ends by itself.
    """

    def __init__(
        self, build: Build, link: LinkConfig, roms: Path, *, seed: int = 1, noise: float = 0.0,
        progress: Callable[[int], None] = lambda cycles: None,
    ) -> None:  # fmt: skip
        self._folder = tempfile.TemporaryDirectory(prefix="kestrel-")
        self.port = str(Path(self._folder.name) / "port")
        self.cycles = 0
        self._progress = progress
        self._done, self._changed = 0, Event()  # commands, told by the reader
        images = [f"+{name}.mem={roms.absolute() / name}.mem" for name in ROMS]
        command = [
            build.binary, self.port, round(1000 * link.clock / link.baud), seed, _millionths(noise),
            *images, *random_start(seed),
        ]  # fmt: skip
        self._log = (Path(self._folder.name) / "log.txt").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True,
        )  # fmt: skip
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.plug()

    def unplug(self) -> None:
        """The port goes away, and with it what was on its way. The board goes on."""
        self._command("unplug")

    def plug(self) -> None:
        """The port is there again, as another device of the same name."""
        self._command("plug")

    def reset(self) -> None:
        """The board's reset, as after power-up."""
        self._command("reset")

    def noise(self, share: float) -> None:
        """The share of disturbed bytes from now on."""
        self._command(f"noise {_millionths(share)}")

    def close(self) -> None:
        """Ends the simulation."""
        if self._process.poll() is None:
            self._say("quit")
            self._process.wait(START_SECONDS)
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except OSError:
            self._raise_end()

    def _command(self, line: str) -> None:
        """Says it and waits until it is done."""
        expected = self._done + 1
        self._say(line)
        while self._done < expected:
            if not self._changed.wait(START_SECONDS):
                raise SimulationError(f"the simulated board does not answer to {line!r}")
            self._changed.clear()
            if self._process.poll() is not None and self._done < expected:
                self._raise_end()

    def _raise_end(self) -> None:
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().strip()[-500:]
        raise SimulationError(f"the simulated board ended with code {self._process.returncode}: {said}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            if text.strip() == "done":
                self._done += 1
                self._changed.set()
            elif text.strip().isdigit():
                self._progress(int(text) - self.cycles)
                self.cycles = int(text)
        self._changed.set()


def _millionths(share: float) -> int:
    return round(1_000_000 * share)
