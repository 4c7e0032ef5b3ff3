"""Coverage of a run as JSON and as a page: one file that loads nothing from elsewhere."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kestrel.sw.common.files import atomic_write
from kestrel.verif.coverage.counts import MEASURES
from kestrel.verif.coverage.crosses import Crosses
from kestrel.verif.coverage.summary import Figure, Summary

JSON, HTML = "coverage.json", "coverage.html"


@dataclass(frozen=True)
class Run:
    """What was run. sources: the hash of everything that determines the results; commit: of the repository,
    "" where there is none, with ``+`` where files differ from it; date: ISO 8601, UTC; what: of which there
    were so many ``frames``, and of which ``configs`` are the names."""

    configs: tuple[str, ...]
    seeds: tuple[int, int]
    filter: str
    frames: int
    failed: int
    cycles: int
    sources: str
    commit: str
    date: str
    what: str = "frames"


def as_payload(run: Run, summary: Summary, crosses: Crosses) -> dict[str, Any]:
    """The content of the JSON file. Its first entry is the mark by which the file is known."""
    return {
        "kestrel": "coverage",
        "run": asdict(run),
        "totals": _figures(summary.totals) | {"functional": _functional(crosses)},
        "modules": [
            {"name": module.name, "source": module.source, "variants": module.variants,
             **_figures(module.figures)}
            for module in summary.modules
        ],
        "missed": [asdict(missed) for missed in summary.missed],
        "functional_never": [dict(each) for each in crosses.never],
    }  # fmt: skip


def write_report(run: Run, summary: Summary, crosses: Crosses, folder: Path) -> list[Path]:
    """Writes both files into ``folder``, which must exist, and returns their paths. Raises InputError."""
    environment = Environment(
        loader=PackageLoader("kestrel.verif.coverage"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=select_autoescape(("html.j2",)),
    )  # fmt: skip
    environment.filters["percent"] = percent
    open_ = {module.name: [m for m in summary.missed if m.module == module.name and not m.reason]
             for module in summary.modules}  # fmt: skip
    context = {
        "run": run, "summary": summary, "measures": list(MEASURES.values()), "open": open_,
        "crosses": crosses, "functional": Figure(len(crosses.hits), crosses.covered, 0),
        "waived": [missed for missed in summary.missed if missed.reason],
    }  # fmt: skip
    texts = {
        JSON: json.dumps(as_payload(run, summary, crosses), indent=2) + "\n",
        HTML: environment.get_template("coverage.html.j2").render(**context),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _functional(crosses: Crosses) -> dict[str, float]:
    figure = Figure(len(crosses.hits), crosses.covered, 0)
    return {"points": figure.points, "covered": figure.covered, "waived": 0, "share": round(figure.share, 4)}


def percent(figure: Figure) -> str:
    """A share, rounded down: 100% is all of it. A dash where there is nothing to reach."""
    return f"{int(1000 * figure.share) / 10:.1f}%" if figure.points else "–"


def _figures(figures: dict[str, Figure]) -> dict[str, dict[str, float]]:
    return {name: {**asdict(figure), "share": round(figure.share, 4)} for name, figure in figures.items()}
