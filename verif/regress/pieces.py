"""The nightly set as pieces of work, for several processes and machines.

A piece is a case. Its engine is built by whoever needs it first on a machine: the build cache's lock makes
the others wait, and its key holds the compiler and the processor's instruction set, so that a machine with
another processor builds for itself.
"""

import secrets
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kestrel.sw.cluster.pieces import Piece, Runner
from kestrel.sw.common.threads import one_thread
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.verilator import Build
from kestrel.verif.regress.draw import TARGETS, Case
from kestrel.verif.regress.results import Result
from kestrel.verif.regress.run import NOT_BUILT, failed_case, run_case

ENGINES = 64
"""Kept by a process, or why they could not be built."""


@dataclass(frozen=True)
class Ran:
    """What a piece tells. built: whether it built the engine, which was not in the cache."""

    result: Result
    built: bool


def run_in_pieces(cases: Sequence[Case], sources: str, runner: Runner) -> Iterator[Ran]:
    """As ``run_cases``, by ``runner``. A case whose process dies each time fails, and the others go on.
    Raises InputError where no case can be run any more."""
    run = secrets.token_hex(8)
    for done in runner.run(Piece(case.key, run_piece, (case, sources, run)) for case in cases):
        if done.failed:
            case: Case = done.piece.arguments[0]
            yield Ran(failed_case(case, sources, f"{case.key}\n{done.failed}"), built=False)
        else:
            yield done.value


def run_piece(case: Case, sources: str, run: str) -> Ran:
    """On a worker. run: another one tries to build what could not be built before."""
    known = _engine.cache_info().misses
    engine = _engine(case.config, run)
    if isinstance(engine, str):
        return Ran(failed_case(case, sources, engine), built=False)
    with one_thread():
        result = run_case(case, engine, sources)
    return Ran(result, built=_engine.cache_info().misses > known and not engine.hit)


@lru_cache(ENGINES)
def _engine(config: str, run: str) -> Build | str:  # noqa: ARG001 - of the key
    try:
        return build_engine(TARGETS[config])
    except Exception:  # noqa: BLE001 - the other configurations still run
        return f"{NOT_BUILT}\n{traceback.format_exc()}".strip()
