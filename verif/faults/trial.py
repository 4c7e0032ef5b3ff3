"""One command under every kind of fault, and what must hold whatever happens.

After a fault an output is what it was before or what an undisturbed run makes, every other file is as it
was, and the same command, given again, ends as an undisturbed run does. A process that lives to see its
fault says so in one line with exit code 2, and leaves nothing behind but what it goes on from.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from kestrel.verif.faults.child import Command, Disturbance, Ending, start
from kestrel.verif.faults.tree import Tree, Whole, copy, left_over, lost, part, snapshot

LIMIT = 300.0
"""Seconds after which a run is said to hang."""

RESUMED = (".parts", ".lock")
"""Ends of the names of what a run leaves on purpose: what it goes on from, and the lock of the system."""


class Kind(StrEnum):
    """Kinds of faults."""

    TIME = "killed at a random time"
    CHANGE = "killed before a change of a file"
    DISK = "no file may grow beyond a size"
    FULL = "a full disk"
    READ = "an input is damaged when it is opened"
    TWO = "two at once"


@dataclass(frozen=True)
class Case:
    """A command that writes.

    arguments: with ``outputs``, paths in the folder where it runs. grows: outputs that are written piece by
    piece, of which an earlier state is no loss (a log, rows, features of a report). refuses_itself: the
    command is refused after it has ended well, as what it adds is there. earlier: arguments that make another
    output in the same places; "": the same ones. dated: outputs say when they were made. share: of the
    faults that a quick command gets.
    """

    name: str
    arguments: str
    outputs: tuple[str, ...]
    grows: frozenset[str] = frozenset()
    refuses_itself: bool = False
    earlier: str = ""
    dated: bool = False
    share: float = 1


@dataclass
class Report:
    """Counts of one case. complaints: what did not hold, with what repeats it."""

    runs: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    leftovers: int = 0
    complaints: list[str] = field(default_factory=list)


class Trial:
    """``world`` holds the inputs; ``room`` is a folder for the runs, for Kind.FULL on a disk of its own, with
    ``notes`` elsewhere. Raises RuntimeError if the command does not end well undisturbed."""

    def __init__(
        self, case: Case, command: Command, world: Path, room: Path, seed: int,
        notes: Path | None = None,
    ) -> None:  # fmt: skip
        self.case, self.command, self.world, self.room = case, command, world, room
        self.notes = notes or room
        self.source = random.Random(f"{seed}/{case.name}")
        self.report = Report()
        first, self.plain = self._undisturbed("first")
        second, _ = self._undisturbed("second")
        again = {} if case.dated else snapshot(second)
        self.whole = {o: Whole.of(first, o, part(again, o)) for o in case.outputs}
        self.sizes = [size for whole in self.whole.values() for size in whole.sizes.values()]
        shutil.rmtree(second)
        self.earlier = first
        if case.earlier:
            shutil.rmtree(first)
            self.earlier, _ = self._undisturbed("earlier", case.earlier)

    def _undisturbed(self, name: str, arguments: str = "") -> tuple[Path, Ending]:
        """A run in the folder of all runs, as some outputs say where their inputs are; kept as ``name``."""
        folder = self._folder("run", self.world)
        ending = self._start(folder, Disturbance(), arguments).wait(LIMIT)
        if ending.code != 0:
            raise RuntimeError(f"{self.case.name}: {ending.message.strip() or ending}")
        return self._folder(name, folder), ending

    def _folder(self, name: str, like: Path) -> Path:
        folder = self.room / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy(like, folder)
        return folder

    def _start(self, folder: Path, what: Disturbance, arguments: str = "", notes: str = "notes"):  # noqa: ANN202
        words = (arguments or self.case.arguments).split()
        return start(self.command, words, folder, self.notes / notes, what)

    def run(self, kind: Kind, count: int) -> None:
        """So many faults of one kind, half of them where an earlier output lies."""
        for n in range(count):
            old = n % 2 == 1 and not self.case.refuses_itself
            folder = self._folder("run", self.earlier if old else self.world)
            before = snapshot(folder)
            label, problems = getattr(self, f"_{kind.name.lower()}")(folder, before)
            self.report.runs[kind] += 1
            self.report.complaints += [
                f"{self.case.name}, {label}{', over an earlier output' if old else ''}: {text}"
                for text in problems
            ]

    # --- kinds of faults --------------------------------------------------------------------------------

    def _time(self, folder: Path, before: Tree) -> tuple[str, list[str]]:
        after = self.source.uniform(0, self.plain.seconds)
        return f"killed after {after:.3f} s", self._killed(folder, before, Disturbance(after=after))

    def _change(self, folder: Path, before: Tree) -> tuple[str, list[str]]:
        number = self.source.randint(1, max(1, self.plain.changes))
        return f"killed at change {number}", self._killed(folder, before, Disturbance(at_change=number))

    def _killed(self, folder: Path, before: Tree, what: Disturbance) -> list[str]:
        ending = self._start(folder, what).wait(LIMIT)
        self.report.ended["killed" if ending.signal else f"exit code {ending.code}"] += 1
        problems = list(self._after(folder, before, ending))
        self.report.leftovers += len(left_over(before, snapshot(folder), self.case.outputs))
        return problems + list(self._again(folder, before))

    def _disk(self, folder: Path, before: Tree) -> tuple[str, list[str]]:
        size = self.source.choice((0, self.source.randint(0, max(self.sizes))))
        ending = self._start(folder, Disturbance(file_size=size)).wait(LIMIT)
        label = f"no file beyond {size} bytes"
        return label, [*self._refused(folder, before, ending), *self._again(folder, before)]

    def _full(self, folder: Path, before: Tree) -> tuple[str, list[str]]:
        left = self.source.choice((0, self.source.randint(0, max(self.sizes))))
        filler = self.room / "filler"
        disk = os.statvfs(self.room)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - left))
        try:
            ending = self._start(folder, Disturbance()).wait(LIMIT)
        finally:
            filler.unlink()
        return f"{left} bytes left", [*self._refused(folder, before, ending), *self._again(folder, before)]

    def _read(self, folder: Path, before: Tree) -> tuple[str, list[str]]:
        number = self.source.randint(1, max(1, self.plain.reads))
        kind = self.source.choice(("removed", "cut", "emptied"))
        hurt: Callable[[Path], None] = {"removed": Path.unlink, "cut": _cut, "emptied": _empty}[kind]
        saved: list[tuple[Path, bytes]] = []
        notes = self.room / "damaged"
        notes.unlink(missing_ok=True)

        def damage(path: Path) -> None:
            # In the child: the parent learns by a file what it has to restore.
            notes.write_text(str(path), encoding="utf-8")
            hurt(path)

        ending = self._start(folder, Disturbance(at_read=number, damage=damage)).wait(LIMIT)
        label = f"read {number} {kind}"
        if notes.is_file():
            path = Path(notes.read_text(encoding="utf-8"))
            name = path.relative_to(folder.resolve()).as_posix()
            label += f" ({name})"
            if name in before:
                original = self.world / name
                saved.append((path, (original if original.is_file() else self.earlier / name).read_bytes()))
        for path, content in saved:
            path.write_bytes(content)
        # A picture that cannot be read is left out, with a warning: the output is of another content then.
        loosely = ending.code == 0
        problems = list(self._refused(folder, before, ending, loosely=loosely))
        return label, problems + list(self._again(folder, before))

    def _two(self, folder: Path, before: Tree) -> tuple[str, list[str]]:
        late = self.source.uniform(0, self.plain.seconds)
        running = [self._start(folder, Disturbance(), notes="one")]
        running.append(self._start(folder, Disturbance(), notes="two"))
        endings = [process.wait(LIMIT) for process in running]
        problems = [text for ending in endings for text in self._says(ending)]
        codes = [ending.code for ending in endings]
        self.report.ended[f"two at once, exit codes {sorted(map(str, codes))}"] += 1
        if 0 not in codes:
            problems.append(f"neither of two ended well: {codes}, {endings[0].message.strip()}")
        problems += self._states(folder, before, whole=True)
        problems += [f"left behind: {path}" for path in self._litter(folder, before)]
        return f"two at once ({late:.3f})", problems

    # --- what must hold ----------------------------------------------------------------------------------

    def _after(
        self, folder: Path, before: Tree, ending: Ending, *, loosely: bool = False
    ) -> Iterator[str]:
        if ending.seconds >= LIMIT:
            yield "did not end"
        if "Traceback" in ending.message:
            yield f"a traceback: {ending.message.strip()[-300:]}"
        yield from self._states(folder, before, loosely=loosely)

    def _refused(
        self, folder: Path, before: Tree, ending: Ending, *, loosely: bool = False
    ) -> Iterator[str]:
        """A process that lived: it ended well or said in one line why not."""
        self.report.ended[f"exit code {ending.code}" if not ending.signal else f"signal {ending.signal}"] += 1
        yield from self._after(folder, before, ending, loosely=loosely)
        yield from self._says(ending)
        yield from (f"left behind: {path}" for path in self._litter(folder, before))

    @staticmethod
    def _says(ending: Ending) -> Iterator[str]:
        lines = [line for line in ending.message.splitlines() if line.startswith("kestrel: error: ")]
        if ending.code not in (0, 2):
            yield f"exit code {ending.code}, signal {ending.signal}: {ending.message.strip()[-300:]}"
        elif ending.code == 2 and len(lines) != 1:
            yield f"{len(lines)} lines of error: {ending.message.strip()[-300:]}"

    def _states(
        self, folder: Path, before: Tree, *, whole: bool = False, loosely: bool = False
    ) -> Iterator[str]:
        """What is wrong with the files: outputs must be as they were, unless they must be ``whole``, or as an
        undisturbed run makes them, with ``loosely`` of the same kinds only."""
        after = snapshot(folder)
        for output, made in self.whole.items():
            found, was = part(after, output), part(before, output)
            difference = made.difference(folder, found, loosely=loosely)
            untouched = found == was and not whole
            if difference and not untouched and (whole or output not in self.case.grows):
                yield f"{output} is neither as it was nor whole: {difference}"
        for path in lost(before, after, self.case.outputs):
            yield f"{path} is lost or changed"

    def _again(self, folder: Path, before: Tree) -> Iterator[str]:
        """The clear way on: the same command once more."""
        done = all(
            made.difference(folder, part(snapshot(folder), output)) is None
            for output, made in self.whole.items()
        )
        if done and self.case.refuses_itself:
            return
        ending = self._start(folder, Disturbance()).wait(LIMIT)
        if ending.code != 0:
            yield f"given again: exit code {ending.code}, {ending.message.strip()[-300:]}"
            return
        yield from (f"given again: {text}" for text in self._states(folder, before, whole=True))
        yield from (f"given again: left behind: {path}" for path in self._litter(folder, before))

    def _litter(self, folder: Path, before: Tree) -> list[str]:
        return [
            path
            for path in left_over(before, snapshot(folder), self.case.outputs)
            if not any(end in path for end in RESUMED)
        ]


def _cut(path: Path) -> None:
    with path.open("r+b") as opened:
        opened.truncate(path.stat().st_size // 2)


def _empty(path: Path) -> None:
    path.write_bytes(b"")
