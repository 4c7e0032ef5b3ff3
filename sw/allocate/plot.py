"""A plot of size against distortion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from kestrel.sw.allocate.allocate import Allocation, MeasuredPlan
from kestrel.sw.allocate.search import plan_text
from kestrel.sw.common.kinds import plot_metadata

PLOT_SUFFIXES = (".svg", ".png")

SETTINGS: Any = {"font.size": 9, "svg.hashsalt": "kestrel", "svg.fonttype": "none"}


def plot_allocation(allocation: Allocation, compared: Sequence[MeasuredPlan], weights: int, name: str,
                    path: Path) -> None:
    """Draws the best plans by the sum of sensitivities as a line, and as points the found plan and those with
    which it is compared, in integers on the calibration pictures. The same allocation gives the same
    bytes."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        front = [point for point in allocation.front if point.distortion > 0]
        axes.step([point.bits / weights for point in front], [point.distortion for point in front],
                  where="post", color="0.6", label="best plans, sum of sensitivities")
        for plan in compared:
            axes.plot(plan.bits / weights, plan.distortion.mean, "s",
                      label=f"{plan_text(plan.plan)}, measured")
        found = allocation.found
        axes.plot(found.bits / weights, found.distortion.mean, "o", color="tab:red", markersize=8,
                  label=f"{plan_text(found.plan)}, found and measured")
        axes.set_yscale("log")
        axes.set_xlabel("stored bits a weight, scalars included")
        axes.set_ylabel("1 - cosine of the pooled descriptor")
        axes.set_title(name)
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.legend(fontsize=8)
        figure.savefig(path, metadata=plot_metadata("allocate", path.suffix))
