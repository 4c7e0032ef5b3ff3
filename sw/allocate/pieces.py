"""The measurements of an allocation as pieces of work, for several processes and machines.

A piece is a batch of pictures with a plan, or with all layers at all widths. Its sums go to the place of
parts, so that a stopped allocation continues. All processes measure on one object, which is written there
first: the network, the pictures' maps and what the fits have measured. Each process fits the layers itself.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.allocate.batches import Batches, BatchesHere, Effects, Widths
from kestrel.sw.allocate.search import Plan
from kestrel.sw.cluster.pieces import Done, Piece, Runner, failure_of
from kestrel.sw.cluster.versions import versions_here
from kestrel.sw.common.store import Place, open_store, whole_place
from kestrel.sw.common.threads import one_thread
from kestrel.sw.compress.calibrate import CalibrationPictures
from kestrel.sw.model.weights import FloatNetwork

DIGITS = 24
PREFIX = "allocate-"


@dataclass(frozen=True)
class Question:
    """What a piece measures. batch: its number; plan: of all layers, or the base (None: float) of ``widths``;
    widths: () for the plan's distortion alone."""

    batch: int
    plan: Plan | None
    widths: Widths = ()

    def name(self, identity: str) -> str:
        """Of the part with the answer. identity: of all that is measured on."""
        asked = json.dumps([identity, asdict(self)])
        return f"{PREFIX}{hashlib.sha256(asked.encode()).hexdigest()[:DIGITS]}.json"


class BatchesInPieces:
    """Batches, measured by ``runner``, whose processes reach ``place``. Raises InputError for pieces that
    failed, once all others are done."""

    def __init__(self, here: BatchesHere, identity: str, runner: Runner, place: Place) -> None:
        self._sizes = here.sizes
        self._identity = identity
        self._runner = runner
        self._place = whole_place(place)
        self._store = open_store(place)
        content = pickle.dumps(here)
        self._digest = hashlib.sha256(content).hexdigest()
        self._store.write(_recipe_name(self._digest), content)

    @property
    def count(self) -> int:
        return sum(self._sizes)

    def distortions(self, plan: Plan) -> list[float]:
        return self._answers([Question(n, plan) for n in range(len(self._sizes))], lambda batch: None)

    def effects(self, base: Plan | None, widths: Widths, advance: Callable[[int], None]) -> list[Effects]:
        steps = sum(map(len, widths))
        found = self._answers([Question(n, base, widths) for n in range(len(self._sizes))],
                              lambda batch: advance(steps * self._sizes[batch]))
        return list(map(_effects, found))

    def _answers(self, questions: Sequence[Question], answered: Callable[[int], None]) -> list[Any]:
        names = [question.name(self._identity) for question in questions]
        pieces: list[Piece] = []
        for question, name in zip(questions, names, strict=True):
            if self._store.has(name):
                answered(question.batch)
                continue
            last = sum(self._sizes[: question.batch + 1])
            label = f"pictures {last - self._sizes[question.batch] + 1} to {last}"
            pieces.append(Piece(label, measure_piece, (self._place, self._digest, question, name)))
        failed: list[Done] = []
        for done in self._runner.run(pieces):
            if done.failed:
                failed.append(done)
            else:
                answered(done.piece.arguments[2].batch)
        if failed:
            failed.sort(key=lambda done: done.piece.arguments[2].batch)
            raise failure_of(failed, len(pieces), f"{self._place} keeps the others; the same command goes on "
                             "from there")
        return [self._answer(name) for name in names]

    def _answer(self, name: str) -> Any:
        content = self._store.read(name)
        if content is None:
            raise InputError(f"{self._place}/{name} was written and is not seen here; allowed: a place that "
                             "all workers share")
        try:
            return json.loads(content)
        except ValueError as error:
            raise InputError(f"{self._place}/{name}: not what a worker wrote; allowed: parts of a stopped "
                             "run, or none") from error


def _effects(found: Any) -> Effects:
    def by_width(layers: list[dict[str, float]]) -> tuple[dict[int, float], ...]:
        return tuple({int(width): value for width, value in layer.items()} for layer in layers)

    return Effects(found["at_base"], by_width(found["descriptor"]), by_width(found["output"]))


def measure_piece(place: str, digest: str, question: Question, name: str) -> None:
    """On a worker: measures a batch and writes the answer. Raises InputError."""
    batches = _batches(place, digest)
    with one_thread():
        found: Any = (asdict(batches.effects_of(question.batch, question.plan, question.widths))
                      if question.widths else batches.distortion_of(question.batch, question.plan or ()))
    open_store(place).write(name, json.dumps(found).encode())


@lru_cache(maxsize=1)
def _batches(place: str, digest: str) -> BatchesHere:
    """Read once in a process, for all pieces of a run."""
    content = open_store(place).read(_recipe_name(digest))
    if content is None or hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{place}/{_recipe_name(digest)} is not there or another one on this worker; "
                         "allowed: a place that all workers share")
    return pickle.loads(content)  # noqa: S301 - its sum is from the process that this one works for


def _recipe_name(digest: str) -> str:
    return f"{PREFIX}{digest[:DIGITS]}.pickle"


def remove_parts(place: Place) -> None:
    """Removes what allocations have left in a place, and the folder if nothing else is in it."""
    store = open_store(place)
    store.remove([name for name in store.names() if name.startswith(PREFIX)])


def identity_of(network: FloatNetwork, pictures: CalibrationPictures, *settings: object) -> str:
    """Of everything that the sums depend on, the sources of Kestrel too. Raises InputError for a picture."""
    found = hashlib.sha256(f"{versions_here()} {network.shape} {settings}".encode())
    for array in (*network.weights, *network.biases, *network.shortcuts):
        if array is not None:
            found.update(f"{array.shape}".encode())
            found.update(array.tobytes())
    for number in range(len(pictures.names)):
        found.update(pictures.load(number).tobytes())
    return found.hexdigest()


Spread = Callable[[BatchesHere, str], Batches]
"""Where batches are measured, of those here and their identity."""


def spread_over(runner: Runner, place: Place) -> Spread:
    """In pieces by ``runner``, through ``place``."""
    return partial(_in_pieces, runner, place)


def _in_pieces(runner: Runner, place: Place, here: BatchesHere, identity: str) -> Batches:
    return BatchesInPieces(here, identity, runner, place)
