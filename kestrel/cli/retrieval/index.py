"""``kestrel index``: an index of descriptors, with its sub-commands."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kestrel.api.retrieval import IndexOptions, add_to_index, new_index
from kestrel.cli.options.retrieval import BitsOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import DeclaredCommand, declares
from kestrel.cli.rules.effects import Values, When
from kestrel.cli.rules.outputs import ContinuedOutput
from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import load_descriptors, recorded
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.structures import CODES, STRUCTURES


def _learns(values: Values) -> bool:
    """Whether a new index learns anything; one that is there has learned, and refuses by itself."""
    return values["codes"] in ("bytes", "bits") or values["structure"] in ("ivf", "ivfpq") or _exists(values)


def _has_bits(values: Values) -> bool:
    return values["codes"] == "bits" or _exists(values)


def _exists(values: Values) -> bool:
    return Path(values["path"]).exists()


index = typer.Typer(help="Keep an index of descriptors: add, remove, info.", add_completion=False)

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="Index file.")]

WILDCARDS = "*?["


@index.command(cls=DeclaredCommand)
@declares(
    "codes structure",
    writes={"path": ContinuedOutput()},
    effects={
        "train": When(_learns, "in a new index of floats whose structure has no cells",
                       "with --codes bytes or bits, or --structure ivf or ivfpq"),
        "threshold bits": When(_has_bits, "in a new index without --codes bits", "with --codes bits"),
    },
)
def add(
    path: IndexArgument,
    descriptors: Annotated[list[Path], typer.Argument(help="Descriptor files, from `kestrel describe`.")],
    codes: Annotated[
        str | None, typer.Option(help=f"Of a new index: {', '.join(CODES)}; default floats.")
    ] = None,
    structure: Annotated[
        str | None, typer.Option(help=f"Of a new index: {', '.join(STRUCTURES)}; default: by the number "
                                   "of descriptors, flat (exact) for few.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Descriptor file that a new index learns ranges, thresholds and cells from; "
                          "default: what is added."),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help=f"Of the bits of a new index: {' or '.join(THRESHOLDS)}.")
    ] = None,
    bits: BitsOption = None,
    json: JsonOption = False,
) -> None:
    """Add descriptors to an index; the first time the index is created.

    Ranges and thresholds are learned once, when the index is created.
    """
    exists = path.exists()
    found = DescriptorIndex.load(path) if exists else None
    if found is not None:
        _check_kind(found, path, codes, structure, train, threshold, bits)
    sources = [load_descriptors(source) for source in descriptors]
    names = [str(name) for name in descriptors]
    if found is None:
        options = IndexOptions(codes or CODES[0], structure, train, threshold, bits)
        found = new_index(sources[0], names[0], options, sum(len(source.names) for source in sources))
    add_to_index(found, sources, names, progress=progress)
    total = sum(len(source.names) for source in sources)
    found.save(path)
    payload = {"index": path, "created": not exists, "added": total, "bytes": path.stat().st_size,
               **found.describe()}
    emit(payload, lambda console: console.print(
        f"added {total}: {path} holds {len(found)} descriptors ({found.kind.codes}, {found.kind.structure})",
        highlight=False, soft_wrap=True), json)


@index.command(cls=DeclaredCommand)
@declares(writes={"path": ContinuedOutput()})
def remove(
    path: IndexArgument,
    names: Annotated[list[str], typer.Argument(help="Names, or patterns as in 'beach/*.jpg'.")],
    json: JsonOption = False,
) -> None:
    """Remove descriptors from an index by name.

    A graph (hnsw) is rebuilt from the descriptors that remain; the other structures only close the gaps.
    """
    found = DescriptorIndex.load(path)
    gone = _matching(found.names, names)
    with progress("removing", len(found) - len(gone)) as advance:
        found.remove(gone, advance)
    found.save(path)
    payload = {"index": path, "removed": len(gone), "names": gone, "count": len(found),
               "bytes": path.stat().st_size}
    emit(payload, lambda console: console.print(
        f"removed {len(gone)}: {path} holds {len(found)} descriptors", highlight=False, soft_wrap=True), json)


@index.command(cls=DeclaredCommand)
@declares("names recall")
def info(
    path: IndexArgument,
    names: Annotated[bool, typer.Option("--names", help="Also list the names.")] = False,
    recall: Annotated[
        int | None, typer.Option(metavar="QUERIES", help="Also measure the recall at 1 and at 10 against the "
                                 "exact search, with so many of the entries as queries.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what an index holds and how its descriptors were made."""
    found = DescriptorIndex.load(path)
    payload = {"index": path, "bytes": path.stat().st_size, **found.describe(),
               **({} if recall is None else found.recall(recall).payload())}
    if names:
        payload["names"] = found.names

    def human(console: Console) -> None:
        def show(key: str, value: object) -> None:
            console.print(f"{key:<14}{value}", highlight=False, markup=False, soft_wrap=True)

        for key, value in payload.items():
            if key == "quantiser" and isinstance(value, dict):
                show(key, f"{value['low']:g} .. {value['high']:g}, from {value['source']}")
            elif key == "recall" and isinstance(value, dict):
                show(key, f"{value['at_1']:.3f} at 1, {value['at_depth']:.3f} at {value['depth']} "
                          f"of the exact search, {value['queries']} queries in {value['seconds']:.2f} s")
            elif key not in {"settings", "names", "quantiser"}:
                show(key, value)
        for key, value in recorded(found.settings).items():
            show(key, value)
        for name in found.names if names else ():
            console.print(name, highlight=False, markup=False, soft_wrap=True)

    emit(payload, human, json)


def _check_kind(found: DescriptorIndex, path: Path, codes: str | None, structure: str | None,
                train: Path | None, threshold: str | None, bits: int | None) -> None:
    """Raises InputError for options that contradict those of an existing index."""
    for option, given, here in (("codes", codes, found.kind.codes),
                                ("structure", structure, found.kind.structure)):
        if given is not None and given != here:
            raise InputError(f"--{option} {given}: {path} has {here}; allowed: {here}, or a new index")
    for option, given in (("train", train), ("threshold", threshold), ("bits", bits)):
        if given is not None:
            raise InputError(f"--{option} {given}: {path} is there already and has learned; "
                             "allowed: with a new index")


def _matching(known: list[str], wanted: list[str]) -> list[str]:
    """The wanted names of ``known``, in their order. Raises InputError for one that matches nothing."""
    here, gone = set(known), set[str]()
    for name in wanted:
        if name in here:
            gone.add(name)
            continue
        found = {k for k in known if fnmatchcase(k, name)} if any(w in name for w in WILDCARDS) else set()
        if not found:
            raise InputError(f"{name} is not in the index; allowed: one of its {len(known)} names, or a "
                             "pattern of some")
        gone |= found
    return [name for name in known if name in gone]
