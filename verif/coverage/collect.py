"""Collects what the frames of a run reach, and writes the report."""

import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from kestrel.hw.spec.errors import InputError
from kestrel.verif.coverage.counts import Counts, merge, read_counts
from kestrel.verif.coverage.crosses import Crosses
from kestrel.verif.coverage.report import Run, write_report
from kestrel.verif.coverage.summary import Summary, find_missed, summarise
from kestrel.verif.coverage.waivers import Waiver, apply_waivers, read_waivers, unused_waivers

SUFFIX = ".dat"


class Collector:
    """Adds up the counts that frames leave in the folder ``parts``, which is there within a ``with`` block.

    ``waivers`` is a file of them. Raises InputError if it has another form, before anything runs.
    """

    def __init__(self, waivers: Path | None = None) -> None:
        self._file = waivers
        self._waivers: tuple[Waiver, ...] = read_waivers(waivers) if waivers else ()
        self._unused: tuple[Waiver, ...] = ()
        self._counts: Counts = Counts()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def parts(self) -> Path:
        assert self._folder is not None, "within a with block"
        return Path(self._folder.name)

    def take(self, select: Callable[[Counts, Counts], Counts] = lambda found, known: found) -> None:
        """Adds what lies in ``parts`` and removes it. ``select`` says what of it counts, from what was found
        and what is known."""
        for part in sorted(self.parts.glob(f"*{SUFFIX}")):
            merge(self._counts, select(read_counts(part), self._counts))
            part.unlink()

    def write(self, run: Run, crosses: Crosses, folder: Path) -> tuple[Summary, list[Path]]:
        """Writes the report of all that was taken, and of ``crosses``, into ``folder``. Raises InputError."""
        items, missed, modules = find_missed(self._counts)
        self._unused = unused_waivers(missed, self._waivers)
        summary = summarise(items, apply_waivers(missed, self._waivers), modules)
        return summary, write_report(run, summary, crosses, folder)

    def check_waivers(self) -> None:
        """After ``write``: raises InputError for waivers that waived nothing."""
        if self._unused:
            unused = "; ".join(map(str, self._unused))
            raise InputError(
                f"waivers {self._file}: {unused}: nothing to waive in what was run; allowed: "
                "waivers of what is not reached"
            )

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="kestrel-coverage-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def now() -> str:
    """The time as the report states it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str:
    """The checkout's commit, with ``+`` where tracked files differ from it; "" in an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        name, changes = (
            subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True).stdout
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name.strip() + "+" * bool(changes.strip())
