"""The validations of a training run: which student was best, and when to stop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kestrel.sw.retrain.checkpoint import State


@dataclass
class History:
    """``entries`` holds the figures of ``validation.measure``, each with the step and whether the student was
    eligible. Under a gradual schedule, a network whose masks are still wider may well be better, but it is
    not what was asked for. ``best`` is the state of the best eligible student."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    best: State = field(default_factory=dict)

    def add(self, step: int, found: dict[str, float], *, eligible: bool, state: Callable[[], State]) -> None:
        """Adds a validation. ``state`` returns the student's state, which is copied if the student is the
        best so far; without a measure, the latest student counts as the best."""
        rivals = [h.get("measure", 0.0) for h in self.entries if h["eligible"]]
        self.entries.append({"step": step, "eligible": eligible, **found})
        if eligible and ("measure" not in found or not rivals or found["measure"] > max(rivals)):
            self.best = {name: tensor.detach().clone() for name, tensor in state().items()}

    def without_gain(self) -> int:
        """The number of validations since the best one."""
        scored = [h["measure"] for h in self.entries if h["eligible"] and "measure" in h]
        return len(scored) - 1 - scored.index(max(scored)) if scored else 0

    def first(self) -> dict[str, float]:
        """The figures before training."""
        return _figures(self.entries[0])

    def best_figures(self) -> dict[str, float]:
        """The figures of the best student."""
        scored = [h for h in self.entries if h.get("eligible")] or self.entries[-1:]
        return _figures(max(scored, key=lambda h: h.get("measure", 0.0)))


def _figures(entry: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name not in {"step", "eligible"}}
