"""Writes a report: HTML (one file that loads nothing from elsewhere), Markdown, JSON and two plots."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kestrel.sw.common.files import atomic_write
from kestrel.sw.retrieval.report.plots import difference_words, map_words, plot_differences, plot_map
from kestrel.sw.retrieval.report.rows import Report
from kestrel.sw.retrieval.report.tables import (
    as_payload,
    comparison_groups,
    comparison_table,
    first_tables,
    megabytes,
    second_table,
)

HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
MAP_PLOT, DIFFERENCE_PLOT = "map.svg", "differences.svg"
PAGES = (HTML, MARKDOWN, JSON, MAP_PLOT, DIFFERENCE_PLOT)
"""Files of a report; the last where there is something to compare."""

@dataclass(frozen=True)
class Plot:
    """A plot as a file and on the page. wide, narrow: SVGs, for a screen and for a phone; words: what it
    shows, for those who do not see it."""

    file: str
    wide: str
    narrow: str
    words: str

    @property
    def wide_address(self) -> str:
        """For the page. An image of its own, as identifiers inside two drawings on one page would clash."""
        return _address(self.wide)

    @property
    def narrow_address(self) -> str:
        """Likewise."""
        return _address(self.narrow)


def _address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def write_report(report: Report, output: Path) -> list[Path]:
    """Writes all files into ``output``, which must exist, and returns their paths. Raises InputError."""
    plots = [Plot(MAP_PLOT, plot_map(report), plot_map(report, narrow=True), map_words(report))]
    if report.comparisons:
        plots.append(Plot(DIFFERENCE_PLOT, plot_differences(report), plot_differences(report, narrow=True),
                          difference_words(report)))
    environment = Environment(loader=PackageLoader("kestrel.sw.retrieval.report"), undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                              autoescape=select_autoescape(("html.j2",)))
    context = {
        "report": report, "first": first_tables(report), "second": second_table(report),
        "comparisons": comparison_table(report), "groups": comparison_groups(report), "plots": plots,
        "float_size": megabytes(report.float_bytes),
        "size": megabytes(report.weight_bytes), "ratio": f"{report.float_bytes / report.weight_bytes:.1f}",
    }  # fmt: skip
    files = {
        HTML: environment.get_template("report.html.j2").render(**context),
        MARKDOWN: environment.get_template("report.md.j2").render(**context),
        JSON: json.dumps(as_payload(report), indent=2, allow_nan=False) + "\n",
        **{plot.file: plot.wide for plot in plots},
    }  # fmt: skip
    for name, text in files.items():
        with atomic_write(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [output / name for name in files]
