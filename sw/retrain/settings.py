"""The settings of training."""

from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrain.course import check_schedule

OPTIMISERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class TrainSettings:
    """The settings of the training loop. Raises InputError for values out of range.

    ``steps`` counts those of the optimiser. ``rate`` is relative, see ``parameter_groups``; ``range_rate`` is
    the same for activation ranges. ``schedule`` is that of the rate, with ``warmup`` steps. ``momentum`` is
    that of sgd. ``gradual`` says how mask bits are lowered. ``frozen`` names the layers that keep their
    parameters. ``validate_every`` is the number of steps between validations and checkpoints. ``patience`` is
    the number of validations without improvement after which training stops, 0 for never. ``clip_norm`` is
    the largest norm of the scaled gradient, 0 for no limit.
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
    frozen: tuple[str, ...] = ()
    validate_every: int = 50
    patience: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        check_schedule(self.schedule, self.gradual)
        if self.optimiser not in OPTIMISERS:
            raise InputError(f"optimiser {self.optimiser!r}; allowed: {', '.join(OPTIMISERS)}")
        for name in ("steps", "validate_every"):
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
