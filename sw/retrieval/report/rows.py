"""The rows of a retrieval report, and the comparisons between them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kestrel.sw.common.provenance import Provenance
from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.retrieval.benchmark.evaluate import Evaluation

TABLE2_POOLING = "rnip9x"

PLAIN = ""
"""The mode that means no whitening."""

RowKey = tuple[str, int, int, str, str, str]


@dataclass(frozen=True)
class Row:
    """One run. ``crops`` is the mean number of crops of a picture. ``whitening`` is its mode, "" for none.
    ``descriptor_bytes`` is the size of one image's descriptor. ``low`` and ``high`` are the 95% interval of
    ``map`` over the queries. ``recall`` is given at 1, 5 and 10."""

    arithmetic: str
    height: int
    width: int
    pooling: str
    crops: float
    whitening: str
    codes: str
    dimension: int
    descriptor_bytes: int
    map: float
    low: float
    high: float
    recall: dict[int, float]

    @property
    def key(self) -> RowKey:
        return (self.arithmetic, self.height, self.width, self.pooling, self.whitening, self.codes)


Results = Mapping[RowKey, tuple[Row, Evaluation]]


@dataclass(frozen=True)
class Comparison:
    """The gain in mAP of ``this`` run over the ``other``. ``about`` is the question that it answers."""

    about: str
    this: Row
    other: Row
    gain: Difference


@dataclass(frozen=True)
class Report:
    """Everything from which the tables are written. ``dataset`` is a name for titles. ``large`` is the height
    and width of the large picture in table 2."""

    network: str
    dataset: str
    provenance: Provenance
    activation_bits: int
    weight_bytes: int
    float_bytes: int
    large: tuple[int, int]
    protocol: str
    split: str
    images: int
    queries: int
    training_pictures: int
    quantiser_source: str
    poolings: tuple[str, ...]
    rotations: int
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]

    def row(
        self, arithmetic: str, size: tuple[int, int], pooling: str, whitening: str, codes: str
    ) -> Row | None:
        key = (arithmetic, *size, pooling, whitening, codes)
        return next((row for row in self.rows if row.key == key), None)

    @property
    def whitenings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.whitening for row in self.rows))

    @property
    def size(self) -> tuple[int, int]:
        """The size of the integer network's input, (height, width)."""
        return next((row.height, row.width) for row in self.rows if row.arithmetic == "integer")


def query_values(evaluation: Evaluation) -> np.ndarray:
    """The average precision of each query, float64 [Q], whose mean is ``map``."""
    return np.array([result.ap for result in evaluation.per_query if result.split == evaluation.headline])


def comparisons(results: Results, large: tuple[int, int], seed: int) -> Iterator[Comparison]:
    """The questions that the tables answer, each with its interval, if both of its runs exist.

    ``large`` is the height and width of the large picture in table 2; ``seed`` is that of the bootstrap.
    """
    def compare(about: str, this: Row, **other: str | int) -> Iterator[Comparison]:
        key = replace(this, **other).key
        if key in results and key != this.key:
            row, evaluation = results[key]
            gain = paired_bootstrap(query_values(results[this.key][1]), query_values(evaluation), seed)
            yield Comparison(about, this, row, gain)

    for row, _ in results.values():
        if row.arithmetic == "integer":
            if row.codes == "floats":
                yield from compare("integer against float network", row, arithmetic="float")
                yield from compare("more crops", row, pooling="nip")
                if row.whitening != PLAIN:
                    yield from compare("whitening", row, whitening=PLAIN)
            else:
                yield from compare(f"{row.codes} against floats", row, codes="floats")
            if row.pooling != "nip":
                yield from compare("small input with RNIP against large input with NIP", row,
                                   arithmetic="float", height=large[0], width=large[1], pooling="nip")
