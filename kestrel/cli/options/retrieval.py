"""The options that decide what a descriptor is, the same for every command that makes some."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kestrel.cli.output import note
from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.listing import find_pictures
from kestrel.sw.retrieval.describe.extract import POOLINGS, Describer, Skip, find_pooling, make_describer
from kestrel.sw.retrieval.pooling.bit_rows import check_bits
from kestrel.sw.retrieval.pooling.nip import NipSettings

NetworkArgument = Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or embedded).")]
ImagesArgument = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")]
EngineOption = Annotated[
    str, typer.Option(help="What computes: float (needs --weights), reference or rtl (simulated chip).")
]
WeightsOption = Annotated[
    str | None, typer.Option(help="Float weights, for the float engine: a file or random:SEED.")
]
HeightOption = Annotated[int, typer.Option(help="Height of the engine's input.")]
WidthOption = Annotated[int, typer.Option(help="Width of the engine's input.")]
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
WhiteningOption = Annotated[Path | None, typer.Option(help="Whitening file, from `kestrel whiten`.")]
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
EngineSetOption = Annotated[
    list[str] | None,
    typer.Option("--engine-set", metavar="NAME=VALUE",
                 help="Option of the engine; rtl has config (edge) and processes. May be repeated."),
]
WorkersOption = Annotated[
    int | None, typer.Option(help="Processes that read pictures; 0: none. Default: as suits.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="End at a picture in a folder that cannot be read; default: skip it.")
]


def chosen_describer(
    network: Path,
    *,
    engine: str,
    weights: str | None,
    height: int,
    width: int,
    pooling: str,
    crops: str | None,
    rois: str | None,
    moment: str | None,
    across: str | None,
    region_norm: bool,
    rotations: int,
    whitening: Path | None,
    fit: str,
    resize_filter: str,
    engine_set: Sequence[str] | None,
    border: int = 0,
) -> Describer:
    """The Describer of the options' values. Raises InputError."""
    preset, chain = find_pooling(pooling)
    if rois is not None:
        chain = replace(chain, levels=parse_levels(rois))
    if moment is not None:
        chain = replace(chain, moment=moment)
    if across is not None:
        chain = replace(chain, across=across)
    if border:
        chain = replace(chain, border=border)
    if not region_norm:
        chain = replace(chain, region_norm=False)
    return make_describer(
        network, weights=weights, engine=engine, height=height, width=width, pooling=chain,
        crops=crops or preset, rotations=rotations, whitening=whitening, fit=fit, resize_filter=resize_filter,
        engine_options=parse_engine_options(engine_set),
    )  # fmt: skip


def check_bits_option(bits: int | None, codes: str | None) -> None:
    """Raises InputError for a number of bits without codes of bits, or one that there cannot be."""
    if bits is not None:
        if codes != "bits":
            raise InputError(f"--bits {bits} with codes {codes}; allowed: with --codes bits")
        check_bits(bits)


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


def parse_engine_options(settings: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE, each. Raises InputError."""
    options: dict[str, str] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise InputError(f"--engine-set {setting!r}; allowed: NAME=VALUE")
        options[name] = value
    return options


def collect_pictures(images: Sequence[Path]) -> tuple[list[Path], list[str], frozenset[str]]:
    """The files of the arguments, their names, and the names of those given by themselves.

    Folders are searched with all of theirs. One folder alone: names relative to it; otherwise as the
    arguments say. Raises InputError for a missing file, an empty folder, and a name that comes twice.
    """
    paths: list[Path] = []
    names: list[str] = []
    single: set[str] = set()
    for image in images:
        if image.is_dir():
            found = find_pictures(image)
            paths += found.paths
            names += found.names if len(images) == 1 else [path.as_posix() for path in found.paths]
        elif image.exists():
            paths.append(image)
            names.append(image.as_posix())
            single.add(names[-1])
        else:
            raise InputError(f"{image}: no such file or folder; allowed: image files and folders of them")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{name}: given twice; allowed: each image once")
        seen.add(name)
    return paths, names, frozenset(single)


class Skipped:
    """Tells of pictures left out. ``names``: of those so far."""

    def __init__(self, single: frozenset[str] = frozenset()) -> None:
        self.names: list[str] = []
        self._single = single

    def __call__(self, name: str, error: InputError) -> None:
        if name in self._single:  # asked for by name: not to be left out quietly
            raise error
        self.names.append(name)
        note(f"kestrel: skipped {' '.join(str(error).split())}")


def skipper(single: frozenset[str], strict: bool) -> tuple[Skip | None, Callable[[], list[str]]]:
    """What to call with bad pictures (None: they are errors), and the names of those skipped so far."""
    if strict:
        return None, list
    skipped = Skipped(single)
    return skipped, lambda: skipped.names
