"""``kestrel search``: the nearest pictures of an index."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kestrel.api.descriptors import DescribeRun, describe
from kestrel.api.pictures import collect_pictures
from kestrel.api.retrieval import load_truth, query_describer
from kestrel.api.retrieval import search as search_index
from kestrel.cli.options import retrieval as options
from kestrel.cli.output import JsonOption, command_line, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Given, When
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.kinds import PAGE
from kestrel.sw.common.provenance import provenance_now
from kestrel.sw.retrieval.benchmark.protocols import PROTOCOLS
from kestrel.sw.retrieval.describe.descriptor import check_comparable, load_descriptors
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.neighbours import COUNT_MAX
from kestrel.sw.retrieval.search.page import picture_finder, warn_of_missing, write_page
from kestrel.sw.retrieval.search.query import MARKS, Result, Truth, backend_like

DESCRIPTOR_SUFFIX = ".npz"

PICTURES_ASKED = When(lambda values: any(Path(q).suffix != DESCRIPTOR_SUFFIX for q in values["queries"]),
                      "with descriptor files alone", "with pictures among the queries")


@declares(
    "count effort html dataset asymmetric",
    writes={"html": FileOutput(PAGE)},
    effects={
        "network weights whitening backend backend_set": PICTURES_ASKED,
        "images": Given("html"),
        "protocol": Given("dataset"),
    },
)
def search(
    index: Annotated[Path, typer.Argument(help="Index file, from `kestrel index add`.")],
    queries: Annotated[
        list[Path], typer.Argument(metavar="QUERY...", help="Pictures, folders, or descriptor files (.npz).")
    ],
    network: Annotated[
        Path | None,
        typer.Option(
            help="Compressed network (.safetensors, or a name in list) that the index was made with."
        ),
    ] = None,
    weights: options.WeightsOption = None,
    whitening: options.WhiteningOption = None,
    backend: Annotated[
        str | None, typer.Option(help="float, reference or rtl; default: the arithmetic of the index.")
    ] = None,
    backend_set: options.BackendSetOption = None,
    count: Annotated[int, typer.Option("-n", "--count", help="Matches of each query.")] = 10,
    effort: Annotated[
        int | None,
        typer.Option(help="Candidates kept (hnsw) or cells visited (ivf, ivfpq): more finds more.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page of the results as pictures to write.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: where the index remembers them.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder with ground truth: right and wrong matches are marked.")
    ] = None,
    protocol: Annotated[str, typer.Option(help=f"Of --dataset: {', '.join(PROTOCOLS)}.")] = "groups",
    asymmetric: options.AsymmetricOption = False,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Search an index for the pictures most like the given ones.

    Size, crops, pooling and rotations are the index's own. Network, weights and whitening must be the files
    it was made with.
    """
    if not 1 <= count <= COUNT_MAX:
        raise InputError(f"--count {count}; allowed: 1..{COUNT_MAX}")
    found = DescriptorIndex.load(index)
    truth = None if dataset is None else load_truth(dataset, protocol)
    chosen = DescriptorOptions(
        backend=backend or backend_like(found.settings), weights=weights, whitening=whitening,
        backend_options=options.parse_backend_options(backend_set),
    )  # fmt: skip
    asked = _described(found, index, queries, truth, network, chosen)
    results = search_index(found, asked.vectors, count, names=asked.names, effort=effort, truth=truth,
                           asymmetric=asymmetric)
    measure = found.measure(asymmetric)
    if html is not None:
        finder = picture_finder(found, images, dataset or Path())
        warn_of_missing(results, finder, index)
        about = {"index": f"{index}: {len(found)} descriptors, {found.dimension} {found.kind.codes}, "
                          f"{found.kind.structure}",
                 "descriptors": f"{found.settings.arithmetic}, {found.settings.width} x "
                                f"{found.settings.height}, crops {found.settings.crops}, "
                                f"{found.settings.pooling}, {found.settings.rotations} rotations",
                 **_made(found, dataset)}
        write_page(html, results, about, measure, finder, asked.files)
    payload = {"index": index, "measure": measure, "exact": found.kind.exact,
               "queries": [_payload(result) for result in results], **({"html": html} if html else {})}
    emit(payload, lambda console: _show(console, results, measure, html), json)


def _made(index: DescriptorIndex, dataset: Path | None) -> dict[str, str]:
    """For the page: where it comes from."""
    about = provenance_now("", index.settings.network, "" if dataset is None else str(dataset),
                           command_line())
    return {**({"dataset": about.dataset} if about.dataset else {}), "network's SHA-256": about.network_hash,
            "made": f"{about.date} by kestrel {about.version}: {about.command}"}


@dataclass(frozen=True)
class _Queries:
    """Vectors [Q, D] and names of the queries, those of descriptor files first, and the picture files of
    those that were described here."""

    vectors: np.ndarray
    names: tuple[str, ...]
    files: dict[str, Path]


def _described(found: DescriptorIndex, index: Path, queries: list[Path], truth: Truth | None,
               network: Path | None, chosen: DescriptorOptions) -> _Queries:
    vectors: list[np.ndarray] = []
    names: list[str] = []
    files: dict[str, Path] = {}
    for path in (query for query in queries if query.suffix == DESCRIPTOR_SUFFIX):
        given = load_descriptors(path)
        check_comparable(given.settings, found.settings, str(path), str(index))
        vectors.append(given.vectors)
        names += given.names
    if pictures := [query for query in queries if query.suffix != DESCRIPTOR_SUFFIX]:
        if network is None:
            raise InputError(f"{pictures[0]}: a picture has to be described first; "
                             "allowed: with --network FILE, or a descriptor file")
        describer = query_describer(found, network, chosen)
        paths, labels, _ = collect_pictures(pictures)
        where = dict(zip(labels, paths, strict=True))
        skip, _ = options.skipper(strict=False)
        made = describe(describer, pictures, run=DescribeRun(skip),
                        progress=partial(progress, rate="images/s"))
        vectors.append(made.vectors)
        for label in made.names:
            name = label if truth is None else truth.name_of(where[label])
            files[name] = where[label]
            names.append(name)
    if truth is not None and all(truth.positives(name) is None for name in names):
        note(f"kestrel: no query of the ground truth of {truth.folder} among {', '.join(names[:3])}")
    return _Queries(np.concatenate(vectors), tuple(names), files)


def _payload(result: Result) -> dict[str, Any]:
    judged = {} if result.wanted is None else {"right": result.right, "wanted": result.wanted}
    return {
        "query": result.query, **judged,
        "matches": [
            {"rank": rank, "name": match.name, "score": match.score,
             **({} if match.verdict is None else {"verdict": match.verdict})}
            for rank, match in enumerate(result.matches, 1)
        ],
    }  # fmt: skip


def _show(console: Console, results: list[Result], measure: str, html: Path | None) -> None:
    for result in results:
        judged = result.wanted is not None
        title = escape(result.query) + (f": {result.right} of {result.wanted} right ones" if judged else "")
        table = Table("rank", measure, "name", *(["verdict"] if judged else []), title=title)
        for rank, match in enumerate(result.matches, 1):
            verdict = [f"{MARKS[match.verdict]} {match.verdict}"] if match.verdict is not None else []
            table.add_row(str(rank), f"{match.score:g}", escape(match.name), *verdict)
        console.print(table, highlight=False)
    if html is not None:
        console.print(f"written: {html}", highlight=False, soft_wrap=True)
