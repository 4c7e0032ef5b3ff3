"""What a file of weights lacks, and what of it is not needed."""

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import NetworkShape
from kestrel.sw.model.weights import random_layer

UNUSED_SHOWN = 4


class Filler:
    """Gives random layers in place of missing ones."""

    def __init__(self, shape: NetworkShape, seed: int | None, pixel_step: float) -> None:
        self._shape, self._seed, self._pixel_step = shape, seed, pixel_step

    def layer(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of the layer with the number ``position``."""
        assert self._seed is not None, "else a missing layer is an error"
        # Each layer has its own generator, so that its values do not depend on which others are missing.
        generator = np.random.default_rng((self._seed, self._shape.features[position]))
        return random_layer(self._shape.layers[position], generator, self._pixel_step)


def missing_layers(source: str, shape: NetworkShape, present: list[bool], *, fill: bool) -> frozenset[str]:
    """The names of the layers that are missing. Unless ``fill`` is set, raises InputError for the first of
    them and suggests the cut that the file allows. Always raises it if no layer is present at all."""
    missing = [layer.name for layer, there in zip(shape.layers, present, strict=True) if not there]
    if missing and not any(present):
        what = "to fill up from" if fill else f"in it (the first is {missing[0]})"
        raise InputError(f"{source}: no layer of {shape.name} {what}; allowed: a file of its weights")
    if missing and not fill:
        hint = "allowed: every layer, or --fill-missing random:SEED"
        position = present.index(False)
        if position:
            last = shape.layers[position - 1]
            cut = f"pool{last.name[4:].split('_')[0]}" if last.pool else last.name
            hint = (f"allowed: every layer, a cut such as --network {shape.name.split(':')[0]}:{cut}, "
                    "or --fill-missing random:SEED")
        raise InputError(f"{source}: layer {missing[0]} of {shape.name} is missing; {hint}")
    return frozenset(missing)


def unused_remark(what: str, unused: tuple[str, ...]) -> list[str]:
    """One line that names what was not used, or no line."""
    if not unused:
        return []
    more = f" and {len(unused) - UNUSED_SHOWN} more" if len(unused) > UNUSED_SHOWN else ""
    return [f"{what} not used ({len(unused)}): {', '.join(unused[:UNUSED_SHOWN])}{more}"]
