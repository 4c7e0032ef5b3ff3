"""A retrieval benchmark: images, queries, and which images are right for which query."""

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.pictures.boxes import Box
from kestrel.sw.pictures.listing import find_pictures

SIDE_MAX = 1e9
"""What no side of a box comes to: beyond every picture, but still a number that can be rounded."""

TRUTH_FILES = ("*.txt", "*.json", "*.pkl", "*.csv", "*.md", "*.dat", "*.mat")
"""Names of what benchmarks come with."""

ALL = "all"
"""The split of a protocol that has only one."""


@dataclass(frozen=True)
class Query:
    """``image``: relative to the benchmark's folder; of it ``box`` alone is the query, where there is one."""

    name: str
    image: str
    box: Box | None = None

    @property
    def key(self) -> str:
        """Under which name its descriptor is kept: the image's own, unless only a part of it is meant."""
        return self.image if self.box is None else f"query:{self.name}"


@dataclass(frozen=True)
class Judgement:
    """Rows of ``Benchmark.images``: those to be found, and those taken out of the ranking."""

    positives: tuple[int, ...]
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """images: the database, relative to ``folder``; judgements: per split one for each query.

    A query without positives in a split does not count there. headline: the split whose mean is quoted.
    """

    protocol: str
    folder: Path
    images: tuple[str, ...]
    queries: tuple[Query, ...]
    judgements: dict[str, tuple[Judgement, ...]]
    headline: str = ALL

    def __post_init__(self) -> None:
        if not any(j.positives for split in self.judgements.values() for j in split):
            raise InputError(f"{self.folder}: no query has an image to be found; "
                             f"allowed: a set laid out as protocol {self.protocol} says")

    @property
    def pictures(self) -> tuple[str, ...]:
        """Whole images whose descriptors are needed: the database, then queries that are not in it."""
        known = set(self.images)
        return self.images + tuple(dict.fromkeys(
            query.image for query in self.queries if query.box is None and query.image not in known))

    @property
    def boxed(self) -> tuple[Query, ...]:
        """Queries that are parts of images."""
        return tuple(query for query in self.queries if query.box is not None)

    def without(self, missing: Collection[str]) -> "Benchmark":
        """The benchmark as if the images and query keys ``missing`` were not in it. Raises InputError when
        nothing is left to be found."""
        gone = set(missing)
        rows = {name: row for row, name in enumerate(name for name in self.images if name not in gone)}

        def kept(old: Iterable[int]) -> tuple[int, ...]:
            return tuple(rows[self.images[row]] for row in old if self.images[row] in rows)

        stay = [n for n, query in enumerate(self.queries) if query.key not in gone]
        return replace(
            self, images=tuple(rows), queries=tuple(self.queries[n] for n in stay),
            judgements={
                split: tuple(Judgement(kept(judged[n].positives), kept(judged[n].ignored)) for n in stay)
                for split, judged in self.judgements.items()
            },
        )  # fmt: skip


class Doubts:
    """What is wrong with a set and can be gone on with. Parameter ``strict``: raise InputError at the first
    of it; otherwise a warning (InputWarning) tells."""

    def __init__(self, strict: bool = False) -> None:
        self._strict = strict

    def __call__(self, where: object, what: str) -> None:
        if self._strict:
            raise InputError(f"{where}: {what}; allowed with --strict: a set without such faults")
        warnings.warn(InputWarning(where, what), stacklevel=3)


def some(names: Collection[str]) -> str:
    """The first of ``names``, and how many there are."""
    shown = ", ".join(sorted(names)[:3])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 3 else shown


def benchmark_pictures(folder: Path) -> list[str]:
    """The pictures below ``folder``, relative to it, sorted. Raises InputError when there is none; ground
    truth beside them is no news, other files are (InputWarning)."""
    return list(find_pictures(folder, TRUTH_FILES).names)


def by_stem(folder: Path, pictures: Iterable[str]) -> dict[str, str]:
    """File name without suffix -> picture. Raises InputError when two pictures share one."""
    found: dict[str, str] = {}
    for picture in pictures:
        stem = Path(picture).stem
        if stem in found:
            raise InputError(f"{folder}: {found[stem]} and {picture} have the same name; "
                             "allowed: one image a name")
        found[stem] = picture
    return found
