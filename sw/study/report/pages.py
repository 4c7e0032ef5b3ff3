"""Writes a study's report: HTML (one file that loads nothing from elsewhere), Markdown, and the figures."""

import base64
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kestrel.sw.common.files import atomic_write
from kestrel.sw.study.grid import Grid
from kestrel.sw.study.report import tables
from kestrel.sw.study.report.figures import figures
from kestrel.sw.study.rows import Results, as_csv, as_json
from kestrel.sw.study.run import REPORT, TABLES

HTML, MARKDOWN = "study.html", "study.md"

COUNTED = ("Sizes are lengths of files that were decoded again: codebooks, headers, biases and batch norm "
           "are in them. Bits a weight are those of the streams of all convolutions (and dense layers) up to "
           "the cut, 3x3, 1x1 and the first alike, over their weights; biases and batch norm are not counted "
           "there.")


def write_report(results: Results, grid: Grid, output: Path) -> list[Path]:
    """Writes tables and report into the folder of a study; gives the paths. Raises InputError."""
    drawn = figures(results, grid)
    files = {title: f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.svg" for title in drawn}
    context = {"title": grid.title, "tables": _tables(results, grid), "remarks": remarks(results, grid),
               "figures": files,
               "drawings": {title: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
                            for title, svg in drawn.items()}}
    environment = Environment(loader=PackageLoader("kestrel.sw.study.report"), undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                              autoescape=select_autoescape(("html.j2",)))
    texts = {
        output / TABLES[0]: as_csv(results), output / TABLES[1]: as_json(results),
        output / REPORT / HTML: environment.get_template("study.html.j2").render(**context),
        output / REPORT / MARKDOWN: environment.get_template("study.md.j2").render(**context),
        **{output / REPORT / files[title]: svg for title, svg in drawn.items()},
    }  # fmt: skip
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(texts)


def remarks(results: Results, grid: Grid) -> list[str]:
    """What stands above the tables."""
    found = [f"{len(results.rows):,} rows, {len(results.dense)} of dense layers.", COUNTED]
    seeded = [entry.name for entry in grid.networks if not entry.is_trained]
    if seeded:
        found.append(f"Seeded weights, of which only sizes say anything: {', '.join(seeded)}.")
    return found


def _tables(results: Results, grid: Grid) -> list[tables.Table]:
    found = [tables.parameter_table(), tables.cut_table(results, grid), *tables.front_tables(results),
             *tables.codec_tables(results, grid), tables.coding_table(results, grid),
             tables.norm_table(results, grid), tables.prune_table(results, grid),
             *tables.dense_tables(results)]
    return [table for table in found if table.rows]
