"""Model of the accumulator: the partial sums of a strip."""

from collections.abc import Sequence
from typing import Any

from kestrel.verif.blocks.compute.accumulator_lane.model import wrap
from kestrel.verif.blocks.support.pixel import Pixel


class Accumulator:
    """Partial sums by the pixel's number in its strip."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.partial: dict[int, list[int]] = {}
        self.number = 0
        self.pixel: Pixel | None = None
        self.acc: list[int] | None = None

    def step(self, *, ahead: Pixel, sums: Sequence[int], rst: int = 0) -> dict[str, Any]:
        """One cycle: ``sums`` belong to the pixel that came with ``ahead`` in the cycle before."""
        pixel = self.pixel
        outputs: dict[str, Any] = {"acc_ahead": None, "acc": self.acc}
        self.acc = None
        if pixel is not None:
            outputs["acc_ahead"] = pixel._replace(valid=pixel.valid & pixel.emit).fields()
            if pixel.valid:
                number = 0 if pixel.first else self.number
                before = [0] * self.lanes if pixel.fresh else self.partial.get(number)
                if before is not None:
                    self.acc = [wrap(b + (s << pixel.digit)) for b, s in zip(before, sums, strict=True)]
                    if not pixel.emit:
                        self.partial[number] = self.acc
                self.number = number + 1
        self.pixel = ahead
        if rst:
            self.pixel, self.acc, self.number = ahead.cleared(), None, 0
            self.partial.clear()
        return outputs
