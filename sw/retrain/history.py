"""Validations of a training run: which student was best, and when to stop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kestrel.sw.retrain.checkpoint import State


@dataclass
class History:
    """entries: figures of ``validation.measure`` with the step, and whether the student was eligible: on the
    way of a gradual schedule a wider network may well be better, but it is not what was asked for. best: the
    state of the best eligible student."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    best: State = field(default_factory=dict)

    def add(self, step: int, found: dict[str, float], *, eligible: bool, state: Callable[[], State]) -> None:
        """A validation. ``state`` gives the student's, which is copied if it is the best so far; without a
        measure the last is."""
        rivals = [h.get("measure", 0.0) for h in self.entries if h["eligible"]]
        self.entries.append({"step": step, "eligible": eligible, **found})
        if eligible and ("measure" not in found or not rivals or found["measure"] > max(rivals)):
            self.best = {name: tensor.detach().clone() for name, tensor in state().items()}

    def without_gain(self) -> int:
        """Validations since the best one."""
        scored = [h["measure"] for h in self.entries if h["eligible"] and "measure" in h]
        return len(scored) - 1 - scored.index(max(scored)) if scored else 0

    def first(self) -> dict[str, float]:
        """Figures before training."""
        return _figures(self.entries[0])

    def best_figures(self) -> dict[str, float]:
        """Figures of the best student."""
        scored = [h for h in self.entries if h.get("eligible")] or self.entries[-1:]
        return _figures(max(scored, key=lambda h: h.get("measure", 0.0)))


def _figures(entry: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name not in {"step", "eligible"}}
