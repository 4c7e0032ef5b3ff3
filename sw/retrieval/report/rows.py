"""The rows of a report of retrieval, and what is compared with what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.retrieval.benchmark.evaluate import Evaluation

TABLE2_POOLING = "rnip9x"

PLAIN = ""
"""The mode of no whitening."""

RowKey = tuple[str, int, int, str, str, str]


@dataclass(frozen=True)
class Row:
    """One run. crops: of a picture, on average; whitening: its mode, "" for none; descriptor_bytes: of one
    image; recall: at 1, 5, 10."""

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
    recall: dict[int, float]

    @property
    def key(self) -> RowKey:
        return (self.arithmetic, self.height, self.width, self.pooling, self.whitening, self.codes)


Results = Mapping[RowKey, tuple[Row, Evaluation]]


@dataclass(frozen=True)
class Comparison:
    """What ``this`` run's mAP gains over the ``other``'s. about: which question it answers."""

    about: str
    this: Row
    other: Row
    gain: Difference


@dataclass(frozen=True)
class Report:
    """Everything that the tables are written from. large: height and width of table 2's large picture."""

    network: str
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
        """The integer network's input."""
        return next((row.height, row.width) for row in self.rows if row.arithmetic == "integer")


def comparisons(results: Results, large: tuple[int, int], seed: int) -> Iterator[Comparison]:
    """The questions that the tables answer, each with its interval, where both runs are there.

    large: height and width of table 2's large picture; seed: of the bootstrap.
    """
    def values(evaluation: Evaluation) -> np.ndarray:
        return np.array([result.ap for result in evaluation.per_query
                         if result.split == evaluation.headline])

    def compare(about: str, this: Row, **other: str | int) -> Iterator[Comparison]:
        key = replace(this, **other).key
        if key in results and key != this.key:
            row, evaluation = results[key]
            gain = paired_bootstrap(values(results[this.key][1]), values(evaluation), seed)
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
