"""The curves of a training run, drawn from its log."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import plot_metadata


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log of JSON lines. Raises InputError."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"log {path} cannot be read ({error}); allowed: one written by retrain") from error


def plot_curves(entries: list[dict[str, Any]], path: Path) -> None:
    """Draws the loss and its terms by step, and the results of validation, as .svg, .png or .pdf."""
    steps = [entry for entry in entries if "loss" in entry]
    measured = [entry for entry in entries if entry.get("validation")]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    terms = [
        name
        for name in (steps[0] if steps else {})
        if name not in {"step", "rate", "mask_bits", "images_per_second"}
    ]
    for name in terms:
        above.plot(
            [entry["step"] for entry in steps],
            [entry[name] for entry in steps],
            label=name,
            linewidth=1.5 if name == "loss" else 0.8,
        )
    if any("loss" in entry["validation"] for entry in measured):
        above.plot(
            [entry["step"] for entry in measured],
            [entry["validation"].get("loss", float("nan")) for entry in measured],
            marker=".",
            label="loss, validation",
        )
    if terms and all(entry[name] > 0 for entry in steps for name in terms):
        above.set_yscale("log")
    names = [n for n in (measured[0]["validation"] if measured else {}) if n not in {"measure", "loss"}]
    for name in names:
        below.plot(
            [entry["step"] for entry in measured],
            [entry["validation"][name] for entry in measured],
            marker=".",
            label=name,
        )
    above.set_ylabel("loss")
    below.set_ylabel("validation")
    below.set_xlabel("step")
    for axes, lines in ((above, terms), (below, names)):
        axes.grid(visible=True, linewidth=0.3)
        if lines:
            axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, metadata=plot_metadata("retrain", path.suffix))
