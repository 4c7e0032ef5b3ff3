"""Cycles as time, at a stated clock."""

import math
from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError

DEFAULT_CLOCK_MHZ = 400.0
CLOCK_MHZ_MAX = 10_000.0


def check_clock(clock_mhz: float) -> None:
    """Raises InputError for a clock that is none."""
    if not (math.isfinite(clock_mhz) and 0 < clock_mhz <= CLOCK_MHZ_MAX):
        raise InputError(f"clock {clock_mhz:g} MHz; allowed: above 0, at most {CLOCK_MHZ_MAX:,.0f}")


@dataclass(frozen=True)
class Speed:
    """A frame of ``images`` pictures takes ``cycles`` cycles at ``clock_mhz``. Frames follow one another
    without overlap. Raises InputError for a clock that is none."""

    cycles: int
    images: int
    clock_mhz: float = DEFAULT_CLOCK_MHZ

    def __post_init__(self) -> None:
        check_clock(self.clock_mhz)

    @property
    def milliseconds(self) -> float:
        """Of a frame."""
        return self.cycles / (1000 * self.clock_mhz)

    @property
    def pictures_per_second(self) -> float:
        return self.images * 1000 / self.milliseconds

    @property
    def payload(self) -> dict[str, float]:
        """As the commands' JSON has it."""
        return {"clock_mhz": self.clock_mhz, "milliseconds": self.milliseconds,
                "pictures_per_second": self.pictures_per_second}

    def __str__(self) -> str:
        each = f" for {self.images} pictures" if self.images > 1 else ""
        return (f"{self.milliseconds:,.3f} ms a frame{each}, {self.pictures_per_second:,.1f} pictures/s at "
                f"{self.clock_mhz:g} MHz")


def digits(value: float) -> str:
    """A rough figure as people read it: three digits that count, and no exponent."""
    if value <= 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{places}f}"
