"""What commands take that plan a frame: a network's file or name, and what is asked of the chip."""

from typing import Annotated

import typer

from kestrel.api.planning import is_network_file
from kestrel.cli.options.config import Top
from kestrel.cli.rules.effects import When
from kestrel.sw.estimate.devices import DEVICES

FileOrNameArgument = Annotated[
    str,
    typer.Argument(
        help="Compressed network (.safetensors, or a name in list), or a name: vgg16, vgg16/8:pool3."
    ),
]
NamedMaskBitsOption = Annotated[
    str | None,
    typer.Option("--mask-bits", help="Mask bits of a network given by name, BITS*LAYERS,...; else 3."),
]
NAMED_ONLY = When(lambda values: not is_network_file(values["network"]),
                  "with a network file, which has its own", "with a network's name")
"""When --mask-bits has an effect."""

DeviceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help=f"FPGA to fit into: {', '.join(DEVICES)}.")
]
EstimatedTopOption = Annotated[
    Top, typer.Option(help="engine, or chip: with what stands around it and a descriptor unit.")
]
DescribedOption = Annotated[
    str | None,
    typer.Option("--pooling", help="With top chip: also a descriptor's time and energy; nip, rnip9x, ..."),
]
FitMemoriesOption = Annotated[
    bool, typer.Option("--fit", help="With the engine's memories as small as the network allows.")
]
