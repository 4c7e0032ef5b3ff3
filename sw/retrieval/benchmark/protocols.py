"""The published retrieval benchmarks as folders, and a plain folder of groups.

Each reader takes the folder as the benchmark's authors publish it (images anywhere below it) and returns a
``Benchmark``. How many queries a set has is counted, not demanded, so that a part of a set works too.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.picture_manifest import MANIFEST, read_manifest
from kestrel.sw.pictures.listing import check_folder
from kestrel.sw.retrieval.benchmark.datasets import (
    ALL,
    SIDE_MAX,
    Benchmark,
    Box,
    Doubts,
    Judgement,
    Query,
    benchmark_pictures,
    by_stem,
    some,
)
from kestrel.sw.retrieval.benchmark.revisited import load_revisited


@dataclass(frozen=True)
class Protocol:
    """``load`` raises InputError for a folder that is not laid out as ``layout`` says, and tells ``Doubts``
    of single faults."""

    name: str
    source: str
    layout: str
    load: Callable[[Path, Doubts], Benchmark]


def load_holidays(folder: Path, doubts: Doubts) -> Benchmark:
    """INRIA Holidays: images named by six digits, the last two of them counting within a group; x00 is the
    query, the others are its positives, and it is itself taken out of its list."""
    numbers = _numbers(folder, r"([0-9]{6})", "six digits, as in 100001.jpg", doubts)
    return _grouped("holidays", folder, list(numbers), [str(n // 100) for n in numbers.values()],
                    queries=[n % 100 == 0 for n in numbers.values()])


def load_ukbench(folder: Path, doubts: Doubts) -> Benchmark:
    """UKBench: ukbench00000.jpg and so on, four in a row show one object. Every image is a query, itself
    among the four to be found; those of a group that is not whole only distract."""
    numbers = _numbers(folder, r"ukbench([0-9]{5})", "ukbench and five digits", doubts)
    images = list(numbers)
    groups: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(numbers.values()):
        groups[number // 4].append(row)
    broken = {f"{len(rows)} images numbered {4 * group:05}..{4 * group + 3:05}"
              for group, rows in groups.items() if len(rows) != 4}
    if broken:
        doubts(folder, f"groups that are not of four ask for nothing: {some(broken)}")
    whole = [row for row, number in enumerate(numbers.values()) if len(groups[number // 4]) == 4]
    found = list(numbers.values())
    judged = tuple(Judgement(tuple(groups[found[row] // 4])) for row in whole)
    queries = tuple(Query(images[row], images[row]) for row in whole)
    return Benchmark("ukbench", folder, tuple(images), queries, {ALL: judged})


def load_groups(folder: Path, doubts: Doubts) -> Benchmark:
    """A folder of groups: every image is a query, the others of its group are to be found, itself is taken
    out of the list. Images without a group, or alone in theirs, only distract."""
    check_folder(folder)
    if (folder / MANIFEST).is_file():
        entries = read_manifest(folder, ("group",), present=True)
        grouped = {entry.name: entry.group for entry in entries}
        images = sorted(grouped)
        groups = [grouped[name] for name in images]
    else:
        allowed = f"three digits of the group and the index, as in 00701.jpg, or a {MANIFEST}"
        found = _matched(folder, r"([0-9]{3})[0-9]+", allowed, doubts)
        images, groups = list(found), list(found.values())
    return _grouped("groups", folder, images, groups, queries=[bool(group) for group in groups])


def load_oxford(folder: Path, doubts: Doubts, protocol: str) -> Benchmark:
    """Oxford5k and Paris6k: NAME_query.txt (image and box), NAME_good.txt and NAME_ok.txt (to be found),
    NAME_junk.txt (taken out of the list). The image that the query is cut from stays in the list, as in the
    published program. Oxford's query files put ``oxc1_`` before the image's name. What is good or ok and junk
    is to be found; images that are not there are left out (the published Paris lacks some)."""
    images = benchmark_pictures(folder)
    stems = by_stem(folder, images)
    rows = {name: row for row, name in enumerate(images)}
    files = sorted(folder.rglob("*_query.txt"))
    if not files:
        raise InputError(f"{folder}: no *_query.txt; "
                         f"allowed: images and the ground-truth files of {protocol}")
    queries, judged = [], []
    for file in files:
        name = file.name.removesuffix("_query.txt")
        lists: dict[str, set[int]] = {}
        for kind in ("good", "ok", "junk"):
            part = file.with_name(f"{name}_{kind}.txt")
            listed = _read_text(part).split()
            if missing := {stem for stem in listed if stem not in stems}:
                doubts(part, f"names images that are not there and are left out: {some(missing)}")
            lists[kind] = {rows[stems[stem]] for stem in listed if stem in stems}
        positives = lists["good"] | lists["ok"]
        if both := positives & lists["junk"]:
            doubts(file.with_name(f"{name}_junk.txt"),
                   f"what is also good or ok is to be found: {some({images[row] for row in both})}")
        image, box = _read_query(file)
        if image not in stems:
            doubts(file, f"the query's image is not there and is left out: {image}")
            continue
        queries.append(Query(name, stems[image], box))
        judged.append(Judgement(tuple(sorted(positives)), tuple(sorted(lists["junk"] - positives))))
    return Benchmark(protocol, folder, tuple(images), tuple(queries), {ALL: tuple(judged)})


PROTOCOLS: Mapping[str, Protocol] = {
    p.name: p
    for p in (
        Protocol("holidays", "Jegou, Douze, Schmid, ECCV 2008", "six digits, x00 the query", load_holidays),
        Protocol("oxford5k", "Philbin et al., CVPR 2007", "images, NAME_{query,good,ok,junk}.txt",
                 partial(load_oxford, protocol="oxford5k")),
        Protocol("paris6k", "Philbin et al., CVPR 2008", "images, NAME_{query,good,ok,junk}.txt",
                 partial(load_oxford, protocol="paris6k")),
        Protocol("roxford5k", "Radenovic et al., CVPR 2018", "images, gnd_roxford5k.pkl or .json",
                 partial(load_revisited, protocol="roxford5k")),
        Protocol("rparis6k", "Radenovic et al., CVPR 2018", "images, gnd_rparis6k.pkl or .json",
                 partial(load_revisited, protocol="rparis6k")),
        Protocol("ukbench", "Nister and Stewenius, CVPR 2006", "ukbench00000.jpg and so on", load_ukbench),
        Protocol("groups", "a folder of one's own", f"{MANIFEST} (file, group), or 00701.jpg", load_groups),
    )
}  # fmt: skip


def load_benchmark(protocol: str, folder: str | Path, *, strict: bool = False) -> Benchmark:
    """Raises InputError for an unknown protocol or a folder not laid out as it says. Of single faults (stray
    pictures, missing ones, contradictions) a warning tells (InputWarning), or with ``strict`` an InputError.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol {protocol!r} is not known; allowed: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol].load(Path(folder), Doubts(strict))


def _grouped(
    protocol: str, folder: Path, images: list[str], groups: list[str], queries: list[bool]
) -> Benchmark:
    """Rows flagged in ``queries`` ask for the others of their group; a query is taken out of its own list."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    asking = [row for row, is_query in enumerate(queries) if is_query and len(members[groups[row]]) > 1]
    judged = tuple(Judgement(tuple(other for other in members[groups[row]] if other != row), (row,))
                   for row in asking)
    names = tuple(Query(images[row], images[row]) for row in asking)
    return Benchmark(protocol, folder, tuple(images), names, {ALL: judged})


def _matched(folder: Path, pattern: str, allowed: str, doubts: Doubts) -> dict[str, str]:
    """Picture -> what its name, without suffix, holds. Raises InputError if no name is of the pattern."""
    found: dict[str, str] = {}
    stray: set[str] = set()
    for name in benchmark_pictures(folder):
        match = re.fullmatch(pattern, Path(name).stem)
        if match is None:
            stray.add(name)
        else:
            found[name] = match[1]
    if not found:
        raise InputError(f"{folder}: no name is one of this set ({some(stray)}); allowed: {allowed}")
    if stray:
        doubts(folder, f"names that are none of this set are left out: {some(stray)}")
    return found


def _numbers(folder: Path, pattern: str, allowed: str, doubts: Doubts) -> dict[str, int]:
    return {name: int(number) for name, number in _matched(folder, pattern, allowed, doubts).items()}


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such ground-truth file; allowed: the set's files as published")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text; allowed: the set's files as published") from error


def _read_query(path: Path) -> tuple[str, Box]:
    words = _read_text(path).split()
    try:
        left, top, right, bottom = (float(word) for word in words[1:])
        if not (-SIDE_MAX < left < right < SIDE_MAX and -SIDE_MAX < top < bottom < SIDE_MAX):
            raise ValueError
    except ValueError:
        raise InputError(f"{path}: {' '.join(words)[:80]!r}; allowed: an image's name and left, top, right, "
                         "bottom of a box") from None
    return words[0].removeprefix("oxc1_"), (left, top, right, bottom)
