"""Runs a benchmark over descriptors: rankings, average precision and recall by query and over all."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.retrieval.benchmark.datasets import Benchmark, Judgement
from kestrel.sw.retrieval.benchmark.metrics import (
    AVERAGE_PRECISIONS,
    precision_at,
    rank,
    recall_at,
    relevant_ranks,
)
from kestrel.sw.retrieval.describe.descriptor import Descriptors
from kestrel.sw.retrieval.pooling.bit_rows import bit_values
from kestrel.sw.retrieval.pooling.quantise import Quantiser, from_bits, from_bytes, to_bits, to_bytes

CODES = ("floats", "bytes", "bits")
"""What is kept of a descriptor and compared."""

CUTS = (1, 5, 10)
"""Recall and precision are given over so many first images."""

UKBENCH_CUT = 4

SCORE_DECIMALS = 9
"""Scores are rounded to it before ranking: below it lies the noise of sums in another order, which would
decide between equal descriptors."""

_BLOCK = 64
"""Queries ranked at a time."""


@dataclass(frozen=True)
class QueryResult:
    """One query in one split. first: rank of the first positive from 1, 0 if none is ranked; recalls: at
    CUTS and UKBENCH_CUT, precisions: at CUTS."""

    query: str
    split: str
    positives: int
    first: int
    ap: float
    recalls: dict[int, float]
    precisions: dict[int, float]


@dataclass(frozen=True)
class SplitResult:
    """Means over the queries of a split. found: share of queries with a positive among the first k."""

    queries: int
    map: float
    recall: dict[int, float]
    found: dict[int, float]
    precision: dict[int, float]


@dataclass(frozen=True)
class Evaluation:
    """``score``: 4 x recall at 4, with UKBench alone."""

    protocol: str
    images: int
    headline: str
    splits: dict[str, SplitResult]
    per_query: tuple[QueryResult, ...]
    score: float | None

    @property
    def map(self) -> float:
        return self.splits[self.headline].map

    @property
    def queries(self) -> int:
        return self.splits[self.headline].queries

    @property
    def average_precisions(self) -> np.ndarray:
        """Of every query of the headline's split that has something to find, float64 [Q]."""
        return np.array([query.ap for query in self.per_query if query.split == self.headline])


def check_codes(codes: str) -> None:
    """Raises InputError."""
    if codes not in CODES:
        raise InputError(f"codes {codes!r}; allowed: {', '.join(CODES)}")


def check_asymmetric(asymmetric: bool, codes: str) -> None:
    """Raises InputError."""
    if asymmetric and codes != "bits":
        raise InputError(f"asymmetric scores of codes {codes!r}; allowed: with bits")


def comparable(vectors: np.ndarray, codes: str, quantiser: Quantiser | None) -> np.ndarray:
    """What is left of float [N, D] once it is kept as ``codes``, as float64 [N, D] whose inner products rank.

    Bytes are the middles of their ranges; bits are +1 and -1, so that an inner product is D minus twice the
    Hamming distance, exactly. ``quantiser`` may be None for floats. Raises InputError.
    """
    check_codes(codes)
    if codes == "floats":
        return vectors.astype(np.float64)
    assert quantiser is not None, "bytes and bits need a quantiser"
    if codes == "bytes":
        return from_bytes(to_bytes(vectors, quantiser), quantiser).astype(np.float64)
    packed = to_bits(vectors, quantiser)
    return np.unpackbits(packed, axis=1, count=quantiser.bits, bitorder="little") * 2.0 - 1.0


def rankings(queries: np.ndarray, database: np.ndarray) -> Iterator[np.ndarray]:
    """For each row of ``queries`` [Q, D] the rows of ``database`` [N, D], the most alike first, int64 [N]."""
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ database.T
        yield from map(rank, np.round(scores, SCORE_DECIMALS))


def rows_of(descriptors: Descriptors, names: Sequence[str], what: str) -> np.ndarray:
    """float32 [len(names), D]. Raises InputError naming the first name without a descriptor."""
    known = {name: row for row, name in enumerate(descriptors.names)}
    for name in names:
        if name not in known:
            raise InputError(f"{what}: no descriptor of {name}; allowed: one of every image and query")
    return descriptors.vectors[[known[name] for name in names]]


def evaluate(
    benchmark: Benchmark,
    descriptors: Descriptors,
    *,
    codes: str = "floats",
    quantiser: Quantiser | None = None,
    asymmetric: bool = False,
    average_precision: str = "trapezoid",
    what: str = "descriptors",
    progress: Progress = silent,
) -> Evaluation:
    """Ranks every query of ``benchmark`` and measures it. Raises InputError.

    descriptors: of all ``benchmark.images`` and of each query's ``key``; what: names them in errors;
    asymmetric: with bits, the queries keep their floats (``from_bits``).
    """
    check_asymmetric(asymmetric, codes)
    if average_precision not in AVERAGE_PRECISIONS:
        raise InputError(f"average precision {average_precision!r}; allowed: {', '.join(AVERAGE_PRECISIONS)}")
    database = rows_of(descriptors, benchmark.images, what)
    keys = [query.key for query in benchmark.queries]
    queries = rows_of(descriptors, keys, what)
    if asymmetric:
        assert quantiser is not None, "bits need a quantiser"
        asked = bit_values(queries, quantiser.bits, quantiser.weights)
        database = from_bits(to_bits(database, quantiser), quantiser)
    else:
        asked, database = (comparable(vectors, codes, quantiser) for vectors in (queries, database))
    results: list[QueryResult] = []
    with progress("ranking", len(asked)) as advance:
        for number, ranking in enumerate(rankings(asked, database)):
            for split, judged in benchmark.judgements.items():
                if judged[number].positives:
                    name = benchmark.queries[number].name
                    results.append(_measure(name, split, ranking, judged[number], average_precision))
            advance(1)
    return summarise(benchmark, results)


def _measure(name: str, split: str, ranking: np.ndarray, judged: Judgement, rule: str) -> QueryResult:
    positives = len(judged.positives)
    ranks = relevant_ranks(ranking, judged.positives, judged.ignored)
    return QueryResult(
        name, split, positives, int(ranks[0]) + 1 if len(ranks) else 0,
        AVERAGE_PRECISIONS[rule](ranks, positives),
        {k: recall_at(ranks, positives, k) for k in sorted({*CUTS, UKBENCH_CUT})},
        {k: precision_at(ranks, k) for k in CUTS},
    )  # fmt: skip


def summarise(benchmark: Benchmark, results: Sequence[QueryResult]) -> Evaluation:
    """Means by split. Raises InputError when a split has no query with a positive."""
    splits: dict[str, SplitResult] = {}
    for split in benchmark.judgements:
        mine = [result for result in results if result.split == split]
        if not mine:
            raise InputError(f"{benchmark.folder}: no query has an image to be found in split {split}; "
                             "allowed: at least one")
        splits[split] = SplitResult(
            len(mine), _mean(r.ap for r in mine),
            {k: _mean(r.recalls[k] for r in mine) for k in CUTS},
            {k: _mean(0 < r.first <= k for r in mine) for k in CUTS},
            {k: _mean(r.precisions[k] for r in mine) for k in CUTS},
        )  # fmt: skip
    score = None
    if benchmark.protocol == "ukbench":
        score = UKBENCH_CUT * _mean(r.recalls[UKBENCH_CUT] for r in results)
    return Evaluation(benchmark.protocol, len(benchmark.images), benchmark.headline, splits, tuple(results),
                      score)


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def as_payload(evaluation: Evaluation) -> dict[str, Any]:
    """JSON keys of a run: the headline's values at the top, every split below it where there are several."""
    headline = asdict(evaluation.splits[evaluation.headline])
    payload = {"protocol": evaluation.protocol, "images": evaluation.images, **headline}
    if evaluation.score is not None:
        payload["score"] = evaluation.score
    if len(evaluation.splits) > 1:
        payload["split"] = evaluation.headline
        payload["splits"] = {name: asdict(split) for name, split in evaluation.splits.items()}
    return payload


# --------------------------------------------------------------------------------------------------------
# Files by query, and two runs side by side
# --------------------------------------------------------------------------------------------------------

COLUMNS = ("query", "split", "positives", "first", "ap", "recall_1", "recall_4", "recall_5", "recall_10")


def write_per_query(evaluation: Evaluation, path: Path) -> None:
    """CSV of COLUMNS, one line a query and split; values as Python prints floats, so that none is lost."""
    with atomic_write(path) as temporary, temporary.open(
        "w", newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for r in evaluation.per_query:
            writer.writerow([r.query, r.split, r.positives, r.first, repr(r.ap),
                             *(repr(r.recalls[k]) for k in sorted(r.recalls))])


def read_per_query(path: Path) -> dict[tuple[str, str], tuple[int, float]]:
    """(query, split) -> (positives, ap) of a file of ``write_per_query``. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; allowed: a file that --per-query wrote")
    found: dict[tuple[str, str], tuple[int, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            for line in reader:
                found[line["query"], line["split"]] = (int(line["positives"]), float(line["ap"]))
                if not 0 <= float(line["ap"]) <= 1:
                    raise ValueError(f"average precision {line['ap']}")
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: not a file by query ({error}); "
                         "allowed: one that --per-query wrote") from error
    return found


def compare(evaluation: Evaluation, other: Mapping[tuple[str, str], tuple[int, float]], what: str,
            seed: int = 0) -> dict[str, Difference]:
    """Per split the difference of mAP to another run over the same queries. Raises InputError naming the
    first query that only one of them has, or that they judge differently."""
    mine = {(r.query, r.split): r for r in evaluation.per_query}
    for key in (*mine, *other):
        if (key in mine) != (key in other) or mine[key].positives != other[key][0]:
            raise InputError(f"{what}: query {key[0]!r} (split {key[1]}) is not asked alike in both runs; "
                             "allowed: runs over the same benchmark")
    return {
        split: paired_bootstrap(
            np.array([r.ap for r in evaluation.per_query if r.split == split]),
            np.array([other[r.query, split][1] for r in evaluation.per_query if r.split == split]), seed)
        for split in evaluation.splits
    }  # fmt: skip
