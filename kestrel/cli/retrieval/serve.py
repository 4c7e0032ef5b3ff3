"""``kestrel serve``: a page on which one drops a photograph and sees the nearest ones of an index."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kestrel.api.retrieval import query_describer
from kestrel.cli.options import retrieval as options
from kestrel.cli.output import JsonOption, emit, note
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import When
from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.extract import Describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.query import backend_like

if TYPE_CHECKING:
    from kestrel.sw.serve.run import Server

EXTRA = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
"""Modules that the server needs, and the packages that they are in."""

LOOKED_FOR = 200
"""Pictures that are looked for before the server starts."""

MIB_MAX, MEGAPIXELS_MAX, JOBS_MAX = 1024, 134, 64


@declares(
    "network weights whitening images chip board count host port max_upload max_megapixels jobs",
    effects={"backend_set": When(lambda values: values["chip"], "with --no-chip", "with --chip")},
)
def serve(
    index: Annotated[Path, typer.Argument(help="Index file, from `kestrel index add`.")],
    network: Annotated[
        Path, typer.Option(help="Compressed network (.safetensors, or a name in list) of the index.")
    ],
    weights: options.WeightsOption = None,
    whitening: options.WhiteningOption = None,
    chip: Annotated[
        bool, typer.Option("--chip/--no-chip", help="Offer the simulated chip beside the reference.")
    ] = True,
    backend_set: options.BackendSetOption = None,
    board: Annotated[
        str | None, typer.Option(metavar="PORT", help="Offer the board at this serial port too.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: where the index remembers them.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="Matches of a search.")] = 10,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this reach beyond it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.")] = 8000,
    max_upload: Annotated[int, typer.Option(metavar="MIB", help="Largest upload, in MiB.")] = 20,
    max_megapixels: Annotated[int, typer.Option(help="Largest picture uploaded, in million pixels.")] = 50,
    jobs: Annotated[int, typer.Option(help="Searches computed at a time; others wait.")] = 2,
    json: JsonOption = False,
) -> None:
    """Serve a page, and JSON, for searching an index with a dropped photograph.

    Only this machine can reach it, unless --host says otherwise; there is no password. Network, weights and
    whitening must be the files that the index was made with. Ctrl-C ends it. The addresses are described in
    docs/serve.md.
    """
    _check_installed()
    _check_range("--count", count, 100)
    _check_range("--max-upload", max_upload, MIB_MAX)
    _check_range("--max-megapixels", max_megapixels, MEGAPIXELS_MAX)
    _check_range("--jobs", jobs, JOBS_MAX)
    if images is not None and not images.is_dir():
        raise InputError(f"--images {images}: no such folder; allowed: the folder of the index's pictures")

    found = DescriptorIndex.load(index)
    engines, refused = _engines(found, network, weights, whitening, chip=chip,
                                backend_options=options.parse_backend_options(backend_set))
    if board is not None:
        engines["board"] = query_describer(found, network, DescriptorOptions(
            backend="board", whitening=whitening, backend_options={"port": board}))
    for name, reason in refused.items():
        note(f"kestrel: without {name}: {reason}")
    about = Shown(index, _facts(found, network), refused, count)
    server = _make_server(found, engines, images, about, (host, port), (max_upload, max_megapixels, jobs))
    payload = {"url": server.url, "index": index, "count": len(found), "codes": found.kind.codes,
               "engines": list(engines), "refused": refused}

    def human(console: Console) -> None:
        console.print(f"{len(found):,} pictures; drop a photograph on {server.url}", highlight=False)
        console.print("Ctrl-C ends it", highlight=False)

    with suppress(KeyboardInterrupt):  # its usual end
        emit(payload, human, json)
        server.run()
    note("kestrel: ended; nothing was written")


@dataclass(frozen=True)
class Shown:
    """What the page says: the index's file, facts on it by title, why engines cannot be chosen, and how many
    matches are shown."""

    index: Path
    facts: Mapping[str, str]
    refused: Mapping[str, str]
    count: int


def _make_server(index: DescriptorIndex, engines: Mapping[str, Describer], images: Path | None, shown: Shown,
                 place: tuple[str, int], most: tuple[int, int, int]) -> "Server":
    """A server that listens. place: host and port; most: MiB of an upload, millions of pixels, jobs."""
    # Only here, as they need what is not installed with every kestrel.
    from kestrel.sw.serve.app import About, make_app  # noqa: PLC0415
    from kestrel.sw.serve.limits import MIB, Limits  # noqa: PLC0415
    from kestrel.sw.serve.pictures import IndexPictures  # noqa: PLC0415
    from kestrel.sw.serve.run import Server, allowed_hosts  # noqa: PLC0415
    from kestrel.sw.serve.searcher import Searcher  # noqa: PLC0415

    pictures = IndexPictures(index, images)
    missing, looked = pictures.missing(LOOKED_FOR)
    if missing:
        note(f"kestrel: warning: {shown.index}: {len(missing)} of {looked} pictures are not found, such as "
             f"{missing[0]}; --images FOLDER tells where they are")
    about = About(shown.index.name, shown.facts, shown.refused, shown.count)
    limits = Limits(most[0] * MIB, most[1] * 1_000_000, most[2])
    app = make_app(Searcher(index, engines, pictures), about, limits, allowed_hosts(place[0]))
    return Server(app, *place)


def _check_installed() -> None:
    missing = [package for module, package in EXTRA.items() if find_spec(module) is None]
    if missing:
        raise InputError(f"kestrel serve needs {', '.join(missing)}; "
                         "allowed: after pip install 'kestrel-engine[serve]'")


def _check_range(option: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError(f"{option} {value}; allowed: 1..{most}")


def _engines(
    index: DescriptorIndex, network: Path, weights: str | None, whitening: Path | None, *, chip: bool,
    backend_options: Mapping[str, str],
) -> tuple[dict[str, Describer], dict[str, str]]:
    """What describes queries, by name, the quickest first; and why another cannot. Raises InputError for
    files that the index was not made with, and for options of a chip that cannot be."""
    first = backend_like(index.settings)
    engines = {first: query_describer(index, network, DescriptorOptions(
        backend=first, weights=weights, whitening=whitening))}
    if not chip:
        return engines, {}
    if first == "float":
        if backend_options:
            raise InputError("--backend-set: the index was made by the float network, which no chip "
                             "computes; allowed: for an index made by integers")
        return engines, {"rtl": "the index was made by the float network"}
    try:
        engines["rtl"] = query_describer(index, network, DescriptorOptions(
            backend="rtl", whitening=whitening, backend_options=backend_options))
    except InputError as error:
        if backend_options:  # somebody wants this chip
            raise
        return engines, {"rtl": str(error)}
    return engines, {}


def _facts(index: DescriptorIndex, network: Path) -> dict[str, str]:
    """Lines for the head of the page."""
    settings = index.settings
    turned = f", {settings.rotations} rotations" if settings.rotations > 1 else ""
    return {
        "Pictures": f"{len(index):,}",
        "Network": network.name,
        "Descriptors": f"{settings.arithmetic}, {index.dimension} numbers, input {settings.width} x "
                       f"{settings.height}, crops {settings.crops}{turned}"
                       f"{', whitened' if settings.whitening else ''}",
        "Index": f"{index.kind.codes}, {index.kind.structure}",
    }  # fmt: skip
