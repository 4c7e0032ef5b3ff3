"""The options that decide what a descriptor is, the same for every command that makes some."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from kestrel.cli.options.maps import PoolMapsOption  # noqa: F401 - one of this module
from kestrel.cli.options.size import METAVAR
from kestrel.cli.output import note
from kestrel.cli.rules.effects import Values, When
from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.extract import POOLINGS, Skip, find_pooling
from kestrel.sw.retrieval.pooling.nip import NipSettings

DEFAULT_POOLING = "nip"

NetworkArgument = Annotated[
    Path, typer.Argument(help="Compressed network (.safetensors, or a name in list).")
]
ImagesArgument = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")]
BackendOption = Annotated[
    str, typer.Option(help="What computes: float (needs --weights), reference or rtl (simulated chip).")
]
WeightsOption = Annotated[
    str | None, typer.Option(help="Float weights, for the float backend: a file or random:SEED.")
]
SizeOption = Annotated[
    str, typer.Option("--size", metavar=METAVAR, help="Size of the backend's input: a side, or HEIGHTxWIDTH.")
]
PoolingOption = Annotated[str, typer.Option(help=f"Crops and chain: {', '.join(POOLINGS)}.")]
CropsOption = Annotated[
    str | None,
    typer.Option(help="Other crops: whole, levels:1+2, square:1+2+3, grid:3x3~50, mosaic:2x3; each *WEIGHT."),
]
RoisOption = Annotated[
    str | None, typer.Option(help="Other levels of the regions, as in 1+2+3, or none for the whole map.")
]
MomentOption = Annotated[
    str | None, typer.Option(help="Other moment in a region: sqrt, sqrt-sum, std, mean or max.")
]
AcrossOption = Annotated[str | None, typer.Option(help="Over the regions: mean or std.")]
RegionNormOption = Annotated[
    bool, typer.Option("--region-norm/--no-region-norm", help="L2 normalisation of each region's vector.")
]
BorderOption = Annotated[int, typer.Option(help="Rows and columns left out on every side of a map.")]
RotationsOption = Annotated[int, typer.Option(help="Rotations of the picture: 1, 2 or 4.")]
WhiteningOption = Annotated[Path | None, typer.Option(
    help="Whitening file, from `kestrel whiten`; or resnet18-retrieval, that of this network; or "
         "resnet18-retrieval-maps, with --pool-maps layer3.0,layer4.0; or vgg16-retrieval-maps, with "
         "pool3,pool5; or compact-retrieval-maps, with pool3,pool4."
)]
FitOption = Annotated[
    str, typer.Option(help="A crop fills the input (stretch) or keeps its proportions inside it (keep).")
]
FilterOption = Annotated[
    str, typer.Option("--filter", help="Of the resizing: bicubic, bilinear, lanczos or box.")
]
BitsOption = Annotated[
    int | None,
    typer.Option(min=1, help="With codes bits: how many; default: one a dimension. More retrieve better."),
]
AsymmetricOption = Annotated[
    bool,
    typer.Option("--asymmetric", help="With codes bits: queries keep their floats, which retrieves better."),
]
BackendSetOption = Annotated[
    list[str] | None,
    typer.Option("--backend-set", metavar="NAME=VALUE",
                 help="Option of the backend; rtl has config (edge), its fields, processes, and images, the "
                 "most pictures of a frame. Repeatable."),
]
WorkersOption = Annotated[
    int | None, typer.Option(help="Processes that read pictures; 0: none. Default: as suits.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="End at a picture in a folder that cannot be read; default: skip it.")
]


OWN_WEIGHTS = When(lambda values: values["backend"] not in ("reference", "rtl"),
                   "with a backend that computes with the network's integers", "with --backend float")
"""When --weights has an effect. Backends that are installed may take them."""

BACKEND_OPTIONS = When(lambda values: values["backend"] not in ("reference", "float"),
                       "with a backend that has no options", "with --backend rtl")
"""When --backend-set has an effect."""


def _pooling_shows(values: Values) -> bool:
    """Whether crops and chain are others than without --pooling. An unknown name is refused elsewhere."""
    name = values["pooling"]
    if name not in POOLINGS or name == DEFAULT_POOLING:
        return True
    changes = [values[option] for option in ("rois", "moment", "across", "region_norm", "border")]
    crops, chains = zip(*((crops, chosen_chain(pooling, *changes) or chain)
                          for pooling, (crops, chain) in POOLINGS.items()
                          if pooling in (name, DEFAULT_POOLING)), strict=True)
    return len(set(chains)) > 1 or (values["crops"] is None and len(set(crops)) > 1)


POOLING_SHOWS = When(_pooling_shows, "where all that it stands for is given by other options",
                     "without some of --crops, --rois, --moment and the like")
"""When --pooling has an effect."""

DESCRIBING = {"pooling": POOLING_SHOWS, "weights": OWN_WEIGHTS, "backend_set": BACKEND_OPTIONS}
"""When options have an effect that do not always have one, in every command that computes descriptors."""


def chosen_chain(
    pooling: str, rois: str | None, moment: str | None, across: str | None, region_norm: bool, border: int
) -> NipSettings | None:
    """The chain of the options' values; None for the one of ``pooling``. Raises InputError."""
    changes: dict[str, Any] = {
        **({} if rois is None else {"levels": parse_levels(rois)}),
        **({} if moment is None else {"moment": moment}),
        **({} if across is None else {"across": across}),
        **({"border": border} if border else {}),
        **({} if region_norm else {"region_norm": False}),
    }
    return replace(find_pooling(pooling)[1], **changes) if changes else None


def parse_levels(text: str) -> tuple[int, ...]:
    """``1+2+3`` or ``none``. Raises InputError."""
    if text == "none":
        return ()
    parts = text.split("+")
    if not all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
        raise InputError(f"rois {text!r}; allowed: levels such as 1+2+3, or none")
    levels = tuple(int(part) for part in parts)
    NipSettings(levels=levels)
    return levels


def parse_backend_options(settings: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE, each. Raises InputError."""
    options: dict[str, str] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise InputError(f"--backend-set {setting!r}; allowed: NAME=VALUE")
        options[name] = value
    return options


class Skipped:
    """Tells of pictures left out. ``names``: of those so far."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, error: InputError) -> None:
        self.names.append(name)
        note(f"kestrel: skipped {' '.join(str(error).split())}")


def skipper(strict: bool) -> tuple[Skip | None, list[str]]:
    """What to call with bad pictures (None: they are errors), and the names of those skipped so far."""
    if strict:
        return None, []
    skipped = Skipped()
    return skipped, skipped.names
