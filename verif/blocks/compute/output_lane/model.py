"""Model of an output lane: kernel units and the sum of their products."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.hw.spec.masks import DIGIT_BITS
from kestrel.hw.spec.timing import LEVELS_PER_STAGE, UNIT_LATENCY, lane_latency
from kestrel.hw.spec.widths import tree_levels
from kestrel.verif.blocks.compute.kernel_unit.model import KernelUnit
from kestrel.verif.blocks.support.kernel import Kernel


class OutputLane:
    """``load_kernels`` kernels a cycle enter the units of each block of ``load_in``. With ``group_lanes``
    the sums over row groups are outputs too."""

    def __init__(
        self, input_lanes: int, load_kernels: int, group_lanes: int = 0, digit_bits: int = DIGIT_BITS
    ) -> None:
        self.group_lanes = group_lanes
        waiting = tree_levels(group_lanes) // LEVELS_PER_STAGE if group_lanes else 0
        unknown: list[int | None] = [None] * ROW_GROUPS
        self.group_sums = deque([unknown] * waiting)
        self.units = [KernelUnit(digit_bits) for _ in range(input_lanes)]
        self.load_kernels = load_kernels
        self.tree: deque[int | None] = deque([None] * (lane_latency(input_lanes) - UNIT_LATENCY))

    def step(
        self, *, window: Sequence[Sequence[int]], load: int, load_in: int, kernels: Sequence[Kernel],
        swap: int, swap_alpha: int, rst: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """One cycle; ``window`` has nine activations for each input lane."""
        products = []
        for lane, unit in enumerate(self.units):
            block, place = divmod(lane, self.load_kernels)
            products.append(
                unit.step(
                    window=window[lane], load=load & (load_in >> block), kernel=kernels[place],
                    swap=swap, swap_alpha=swap_alpha, rst=rst,
                )["product"]
            )  # fmt: skip
        total = None if None in products else sum(p for p in products if p is not None)
        self.tree.append(total)
        outputs: dict[str, Any] = {"sum": self.tree.popleft()}
        if self.group_lanes:
            parts = [products[g * self.group_lanes :][: self.group_lanes] for g in range(ROW_GROUPS)]
            self.group_sums.append([None if None in part else sum(part) for part in parts])
            outputs["groups"] = self.group_sums.popleft()
        return outputs
