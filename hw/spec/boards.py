"""The boards: device, pins, clocks. Plain Python."""

from collections.abc import Mapping
from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError


@dataclass(frozen=True)
class Pll:
    """Dividers of an ECP5's PLL (EHXPLLL), as ecppll finds them: the crystal over ``reference``, times
    ``feedback``, is the design's clock; times ``output`` it is that of the oscillator, 400 to 800 MHz
    (Lattice FPGA-TN-02200). ``phase``: of the output, in the oscillator's cycles, at which both clocks rise
    together."""

    reference: int
    feedback: int
    output: int
    phase: int

    def clock(self, crystal: int) -> int:
        """In hertz, from that of the crystal."""
        return crystal * self.feedback // self.reference


@dataclass(frozen=True)
class BoardSpec:
    """``device`` is its name in ``kestrel estimate``; ``part``, ``package`` and ``speed`` are those of
    nextpnr (--85k, CABGA381, 6). ``crystal`` and what ``pll`` makes of it in hertz. ``pins``: the site of
    every port of the board's top module."""

    name: str
    text: str
    device: str
    part: str
    package: str
    speed: int
    crystal: int
    pll: Pll
    pins: Mapping[str, str]

    @property
    def clock(self) -> int:
        """Of the design, in hertz."""
        return self.pll.clock(self.crystal)


_LEDS = ("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3")


def _ulx3s(name: str, device: str, part: str, fpga: str) -> BoardSpec:
    """The board is sold with several devices, whose pins are the same."""
    return BoardSpec(
        name=name,
        text=f"Radiona ULX3S with an {fpga}",
        device=device,
        part=part,
        package="CABGA381",
        speed=6,
        crystal=25_000_000,
        # 50 MHz: what was routed reaches more (docs/board.md).
        pll=Pll(reference=1, feedback=2, output=12, phase=5),
        # As in amaranth-boards. What the USB adapter sends comes in at M1.
        # L2 is GPIO0 of the ESP32, which must be high, or a reset of that chip restarts its boot loader.
        pins={
            "clk_25mhz": "G2",
            "serial_rx": "M1",
            "serial_tx": "L4",
            "button": "R1",
            "esp32_gpio0": "L2",
            **{f"led[{n}]": site for n, site in enumerate(_LEDS)},
        },
    )


BOARDS: Mapping[str, BoardSpec] = {
    board.name: board
    for board in (
        _ulx3s("ulx3s", "ecp5-85", "85k", "LFE5U-85F"),
        _ulx3s("ulx3s-45f", "ecp5-45", "45k", "LFE5U-45F"),
    )
}
"""The boards by name."""


def find_board(name: str) -> BoardSpec:
    """Raises InputError for an unknown name."""
    if name not in BOARDS:
        raise InputError(f"board {name!r} is not known; allowed: {', '.join(BOARDS)}")
    return BOARDS[name]
