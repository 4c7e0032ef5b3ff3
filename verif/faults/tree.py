"""What lies in a folder before and after a run: outputs that are whole, and nothing else changed."""

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kestrel.sw.common.kinds import file_kind

Tree = dict[str, str]
"""Files by their path in a folder, with the hash of what is in them."""


def snapshot(folder: Path) -> Tree:
    """Every file in the folder and its folders."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def part(tree: Tree, output: str) -> Tree:
    """The files of an output: itself, or what is in it."""
    return {path: found for path, found in tree.items() if _belongs(path, output)}


def _belongs(path: str, output: str) -> bool:
    return path == output or path.startswith(f"{output}/")


@dataclass(frozen=True)
class Whole:
    """What a run that nobody disturbs makes of an output: its files, and the hashes of those that come out
    alike every time; the others are known by their kind and by being as long, but for ``slack`` bytes (a date
    or a time that is a digit longer)."""

    files: Tree
    sizes: dict[str, int]
    kinds: dict[str, str]
    same: frozenset[str]
    slack: int = 64

    @classmethod
    def of(cls, folder: Path, output: str, again: Tree) -> "Whole":
        """From the folder in which it was made; ``again`` are the files of a second run."""
        files = part(snapshot(folder), output)
        return cls(
            files,
            {path: (folder / path).stat().st_size for path in files},
            {path: file_kind(folder / path) for path in files},
            frozenset(path for path, found in files.items() if again.get(path) == found),
        )

    def difference(self, folder: Path, found: Tree, *, loosely: bool = False) -> str | None:
        """What is not whole about the files ``found`` of the output in ``folder``; None for a whole one.
        ``loosely``: only their kinds count."""
        if missing := self.files.keys() - found.keys():
            return f"{min(missing)} is missing"
        if more := found.keys() - self.files.keys():
            return f"{min(more)} is too many"
        for path, content in found.items():
            if path in self.same and not loosely:
                if content != self.files[path]:
                    return f"{path} has another content"
            elif (kind := file_kind(folder / path)) != self.kinds[path]:
                return f"{path} is {kind}, not {self.kinds[path]}"
            elif not loosely and abs((folder / path).stat().st_size - self.sizes[path]) > self.slack:
                return f"{path} is of another size"
        return None


def left_over(before: Tree, after: Tree, outputs: Collection[str]) -> list[str]:
    """Files that are neither an output nor were there: temporary ones, parts, locks."""
    return [path for path in after.keys() - before.keys() if not any(_belongs(path, o) for o in outputs)]


def lost(before: Tree, after: Tree, outputs: Collection[str]) -> list[str]:
    """Files that were there, are no output, and are gone or changed."""
    return [
        path
        for path, content in before.items()
        if not any(_belongs(path, output) for output in outputs) and after.get(path) != content
    ]


def copy(world: Path, folder: Path) -> None:
    """A copy of ``world``, with the times of its files."""
    for path in sorted(world.rglob("*")):
        place = folder / path.relative_to(world)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
            os.utime(place, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
