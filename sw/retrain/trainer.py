"""The training loop: one code path for float and quantised networks, CPU and GPU, one process or several."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from hw.spec import InputError
from sw.compress.calibrate import Progress, silent
from sw.retrain import distributed
from sw.retrain.checkpoint import Checkpoint, State, load_checkpoint, save_checkpoint
from sw.retrain.losses import Loss
from sw.retrain.network import Fitting, QuantisedNetwork
from sw.retrain.schedule import check_schedule, mask_bits_at, rate_factor
from sw.retrain.validation import Student, measure
from sw.training.data import Batch, TrainingData

OPTIMISERS = ("adam", "adamw", "sgd")

BIAS_FLOOR = 0.01
"""Least size at which a bias counts for its rate, in parts of the layer's typical weight times sqrt(fan-in):
biases may all be zero at the start."""


@dataclass(frozen=True)
class TrainSettings:
    """steps: of the optimiser; rate: relative, see ``parameter_groups``; range_rate: the same for activation
    ranges; schedule: of the rate, with ``warmup`` steps; momentum: of sgd; gradual: how mask bits come down;
    search_every: steps between exact searches for masks; frozen: names of layers that keep their parameters;
    validate_every: steps between validations and checkpoints; patience: validations without improvement
    before training stops, 0: never; clip_norm: greatest norm of the scaled gradient, 0: none.
    """

    steps: int
    optimiser: str = "adam"
    rate: float = 0.002
    range_rate: float = 0.002
    schedule: str = "cosine"
    warmup: int = 0
    momentum: float = 0.9
    weight_decay: float = 0.0
    gradual: str = "none"
    search_every: int = 20
    frozen: tuple[str, ...] = ()
    validate_every: int = 50
    patience: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        check_schedule(self.schedule, self.gradual)
        if self.optimiser not in OPTIMISERS:
            raise InputError(f"optimiser {self.optimiser!r}; allowed: {', '.join(OPTIMISERS)}")
        for name in ("steps", "validate_every", "search_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name.replace('_', ' ')} {getattr(self, name)}; allowed: 1 or more")
        for name in ("rate", "range_rate"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(
                    f"{name.replace('_', ' ')} {getattr(self, name):g}; allowed: above 0, below 1"
                )
        for name in ("warmup", "patience", "weight_decay", "clip_norm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name.replace('_', ' ')} {getattr(self, name):g}; allowed: 0 or more")


@dataclass
class Result:
    """What training did. before, after: figures of ``validation.measure``, after being those of the best
    student; losses: of the first and the last steps, means of up to ten; images: seen, by all processes."""

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


def parameter_groups(student: Student, loss: Loss, settings: TrainSettings) -> list[dict[str, Any]]:
    """Optimiser groups, each with a rate in parts of the parameters' own size.

    Layers' weights differ in size by orders of magnitude, and real units are what preprocessing makes them.
    Training w / rms(w) instead of w with the rate r is training w with r * rms(w) by Adam, whose steps do not
    depend on the gradient's size, and with r * rms(w)^2 by plain gradient descent.
    """
    groups: list[dict[str, Any]] = []
    power = 2 if settings.optimiser == "sgd" else 1

    def add(parameter: torch.nn.Parameter, size: float, rate: float, decay: float = 0.0) -> None:
        if parameter.requires_grad:
            groups.append({"params": [parameter], "lr": rate * size**power, "weight_decay": decay})

    if isinstance(student, QuantisedNetwork):
        layers = [(c.weight, c.bias, c) for c in student.convs()]
    else:
        layers = [(w, b, None) for w, b in zip(student.weights, student.biases, strict=True)]
    for weight, bias, conv in layers:
        size = _rms(weight)
        add(weight, size, settings.rate, settings.weight_decay)
        floor = BIAS_FLOOR * size * weight[0].numel() ** 0.5
        add(bias, max(_rms(bias), floor), settings.rate)
        if conv is not None:
            add(conv.log_range, 1.0, settings.range_rate)
            if conv.scalars is not None:
                add(conv.scalars, _rms(conv.scalars), settings.rate)
    if loss.head is not None:
        head = list(loss.head.parameters())
        groups.append({"params": head, "lr": HEAD_RATE[settings.optimiser], "weight_decay": 0.0})
    return groups


HEAD_RATE = {"adam": 1e-2, "adamw": 1e-2, "sgd": 1e-1}
"""Rate of the classifier, which starts from random numbers of size 1 / sqrt(channels)."""


def _rms(parameter: torch.Tensor) -> float:
    return float(parameter.detach().double().square().mean().sqrt()) or 1e-8


class Trainer:
    """Trains ``student`` (in place) by ``loss``.

    Parameters: student, loss, the training data, a function that yields the validation batches (None: no
    validation), settings, the device; checkpoint: file to continue from, where it exists, and to write;
    log: file of JSON lines, one a step and one a validation; about: the run's settings, which a
    checkpoint must share; mixed: the teacher in bfloat16.
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
        self._optimiser = _optimiser(groups, settings)
        self._parameters = [p for group in groups for p in group["params"]]
        self._target = (
            tuple(c.mask_bits for c in student.convs()) if isinstance(student, QuantisedNetwork) else ()
        )
        self._step = 0
        self._best: State = {}
        self._history: list[dict[str, Any]] = []
        self._losses: list[float] = []

    def run(self) -> Result:
        """Trains to the end, or until validation stops improving; the student is then the best there was.
        Raises InputError when training diverges."""
        resumed = self._resume()
        if not resumed:
            self._quantise("keep")
            self._validate()
        started, first = time.perf_counter(), self._step
        with self._log_file() as log, self.progress("retrain", self.settings.steps) as advance:
            advance(self._step)
            stopped = self._stop()
            while self._step < self.settings.steps and not stopped:
                for batch in self.data.epoch(*divmod(self._step, self.data.steps)):
                    self._train(batch.to(self.device), log)
                    advance(1)
                    if self._step % self.settings.validate_every == 0 or self._step == self.settings.steps:
                        self._quantise("search")
                        self._validate(log)
                        self._save()
                        stopped = self._stop()
                    if stopped or self._step == self.settings.steps:
                        break
        seconds = time.perf_counter() - started
        if self._best:
            self.student.load_state_dict(_part(self._best, "student."))
            if self.loss.head is not None:
                self.loss.head.load_state_dict(_part(self._best, "loss."))
            if isinstance(self.student, QuantisedNetwork):
                self.student.loaded(self._target)
        scored = [h for h in self._history if h.get("eligible")] or self._history[-1:]
        best = max(scored, key=lambda h: h.get("measure", 0.0))
        steps = self._step - first
        return Result(
            steps=self._step,
            images=steps * self.data.settings.batch_size,
            seconds=seconds,
            loss_before=_mean(self._losses[:10]),
            loss_after=_mean(self._losses[-10:]),
            before=_figures(self._history[0]),
            after=_figures(best),
            stopped_early=stopped,
            resumed_from=first,
            history=self._history,
        )

    # One step ------------------------------------------------------------------------------------------

    def _train(self, batch: Batch, log: IO[str] | None) -> None:
        started = time.perf_counter()
        settings = self.settings
        bits = mask_bits_at(settings.gradual, self._target, self._step, settings.steps)
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
        self._quantise("follow" if self._step % settings.search_every else "search")
        self._losses.append(value)
        if log is not None:
            seconds = time.perf_counter() - started
            _write(
                log,
                {
                    "step": self._step,
                    "loss": value,
                    **figures,
                    "rate": settings.rate * factor,
                    **({"mask_bits": bits} if bits else {}),
                    "images_per_second": self.data.settings.batch_size / seconds,
                },
            )

    def _shared(self, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        """Each term over the joined batch: parts of means add up, terms over pairs are alike everywhere."""
        return {
            name: float(value.detach())
            if name in {"relation", "triplet"}
            else distributed.total(float(value.detach()))
            for name, value in terms.items()
        }

    def _quantise(self, how: Fitting) -> None:
        if isinstance(self.student, QuantisedNetwork):
            self.student.quantise(how)

    def _set_mask_bits(self, bits: tuple[int, ...]) -> None:
        if isinstance(self.student, QuantisedNetwork) and bits != tuple(
            c.mask_bits for c in self.student.convs()
        ):
            self.student.set_mask_bits(bits)
            self.student.quantise("search")

    def _freeze(self) -> None:
        names = [layer.name for layer in _shapes(self.student)]
        for name in self.settings.frozen:
            if name not in names:
                raise InputError(f"frozen layer {name!r}; allowed: {', '.join(names)}")
            index = names.index(name)
            if isinstance(self.student, QuantisedNetwork):
                self.student.convs()[index].requires_grad_(requires_grad=False)
            else:
                self.student.weights[index].requires_grad = False
                self.student.biases[index].requires_grad = False

    # Validation, checkpoints, log ------------------------------------------------------------------------

    def _validate(self, log: IO[str] | None = None) -> None:
        found: dict[str, float] = {}
        if self.validation is not None:
            found = measure(self.student, self.loss, self.validation(), self.device)
        bits = (
            tuple(c.mask_bits for c in self.student.convs())
            if isinstance(self.student, QuantisedNetwork)
            else ()
        )
        # On the way of a gradual schedule a wider network may well be better; it is not what was asked for.
        eligible = bits == self._target
        entry = {"step": self._step, "eligible": eligible, **found}
        rivals = [h.get("measure", 0.0) for h in self._history if h["eligible"]]
        self._history.append(entry)
        if eligible and ("measure" not in found or not rivals or found["measure"] > max(rivals)):
            kept = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
            kept |= {f"loss.{name}": tensor for name, tensor in self._head_state().items()}
            self._best = {name: tensor.detach().clone() for name, tensor in kept.items()}
        if log is not None:
            _write(log, {"step": self._step, "validation": found})

    def _stop(self) -> bool:
        scored = [h["measure"] for h in self._history if h["eligible"] and "measure" in h]
        if not self.settings.patience or not scored:
            return False
        return len(scored) - 1 - scored.index(max(scored)) >= self.settings.patience

    def _save(self) -> None:
        if self.checkpoint is None or distributed.rank():
            return
        state = self._optimiser.state_dict()["state"]
        save_checkpoint(
            Checkpoint(
                self.student.state_dict(),
                self._head_state(),
                self._best,
                {
                    int(n): {k: torch.as_tensor(v) for k, v in s.items() if v is not None}
                    for n, s in state.items()
                },
                {"step": self._step, "history": self._history, "losses": self._losses, **self.about},
            ),
            self.checkpoint,
        )

    def _head_state(self) -> State:
        return {} if self.loss.head is None else self.loss.head.state_dict()

    def _resume(self) -> bool:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return False
        found = load_checkpoint(self.checkpoint)
        for key, value in self.about.items():
            wanted = json.loads(json.dumps(value))
            if found.about.get(key) != wanted:
                raise InputError(
                    f"checkpoint {self.checkpoint}: {_first_difference(key, found.about.get(key), wanted)}; "
                    "allowed: the same settings, or another checkpoint file"
                )
        self._step, self._history = found.about["step"], found.about["history"]
        self._losses, self._best = found.about["losses"], found.best
        self.student.load_state_dict(found.student)
        if self.loss.head is not None:
            self.loss.head.load_state_dict(found.loss)
        state = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**state, "state": found.optimiser})
        bits = mask_bits_at(self.settings.gradual, self._target, max(0, self._step - 1), self.settings.steps)
        if isinstance(self.student, QuantisedNetwork):
            self.student.loaded(bits)
        return True

    def _log_file(self) -> "nullcontext[None] | IO[str]":
        if self.log is None or distributed.rank():
            return nullcontext(None)
        kept: list[str] = []
        if self._step and self.log.is_file():  # lines beyond the checkpoint come again
            lines = self.log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self._step]
        try:
            file = self.log.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"log {self.log} cannot be written: {error.strerror}") from error
        for line in kept:
            file.write(line + "\n")
        if not kept and self._history:
            _write(file, {"step": 0, "validation": _figures(self._history[0])})
        return file


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _optimiser(groups: list[dict[str, Any]], settings: TrainSettings) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum)
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.Adam(groups)


def _shapes(student: Student) -> list[Any]:
    return (
        [c.shape for c in student.convs()]
        if isinstance(student, QuantisedNetwork)
        else list(student.shape.layers)
    )


def _write(log: IO[str], entry: dict[str, Any]) -> None:
    log.write(json.dumps(entry) + "\n")
    log.flush()


def _figures(entry: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name not in {"step", "eligible"}}


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def _first_difference(name: str, found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return _first_difference(key, found.get(key), wanted.get(key))
    return f"{name} is {found!r:.60} there and {wanted!r:.60} here"
