"""The options that decide how float weights become integers, the same for every command that compresses."""

from typing import Annotated

import typer

from kestrel.cli.options.size import METAVAR
from kestrel.cli.rules.effects import When
from kestrel.sw.model.weights import RANDOM_PREFIX

FillMissingOption = Annotated[
    str | None,
    typer.Option(metavar="random:SEED", help="Seeded random weights for layers that WEIGHTS lacks."),
]
WEIGHTS_FROM_FILE = When(lambda values: not values["weights"].startswith(RANDOM_PREFIX),
                         "with random weights, which are complete", "with a file of weights")
"""When --fill-missing has an effect."""
ActivationBitsOption = Annotated[int, typer.Option(help="Bits of an activation, 4..8.")]
PreprocessingOption = Annotated[
    str, typer.Option(help="What the weights expect: caffe, torchvision or none.")
]
CalibrationSizeOption = Annotated[
    str, typer.Option("--size", metavar=METAVAR, help="Of the pictures measured on: a side, or HEIGHTxWIDTH.")
]
PercentileOption = Annotated[
    float, typer.Option(help="Percentile of the activations taken as range, 50..100 (the maximum).")
]
