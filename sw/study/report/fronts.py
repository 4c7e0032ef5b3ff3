"""The Pareto front of bytes against mAP, and where one family of codecs stands beside the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.study.rows import Row


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows to which no other of at most as many bytes is superior in mAP, by bytes."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.file_bytes, -row.map)):
        if not found or row.map > found[-1].map:
            found.append(row)
    return found


@dataclass(frozen=True)
class Rival:
    """A row beside the best of other families of at most as many bytes, None where there is none so small.
    on_front: no row of any family dominates it; gain: its mAP less the rival's."""

    row: Row
    on_front: bool
    rival: Row | None
    gain: Difference | None

    @property
    def verdict(self) -> str:
        """On the front; beside it, where the difference's interval holds zero; or behind."""
        if self.on_front:
            return "on the front"
        if self.gain is None:  # dominated by its own family alone
            return "behind its own family"
        if self.gain.high < 0:
            return "behind"
        return "beside it, not told apart" if self.gain.difference < 0 else "behind its own family"


def rivals(rows: Sequence[Row], family: str) -> list[Rival]:
    """Every row of ``family`` among ``rows``, which belong to one network, data set, pooling and
    whitening."""
    best = front(rows)
    found = []
    for row in sorted((row for row in rows if row.family == family), key=lambda row: row.file_bytes):
        others = [o for o in rows if o.family != family and o.file_bytes <= row.file_bytes]
        rival = max(others, key=lambda other: other.map, default=None)
        gain = None if rival is None else paired_bootstrap(np.array(row.precisions),
                                                           np.array(rival.precisions))
        found.append(Rival(row, row in best, rival, gain))
    return found
