"""Model of an output lane: kernel units and the sum of their products."""

from collections import deque
from collections.abc import Sequence

from hw.spec import DIGIT_BITS, UNIT_LATENCY, lane_latency
from verif.models.kernel_unit import Kernel, KernelUnit


class OutputLane:
    """``load_kernels`` kernels a cycle enter the units of each block of ``load_in``."""

    def __init__(self, input_lanes: int, load_kernels: int, digit_bits: int = DIGIT_BITS) -> None:
        self.units = [KernelUnit(digit_bits) for _ in range(input_lanes)]
        self.load_kernels = load_kernels
        self.tree: deque[int | None] = deque([None] * (lane_latency(input_lanes) - UNIT_LATENCY))

    def step(
        self, *, window: Sequence[Sequence[int]], load: int, load_in: int, kernels: Sequence[Kernel],
        swap: int, swap_alpha: int, rst: int = 0,
    ) -> dict[str, int | None]:  # fmt: skip
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
        return {"sum": self.tree.popleft()}
