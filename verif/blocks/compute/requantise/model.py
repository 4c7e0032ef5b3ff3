"""Model of requantisation: all lanes with their pixels."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from kestrel.verif.blocks.compute.requantise_lane.model import RequantiseLane
from kestrel.verif.blocks.support.pixel import Pixel


class Requantise:
    """All lanes; those beyond the layer's last channel give 0."""

    def __init__(self, lanes: int, load_kernels: int) -> None:
        self.units = [RequantiseLane() for _ in range(lanes)]
        self.load_kernels = load_kernels
        self.pixels: deque[Pixel | None] = deque([None] * 3)

    def step(
        self, *, ahead: Pixel, acc: Sequence[int], load: Mapping[str, Any], shift: int, maximum: int,
        last_out_lanes: int, grouped: int = 0, groups: Sequence[Sequence[int]] = (), rst: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """One cycle. ``ahead`` of the accumulators that come in the next."""
        result, following, _ = self.pixels
        swap = ahead.valid and ahead.first
        y: list[list[int | None]] = []  # lane by lane, of each row
        for n, unit in enumerate(self.units):
            block, place = divmod(n, self.load_kernels)
            found = unit.step(
                load=load["block"] >> block & 1, bias=load["biases"][place], swap=swap,
                acc=acc[n], shift=shift, maximum=maximum, grouped=grouped, groups=groups[n] if groups else (),
            )  # fmt: skip
            values: list[int | None] = [found["y"], *found.get("others", ())]
            if result is None:
                values = [None] * len(values)
            elif result.last_out and n >= last_out_lanes:
                values = [0] * len(values)
            y.append(values)
        first, *others = (list(row) for row in zip(*y, strict=True))
        outputs: dict[str, Any] = {"y": first, "y_ahead": None if following is None else following.fields()}
        if groups:
            outputs["others"] = others
        self.pixels.popleft()
        self.pixels.append(ahead)
        if rst:
            self.pixels = deque([ahead.cleared()] * 3)
        return outputs
