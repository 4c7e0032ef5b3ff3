"""Tries one mutant: in a copy of the hardware's sources, with the bench of its block, then with frames."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from kestrel.verif.build.cache import cache_root
from kestrel.verif.mutants.operators import Mutant
from kestrel.verif.mutants.outcome import Outcome
from kestrel.verif.mutants.targets import TARGETS

ROOT = Path(__file__).absolute().parents[2]
if ROOT.name == "kestrel":  # reached through the package's link
    ROOT = ROOT.parent

FRAMES = ("tests/verif/simulate/test_frames.py",)
"""What a mutant that the block's bench does not see is tried with."""


_SHARED = ("headers", "runtime", "trace")
"""Entries of the build cache that do not depend on the hardware."""


@dataclass(frozen=True)
class Result:
    """A mutant's outcome. file: in ``hw/``; line from 1; old and new: the text and what took its place."""

    file: str
    line: int
    kind: str
    old: str
    new: str
    outcome: Outcome
    seconds: float


class Workshop:
    """A copy of the package in which one file at a time is changed, with a build cache of its own.

    ``folder`` is created; ``seconds`` is what a bench may take. The package's other rooms are links.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder.absolute(), seconds
        self.package = self.folder / "kestrel"
        shutil.rmtree(self.package, ignore_errors=True)
        self.package.mkdir(parents=True)
        for entry in (ROOT / "kestrel").iterdir():
            if entry.name not in {"hw", "__pycache__"}:
                (self.package / entry.name).symlink_to(entry.resolve())
        shutil.copytree(ROOT / "hw", self.package / "hw", ignore=shutil.ignore_patterns("__pycache__"))
        # The simulator's own part is not built anew: links to it, if it is in the cache already.
        (self.folder / "cache").mkdir()
        for entry in cache_root().iterdir():
            if entry.name.partition("-")[0] in _SHARED and entry.is_dir():
                (self.folder / "cache" / entry.name).symlink_to(entry)
        self._originals: dict[str, dict[str, str]] = {}

    def try_mutant(self, file: str, mutant: Mutant, *, frames: bool) -> Result:
        """Raises RuntimeError if the unchanged block cannot be made or its bench does not pass, and if a
        program ends in another way than by passing or failing: nothing is counted as found by accident."""
        begun = time.monotonic()
        path = self.package / "hw" / file
        source = path.read_text(encoding="utf-8")
        if file not in self._originals:
            self._originals[file] = self._probe(file)
            if self._tests(file) is not True:
                raise RuntimeError(f"{TARGETS[file].bench}: does not pass without a change")
        path.write_text(mutant.apply(source), encoding="utf-8")
        try:
            outcome = self._outcome(file, frames)
        finally:
            path.write_text(source, encoding="utf-8")
            self._forget_builds()
        return Result(
            file, mutant.line, mutant.kind, mutant.old, mutant.new, outcome,
            round(time.monotonic() - begun, 1),
        )  # fmt: skip

    def _forget_builds(self) -> None:
        """Removes what was built for a mutant; what all of them share stays."""
        for entry in (self.folder / "cache").glob("*-*"):
            if entry.is_dir() and entry.name.partition("-")[0] not in _SHARED:
                shutil.rmtree(entry, ignore_errors=True)

    def _outcome(self, file: str, frames: bool) -> Outcome:
        before = self._originals[file]
        after = self._probe(file, may_fail=True)
        worked = [key for key, text in before.items() if not text.startswith("error")]
        if not after or any(after[key].startswith("error") for key in worked):
            return Outcome.INVALID
        if after == before:
            return Outcome.SAME
        passed = self._tests(file)
        if passed is not True:
            return Outcome.HANG if passed is None else Outcome.BENCH
        if frames:
            passed = self._pytest(*FRAMES)
            if passed is not True:
                return Outcome.HANG if passed is None else Outcome.FRAMES
        return Outcome.SURVIVED

    def _tests(self, file: str) -> bool | None:
        """Whether the block's tests pass; None if they do not end."""
        target = TARGETS[file]
        return self._pytest(target.bench, *(("-k", target.words) if target.words else ()))

    def _pytest(self, test: str, *arguments: str) -> bool | None:
        code, output = self._run("-m", "pytest", *_PYTEST, *arguments, str(ROOT / test))
        if code not in {None, 0, 1}:
            raise RuntimeError(f"{test}: pytest ended with code {code}\n{output[-2000:]}")
        return None if code is None else code == 0

    def _probe(self, file: str, *, may_fail: bool = False) -> dict[str, str]:
        """What the blocks are; empty if they cannot even be imported, and that is allowed."""
        code, output = self._run("-m", "kestrel.verif.mutants.probe", *TARGETS[file].blocks)
        if code == 1 and may_fail:
            return {}
        if code != 0:
            raise RuntimeError(f"{file}: the block cannot be made\n{output[-2000:]}")
        found = json.loads(output.splitlines()[-1])
        if found.pop("hardware") != str(self.package / "hw"):
            raise RuntimeError(f"the hardware is not that of {self.package}")
        return found

    def _run(self, *arguments: str) -> tuple[int | None, str]:
        """Exit code, None if it took too long, and what was printed."""
        environment = {
            **os.environ, "PYTHONPATH": str(self.folder), "KESTREL_CACHE": str(self.folder / "cache"),
            "KESTREL_SEED": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=self.seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # the simulator is a child of its own
                return None, process.communicate()[0]
        return process.returncode, output


_PYTEST = (
    "-x", "-q", "-p", "no:cacheprovider", "-n0", "--no-header", "--tb=no", "-c", str(ROOT / "pyproject.toml"),
    "--rootdir", str(ROOT),
)  # fmt: skip
