"""How much each layer's masks disturb the network, depending on their width."""

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.sw.allocate.batches import Batches
from kestrel.sw.allocate.search import Plan
from kestrel.sw.compress.calibrate import Progress, silent


@dataclass(frozen=True)
class Sensitivity:
    """The effect of one layer's width, as a mean over the pictures, around ``base`` (None: all layers float).

    ``at_base`` is the distortion of the base itself: 1 - cosine of its pooled descriptor and the float
    network's. ``descriptor`` gives for each layer that has integers of its own, by mask bits, the distortion
    when only this layer, with all that share its integers, is changed to that width. ``output`` gives the
    noise in the layer's own output, as power relative to the base's.
    """

    base: Plan | None
    at_base: float
    descriptor: tuple[dict[int, float], ...]
    output: tuple[dict[int, float], ...]

    def summands(self) -> tuple[dict[int, float], ...]:
        """The distortions in a form whose sum over the layers predicts a plan's: the changes are added up."""
        return tuple(
            {width: value - (self.at_base if position else 0.0) for width, value in layer.items()}
            for position, layer in enumerate(self.descriptor)
        )


class Disturbance:
    """The network with fitted weights in some layers, in floating point, compared with the original network.

    This leaves out the rounding of scalars and activations, which hardly depends on the widths. Sums are over
    batches in their order, so that they are the same wherever the batches were computed.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def measure(self, plan: Plan) -> float:
        """The mean distortion of the descriptors with these widths."""
        return sum(self._batches.distortions(plan), 0.0) / self._batches.count

    def around(self, base: Plan | None, widths: Sequence[Sequence[int]],
               progress: Progress = silent) -> Sensitivity:
        """Measures every layer at each of its ``widths``, with all others as in ``base``."""
        count = self._batches.count
        descriptor = [dict.fromkeys(choices, 0.0) for choices in widths]
        output = [dict.fromkeys(choices, 0.0) for choices in widths]
        at_base = 0.0
        about = "sensitivity" if base is None else "sensitivity again"
        with progress(about, sum(map(len, widths)) * count) as advance:
            for batch in self._batches.effects(base, tuple(map(tuple, widths)), advance):
                at_base += batch.at_base / count
                for position, choices in enumerate(widths):
                    for width in choices:
                        descriptor[position][width] += batch.descriptor[position][width] / count
                        output[position][width] += batch.output[position][width] / count
        return Sensitivity(base, at_base, tuple(descriptor), tuple(output))
