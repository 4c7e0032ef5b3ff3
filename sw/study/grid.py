"""The grid of a study: a TOML file of networks, codecs, poolings and data, whose product is measured.

    title = "..."
    seed = 0
    whitenings = ["none", "after"]

    [[data]]       name, folder, protocol, size; training and training_pictures for the whitening,
                   calibration and calibration_pictures for the rules that measure pictures
    [[networks]]   name, weights (a file or random:SEED), cuts [[codecs]]     family and its options, each a
    value or a list of them [[poolings]]   name and the settings of ``NipSettings`` [[dense]]      network,
    weights, layer, input, pictures, every: accuracy by class with that layer compressed

Folders and files are relative to a root that the command line names. A key that is not known is refused.
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.weights import RANDOM_PREFIX
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.sw.study.codecs import CODING, Codec, make_codec
from kestrel.sw.zoo.networks import find_architecture

NO_WHITENING = "none"
WHITENINGS = (NO_WHITENING, "after")
"""None, or once, after the average over the regions."""

LISTS = ("cuts", "levels")
"""Keys whose value is a list, and not one of several."""


@dataclass(frozen=True)
class NetworkEntry:
    """name: of ``kestrel.sw.zoo.networks``; weights: a file or random:SEED; cuts: names of maps."""

    name: str
    weights: str
    cuts: tuple[str, ...]

    @property
    def is_trained(self) -> bool:
        return not self.weights.startswith(RANDOM_PREFIX)


@dataclass(frozen=True)
class DataEntry:
    """A benchmark. size: the side that pictures are stretched to; training: a folder for the whitening;
    calibration: one for the rules that measure pictures; both with the number of pictures that are taken."""

    name: str
    folder: str
    protocol: str = "groups"
    size: int = 224
    training: str = ""
    training_pictures: int = 100
    calibration: str = ""
    calibration_pictures: int = 32


@dataclass(frozen=True)
class DenseEntry:
    """A dense layer to compress. layer: its key; input: the map that it reads; pictures: a folder in which
    the n-th picture shows class n; every: step through them."""

    network: str
    weights: str
    layer: str
    input: str
    pictures: str
    every: int = 1


@dataclass(frozen=True)
class Grid:
    """Everything that a study measures."""

    title: str
    seed: int
    whitenings: tuple[str, ...]
    data: tuple[DataEntry, ...]
    networks: tuple[NetworkEntry, ...]
    codecs: tuple[Codec, ...]
    poolings: Mapping[str, NipSettings]
    dense: tuple[DenseEntry, ...]


def read_grid(path: Path) -> Grid:
    """The grid of a file. Raises InputError, naming the file."""
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; "
                         "allowed: a grid (TOML), or quick")
    try:
        return parse_grid(path.read_text(encoding="utf-8"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:  # also for a number of too many digits
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not TOML ({reason}); allowed: a grid") from error


def parse_grid(text: str) -> Grid:
    """The grid of a TOML text. Raises InputError, and tomllib's error for what is no TOML."""
    found = tomllib.loads(text)
    _check_keys("", found, {field.name for field in fields(Grid)})
    tables = {name: _tables(found, name) for name in ("data", "networks", "codecs", "poolings", "dense")}
    whitenings = tuple(_list("whitenings", found.get("whitenings", [NO_WHITENING])))
    for name in whitenings:
        if name not in WHITENINGS:
            raise InputError(f"whitenings: {name!r}; allowed: {', '.join(WHITENINGS)}")
    grid = Grid(
        _value("title", found.get("title", "Study"), str), _value("seed", found.get("seed", 0), int),
        whitenings,
        tuple(_entry(DataEntry, "data", table) for table in tables["data"]),
        tuple(_entry(NetworkEntry, "networks", table) for table in tables["networks"]),
        tuple(dict.fromkeys(codec for table in tables["codecs"] for codec in _codecs(table))),
        dict(_pooling(table) for table in tables["poolings"]),
        tuple(_entry(DenseEntry, "dense", table) for table in tables["dense"]),
    )  # fmt: skip
    _check(grid)
    return grid


def _check(grid: Grid) -> None:
    for name, entries in (("data", grid.data), ("networks", grid.networks), ("codecs", grid.codecs),
                          ("poolings", grid.poolings)):
        if not entries:
            raise InputError(f"no {name}; allowed: at least one [[{name}]]")
    for entry in (*grid.networks, *grid.dense):
        find_architecture(entry.name if isinstance(entry, NetworkEntry) else entry.network)
    for kind, names in (("data", [d.name for d in grid.data]), ("networks", [n.name for n in grid.networks])):
        if len(set(names)) != len(names):
            raise InputError(f"{kind}: {max(names, key=names.count)!r} twice; allowed: each name once")
    for data in grid.data:
        if not 32 <= data.size <= 1024:
            raise InputError(f"data {data.name}: size {data.size}; allowed: 32..1024")
        if min(data.training_pictures, data.calibration_pictures) < 1:
            raise InputError(f"data {data.name}: 0 pictures; allowed: at least 1")
        if "after" in grid.whitenings and not data.training:
            raise InputError(f"data {data.name}: no training; allowed with a whitening: a folder")
    for entry in grid.dense:
        if entry.every < 1:
            raise InputError(f"dense: every = {entry.every}; allowed: at least 1")


def _codecs(table: Mapping[str, Any]) -> Iterator[Codec]:
    """All that a table's lists stand for. The coding varies last."""
    if "family" not in table:
        raise InputError("codecs: no family; allowed: a family with its options")
    choices = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
    names = sorted(choices, key=lambda name: (name == CODING, list(choices).index(name)))
    for values in itertools.product(*(choices[name] for name in names)):
        options = dict(zip(names, values, strict=True))
        yield make_codec(str(options.pop("family")), options)


def _pooling(table: Mapping[str, Any]) -> tuple[str, NipSettings]:
    known = {field.name: field.default for field in fields(NipSettings)}
    _check_keys("poolings", table, {"name", *known})
    settings: dict[str, Any] = {
        name: tuple(value) if name == "levels" and isinstance(value, list) else value
        for name, value in table.items() if name != "name"
    }  # fmt: skip
    for name, value in settings.items():
        if type(value) is not type(known[name]):
            raise InputError(f"poolings: {name} = {value!r}; allowed: {type(known[name]).__name__}")
    return _value("poolings: name", table.get("name", "nip"), str), NipSettings(**settings)


Entry = TypeVar("Entry", NetworkEntry, DataEntry, DenseEntry)


def _entry(kind: type[Entry], where: str, table: Mapping[str, Any]) -> Entry:
    known = {field.name: field for field in fields(kind)}
    _check_keys(where, table, set(known))
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name not in table:
            if field.default is not field.default_factory:  # neither is given: both are MISSING
                continue
            raise InputError(f"{where}: no {name}; allowed: {', '.join(known)}")
        if name in LISTS:
            values[name] = tuple(_value(f"{where}: {name}", v, str) for v in _list(name, table[name]))
        else:
            values[name] = _value(f"{where}: {name}", table[name], field.type if field.type is int else str)
    return kind(**values)


def _tables(found: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    tables = found.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{name}: {tables!r:.40}; allowed: tables, [[{name}]]")
    return tables


def _check_keys(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for name in table:
        if name not in known:
            raise InputError(f"{where + ': ' if where else ''}no key {name!r}; "
                             f"allowed: {', '.join(sorted(known))}")


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{name} = {value!r:.40}; allowed: a list of at least one")
    return value


def _value(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise InputError(f"{name} = {value!r:.40}; allowed: {'text' if kind is str else 'a whole number'}")
    return value
