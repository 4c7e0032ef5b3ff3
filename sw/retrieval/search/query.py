"""Searching an index: queries described as its entries were, and matches judged by a ground truth."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.describe.descriptor import DescriptorSettings, check_comparable
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.maps import parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.sw.retrieval.search.index import DescriptorIndex

RIGHT, WRONG, IGNORED = "right", "wrong", "ignored"
"""Verdicts. Ignored: the query itself, or an image that the protocol takes out of the list."""

MARKS = {RIGHT: "✓", WRONG: "✗", IGNORED: "–"}

_CHAIN = re.compile(
    r"(?P<moment>[\w-]+) over (?:levels (?P<levels>[0-9]+(?:\+[0-9]+)*)|the whole map)"
    r"(?:, without a border of (?P<border>[0-9]{1,2}))?, (?P<norm>L2|no L2), "
    r"(?P<across>[\w-]+)"
)


@dataclass(frozen=True)
class Match:
    """One place of a result list. ``verdict``: None where no ground truth is known."""

    name: str
    score: float
    verdict: str | None


@dataclass(frozen=True)
class Result:
    """Matches of a query, best first. ``wanted``: how many right ones the index holds, None if unknown."""

    query: str
    matches: tuple[Match, ...]
    wanted: int | None

    @property
    def right(self) -> int:
        return sum(match.verdict == RIGHT for match in self.matches)


class Truth:
    """Which images are right for a query image, by a benchmark's headline split."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.folder = benchmark.folder
        self._positives: dict[str, frozenset[str]] = {}
        self._ignored: dict[str, frozenset[str]] = {}
        judgements = benchmark.judgements[benchmark.headline]
        for query, judgement in zip(benchmark.queries, judgements, strict=True):
            for names, rows in ((self._positives, judgement.positives), (self._ignored, judgement.ignored)):
                names.setdefault(query.image, frozenset(benchmark.images[row] for row in rows))

    def positives(self, query: str) -> frozenset[str] | None:
        """None for an image that is no query."""
        return self._positives.get(query)

    def verdict(self, query: str, name: str) -> str | None:
        if query not in self._positives:
            return None
        if name in self._positives[query]:
            return RIGHT
        return IGNORED if name in self._ignored[query] else WRONG

    def name_of(self, path: Path) -> str:
        """The name by which the benchmark knows a picture: relative to its folder. Others keep their path."""
        folder, whole = self.folder.resolve(), path.resolve()
        return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else path.as_posix()


def search(index: DescriptorIndex, vectors: np.ndarray, queries: tuple[str, ...], count: int,
           effort: int | None = None, truth: Truth | None = None, asymmetric: bool = False) -> list[Result]:
    """The ``count`` best matches of each of ``vectors`` [Q, D], named ``queries``; ``asymmetric``: see
    DescriptorIndex.search. Raises InputError."""
    results: list[Result] = []
    known = frozenset(index.names) if truth is not None else frozenset()
    for query, found in zip(queries, index.search(vectors, count, effort, asymmetric), strict=True):
        positives = None if truth is None else truth.positives(query)
        matches = tuple(
            Match(name, score, None if truth is None else truth.verdict(query, name))
            for name, score in zip(found.names, found.scores, strict=True)
        )
        results.append(Result(query, matches, None if positives is None else len(positives & known)))
    return results


def describer_like(
    settings: DescriptorSettings, network: CompressedNetwork | str | Path,
    options: DescriptorOptions | None = None,
) -> Describer:
    """The Describer that makes descriptors of those settings, given what they only know the SHA-256 of.

    options: its whitening, weights and backend are used (None: no whitening; the backend that the settings
    tell, "float", or "reference" for integers). Raises InputError, also when the files are others.
    """
    if settings.foreign:
        raise InputError("the index holds descriptors of another program, which pictures cannot be described "
                         "like; allowed: a descriptor file as the query")
    options = options or DescriptorOptions(backend=backend_like(settings))
    fit, _, resize_filter = settings.resize.partition(", ")
    describer = make_describer(network, replace(
        options, size=(settings.height, settings.width), chain=parse_chain(settings.pooling),
        crops=settings.crops, rotations=settings.rotations, fit=fit, resize_filter=resize_filter,
        pool_maps=parse_maps(settings.maps),
    ))  # fmt: skip
    files = [file for file in (network, options.weights, options.whitening) if isinstance(file, str | Path)]
    made_with = "descriptors" + (f" made with {', '.join(map(str, files))}" if files else "")
    check_comparable(describer.settings, settings, made_with, "the index")
    return describer


def backend_like(settings: DescriptorSettings) -> str:
    """The quickest backend whose descriptors are of those settings."""
    return "float" if settings.arithmetic == "float" else "reference"


def parse_chain(text: str) -> NipSettings:
    """The inverse of NipSettings.text. Raises InputError."""
    match = _CHAIN.fullmatch(text)
    if match is None:
        raise InputError(f"pooling {text!r}; allowed: a chain as `kestrel describe` records it")
    levels = tuple(int(level) for level in match["levels"].split("+")) if match["levels"] else ()
    return NipSettings(moment=match["moment"], levels=levels, region_norm=match["norm"] == "L2",
                       across=match["across"], border=int(match["border"] or 0))
