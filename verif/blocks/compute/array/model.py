"""Model of the array: a matrix of weights times the windows."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.hw.spec.masks import DIGIT_BITS, decode_digit
from kestrel.hw.spec.timing import LEVELS_PER_STAGE, UNIT_LATENCY, lane_latency
from kestrel.hw.spec.widths import TAPS, tree_levels
from kestrel.verif.blocks.support.kernel import Kernel
from kestrel.verif.blocks.support.pixel import Pixel


class Array:
    """One weight alpha * digit for each tap, which is computed quite unlike in the block.

    A kernel must not be loaded in the very cycle of a swap, which would part its digits from its scalar. With
    ``group_lanes`` the sums over row groups come out too.
    """

    def __init__(
        self,
        input_lanes: int,
        output_lanes: int,
        load_kernels: int,
        group_lanes: int = 0,
        digit_bits: int = DIGIT_BITS,
    ) -> None:
        self.group_lanes = group_lanes
        early = UNIT_LATENCY + tree_levels(group_lanes) // LEVELS_PER_STAGE if group_lanes else 0
        self.no_groups: list[list[int | None]] = [[None] * ROW_GROUPS] * output_lanes
        self.groups = deque([self.no_groups] * early)
        self.group_pixels: deque[Pixel | None] = deque([None] * early)
        self.load_kernels = load_kernels
        self.digit_bits = digit_bits
        shape = (output_lanes, input_lanes, TAPS)
        self.shadow, self.shadow_known = np.zeros(shape, np.int64), np.zeros(shape[:2], bool)
        self.working, self.working_known = np.zeros(shape, np.int64), np.zeros(shape[:2], bool)
        latency = lane_latency(input_lanes)
        self.unknown: list[int | None] = [None] * output_lanes
        self.sums = deque([self.unknown] * latency)
        self.pixels: deque[Pixel | None] = deque([None] * latency)

    def step(
        self, *, ahead: Pixel, window: Sequence[Sequence[int]], load: Mapping[str, Any], rst: int = 0
    ) -> dict[str, Any]:
        """One cycle. After a reset nothing is determined until the next swap."""
        outputs = {"sums": self.sums.popleft(), "sums_ahead": _fields(self.pixels.popleft())}
        totals = np.einsum("oit,it->o", self.working, np.array(window, np.int64)).tolist()
        known = [all(row) for row in self.working_known.tolist()]
        self.sums.append([total if k else None for total, k in zip(totals, known, strict=True)])
        self.pixels.append(ahead)
        if self.group_lanes:
            outputs["groups"] = self.groups.popleft()
            outputs["groups_ahead"] = _fields(self.group_pixels.popleft())
            self.groups.append(self._group_sums(np.array(window, np.int64)))
            self.group_pixels.append(ahead)

        swap = ahead.valid and ahead.first
        if swap:
            self.working, self.working_known = self.shadow.copy(), self.shadow_known.copy()
        for out in range(len(self.shadow)):
            for lane in range(self.shadow.shape[1]):
                block, place = divmod(lane, self.load_kernels)
                if load["out"] >> out & 1 and load["block"] >> block & 1:
                    if swap:
                        raise ValueError("a kernel is loaded in the cycle of a swap")
                    kernel: Kernel = load["kernels"][place]
                    self.shadow[out, lane] = [
                        kernel.alpha * decode_digit(code, self.digit_bits) for code in kernel.digits
                    ]
                    self.shadow_known[out, lane] = True
        if rst:
            self.working_known[:] = False
            self.pixels = deque([ahead.cleared()] * len(self.pixels))
            self.sums = deque([self.unknown] * len(self.sums))
            self.group_pixels = deque([ahead.cleared()] * len(self.group_pixels))
            self.groups = deque([self.no_groups] * len(self.groups))
        return outputs

    def _group_sums(self, window: np.ndarray) -> list[list[int | None]]:
        found: list[list[int | None]] = []
        for weights, known in zip(self.working, self.working_known, strict=True):
            lanes = [slice(g * self.group_lanes, (g + 1) * self.group_lanes) for g in range(ROW_GROUPS)]
            found.append([int((weights[s] * window[s]).sum()) if known[s].all() else None for s in lanes])
        return found


def _fields(pixel: Pixel | None) -> dict[str, int] | None:
    return None if pixel is None else pixel.fields()
