"""The training loop: one code path for float and quantised networks, CPU and GPU, one process or several."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.retrain import distributed
from kestrel.sw.retrain.checkpoint import Checkpoint, State, check_same_run, load_checkpoint, save_checkpoint
from kestrel.sw.retrain.course import mask_bits_at, rate_factor
from kestrel.sw.retrain.history import History
from kestrel.sw.retrain.log import open_log, write_entry
from kestrel.sw.retrain.losses import Loss
from kestrel.sw.retrain.networks.quantised_conv import Fitting
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.optimiser import make_optimiser, parameter_groups
from kestrel.sw.retrain.samples.batches import Batch, TrainingData
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.validation import Student, measure


@dataclass
class Result:
    """The result of training. ``before`` and ``after`` are figures of ``validation.measure``, ``after`` those
    of the best student. ``loss_before`` and ``loss_after`` are the loss of the same students on the same
    pictures; without validation they are means over the first and the last steps, up to ten each, with no
    step in both. ``images`` counts the pictures seen by all processes."""

    steps: int
    images: int
    seconds: float
    loss_before: float
    loss_after: float
    before: dict[str, float]
    after: dict[str, float]
    stopped_early: bool
    resumed_from: int
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains ``student`` (in place) with ``loss``.

    Parameters: the student, the loss, the training data, a function that yields the validation batches (None
    for no validation), the settings and the device. ``checkpoint`` is the file to write, and to continue from
    if it exists. ``log`` is a file of JSON lines, one for each step and one for each validation. ``about``
    holds the run's settings, which a checkpoint must share. ``mixed`` runs the teacher in bfloat16.
    """

    def __init__(
        self,
        student: Student,
        loss: Loss,
        data: TrainingData,
        validation: Callable[[], Iterator[Batch]] | None,
        settings: TrainSettings,
        device: torch.device,
        *,
        checkpoint: Path | None = None,
        log: Path | None = None,
        about: dict[str, Any] | None = None,
        mixed: bool = False,
        progress: Progress = silent,
    ) -> None:
        self.student, self.loss = student.to(device), loss.to(device)
        self.data, self.validation, self.settings, self.device = data, validation, settings, device
        self.checkpoint, self.log, self.mixed, self.progress = checkpoint, log, mixed, progress
        self.about = {"settings": asdict(settings), **(about or {})}
        self._freeze()
        if loss.teacher is not None:
            loss.teacher.requires_grad_(requires_grad=False)
        groups = parameter_groups(student, loss, settings)
        if not groups:
            raise InputError(
                f"frozen {', '.join(settings.frozen)}: nothing is left to train; allowed: to leave a layer"
            )
        self._rates = [group["lr"] for group in groups]
        self._optimiser = make_optimiser(groups, settings)
        self._parameters = [p for group in groups for p in group["params"]]
        self._target = self._mask_bits()
        self._step = 0
        self._history = History()
        self._losses: list[float] = []

    def run(self) -> Result:
        """Trains to the end, or until validation stops improving. The student is then the best one found.
        Raises InputError when training diverges."""
        resumed = self._resume()
        if not resumed:
            self._quantise("keep")
            self._validate()
        started, first = time.perf_counter(), self._step
        with self._open_log() as log, self.progress("retrain", self.settings.steps) as advance:
            advance(self._step)
            stopped = self._stop()
            while self._step < self.settings.steps and not stopped:
                for batch in self.data.epoch(*divmod(self._step, self.data.steps)):
                    self._train(batch.to(self.device), log)
                    advance(1)
                    if self._step % self.settings.validate_every == 0 or self._step == self.settings.steps:
                        self._validate(log)
                        self._save()
                        stopped = self._stop()
                    if stopped or self._step == self.settings.steps:
                        break
        seconds = time.perf_counter() - started
        best = self._history.best
        if best:
            self.student.load_state_dict(_part(best, "student."))
            if self.loss.head is not None:
                self.loss.head.load_state_dict(_part(best, "loss."))
            if isinstance(self.student, QuantisedNetwork):
                self.student.loaded(self._target)
        steps = self._step - first
        before, after = self._history.first(), self._history.best_figures()
        part = self._losses[: max(1, min(10, len(self._losses) // 2))]
        last = self._losses[-len(part) :]
        return Result(
            steps=self._step,
            images=steps * self.data.settings.batch_size,
            seconds=seconds,
            loss_before=before.pop("loss", _mean(part)),
            loss_after=after.pop("loss", _mean(last)),
            before=before,
            after=after,
            stopped_early=stopped,
            resumed_from=first,
            history=self._history.entries,
        )

    # One step ------------------------------------------------------------------------------------------

    def _train(self, batch: Batch, log: IO[str] | None) -> None:
        started = time.perf_counter()
        settings = self.settings
        bits = self._mask_bits_at(self._step)
        self._set_mask_bits(bits)
        taught = self.loss.teach(batch.pictures, mixed=self.mixed)
        outputs = self.student(batch.pictures, self.loss.wanted)
        terms = self.loss(outputs, batch, taught)
        total = self.loss.total(terms)
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()
        distributed.add_gradients(self._parameters)
        figures = self._shared(terms)
        value = sum(self.loss.settings.weights[name] * figure for name, figure in figures.items())
        if not value < float("inf"):
            raise InputError(
                f"training diverged in step {self._step + 1}: the loss is {value}; allowed: a lower --rate"
            )
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        factor = rate_factor(settings.schedule, self._step, settings.steps, settings.warmup)
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._optimiser.step()
        self._step += 1
        self._quantise("fit")
        self._losses.append(value)
        entry = {
            "step": self._step,
            "loss": value,
            **figures,
            "rate": settings.rate * factor,
            **({"mask_bits": bits} if bits else {}),
            "images_per_second": self.data.settings.batch_size / (time.perf_counter() - started),
        }
        write_entry(log, entry)

    def _shared(self, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        """Each term over the joined batch: parts of means are added, and terms over pairs are the same in all
        processes."""
        return {
            name: float(value.detach())
            if name in {"relation", "triplet"}
            else distributed.total(float(value.detach()))
            for name, value in terms.items()
        }

    def _quantise(self, how: Fitting) -> None:
        if isinstance(self.student, QuantisedNetwork):
            self.student.quantise(how)

    def _mask_bits(self) -> tuple[int, ...]:
        """The mask bits of each layer; empty for a float network."""
        student = self.student
        return tuple(c.mask_bits for c in student.convs()) if isinstance(student, QuantisedNetwork) else ()

    def _mask_bits_at(self, step: int) -> tuple[int, ...]:
        """The mask bits of each layer in a step; empty for a float network."""
        if not isinstance(self.student, QuantisedNetwork):
            return ()
        most = [conv.most_mask_bits for conv in self.student.convs()]
        return mask_bits_at(self.settings.gradual, self._target, step, self.settings.steps, most)

    def _set_mask_bits(self, bits: tuple[int, ...]) -> None:
        if isinstance(self.student, QuantisedNetwork) and bits != self._mask_bits():
            self.student.set_mask_bits(bits)
            self.student.quantise("fit")

    def _freeze(self) -> None:
        convs = self.student.convs()
        names = [conv.shape.name for conv in convs]
        for name in self.settings.frozen:
            if name not in names:
                raise InputError(f"frozen layer {name!r}; allowed: {', '.join(names)}")
            convs[names.index(name)].requires_grad_(requires_grad=False)

    # Validation, checkpoints, log ------------------------------------------------------------------------

    def _validate(self, log: IO[str] | None = None) -> None:
        found: dict[str, float] = {}
        if self.validation is not None:
            found = measure(self.student, self.loss, self.validation(), self.device)
        self._history.add(self._step, found, eligible=self._mask_bits() == self._target, state=self._state)
        write_entry(log, {"step": self._step, "validation": found})

    def _stop(self) -> bool:
        patience = self.settings.patience
        return bool(patience) and self._history.without_gain() >= patience

    def _save(self) -> None:
        if self.checkpoint is None or distributed.rank():
            return
        state = self._optimiser.state_dict()["state"]
        save_checkpoint(
            Checkpoint(
                self.student.state_dict(),
                self._head_state(),
                self._history.best,
                {
                    int(n): {k: torch.as_tensor(v) for k, v in s.items() if v is not None}
                    for n, s in state.items()
                },
                {"step": self._step, "history": self._history.entries, "losses": self._losses, **self.about},
            ),
            self.checkpoint,
        )

    def _head_state(self) -> State:
        return {} if self.loss.head is None else self.loss.head.state_dict()

    def _state(self) -> State:
        state = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
        return state | {f"loss.{name}": tensor for name, tensor in self._head_state().items()}

    def _resume(self) -> bool:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return False
        found = load_checkpoint(self.checkpoint)
        check_same_run(found, self.about, self.checkpoint)
        self._step, self._losses = found.about["step"], found.about["losses"]
        self._history = History(found.about["history"], found.best)
        self.student.load_state_dict(found.student)
        if self.loss.head is not None:
            self.loss.head.load_state_dict(found.loss)
        state = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**state, "state": found.optimiser})
        if isinstance(self.student, QuantisedNetwork):
            self.student.loaded(self._mask_bits_at(max(0, self._step - 1)))
        return True

    def _open_log(self) -> "nullcontext[None] | IO[str]":
        return open_log(None if distributed.rank() else self.log, self._step, self._history.first())


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
