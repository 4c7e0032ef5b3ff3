"""The tables of the report as text, which HTML, Markdown and JSON have in common."""

from dataclasses import asdict, dataclass
from typing import Any

from kestrel.sw.retrieval.benchmark.evaluate import CODES
from kestrel.sw.retrieval.report.rows import PLAIN, TABLE2_POOLING, Comparison, Report, Row

POOLING_NAMES = {"nip": "NIP", "rnip5x": "RNIP 5x", "rnip9x": "RNIP 9x", "rnip14x": "RNIP 14x",
                 "rnip3x3": "RNIP 3x3", "rnip18m": "RNIP 18m", "rmac": "R-MAC", "sqrt": "Root"}
CODE_NAMES = {"floats": "{}-D", "bytes": "{}-byte", "bits": "{}-bit"}
WHITENING_NAMES = {PLAIN: "without whitening", "after": "whitened once, after the average",
                   "roi": "whitened by region"}


@dataclass(frozen=True)
class Table:
    """A table with its cells as they are printed; the first column is a heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def first_tables(report: Report) -> list[Table]:
    """Table 1: for each arithmetic and whitening, codes against poolings."""
    found = []
    for arithmetic in ("integer", "float"):
        for whitening in report.whitenings:
            rows = []
            for codes in CODES:
                cells = [report.row(arithmetic, report.size, p, whitening, codes) for p in report.poolings]
                if cells[0] is not None:
                    rows.append((CODE_NAMES[codes].format(cells[0].dimension), *map(_map, cells)))
            if rows:
                title = f"{arithmetic.capitalize()} network, {WHITENING_NAMES[whitening]}"
                columns = ("Descriptor", *(POOLING_NAMES[pooling] for pooling in report.poolings))
                found.append(Table(title, columns, tuple(rows)))
    return found


def second_table(report: Report) -> Table | None:
    """Table 2: the float network on the large picture, and the integer network on the small input. None if
    one of them is missing."""
    pairs = []
    for codes in ("floats", "bytes"):
        for whitening in report.whitenings:
            pair = (report.row("float", report.large, "nip", whitening, codes),
                    report.row("integer", report.size, TABLE2_POOLING, whitening, codes))
            if pair[0] is None or pair[1] is None:
                return None
            pairs.append(pair)
    large, small = pairs[0]
    rows = [
        ("Cropping", "none", f"{small.crops:.3g} crops"),
        ("Network's input", *(f"{row.width} x {row.height}" for row in (large, small))),
        ("Weights", "32-bit floating point", "masks and scalars"),
        ("Size of the weights", megabytes(report.float_bytes), megabytes(report.weight_bytes)),
    ]
    for pair in pairs:
        what = f"{CODE_NAMES[pair[0].codes].format(pair[0].dimension)}, {WHITENING_NAMES[pair[0].whitening]}"
        rows.append((f"mAP, {what}", *map(_map, pair)))
    return Table("Large picture against crops of it", ("", "Float network, NIP", "Integer network, RNIP 9x"),
                 tuple(rows))


def comparison_table(report: Report) -> Table:
    """The table of all differences with their intervals."""
    rows = tuple((c.about, describe(c.this), _other(c), f"{c.gain.difference:+.4f}",
                  f"{c.gain.low:+.4f} .. {c.gain.high:+.4f}") for c in report.comparisons)
    return Table("Differences of mAP", ("Question", "This", "Other", "Difference", "95% interval"), rows)


def comparison_groups(report: Report) -> list[Table]:
    """The same, a table for each question."""
    whole = comparison_table(report)
    titles = dict.fromkeys(row[0] for row in whole.rows)
    return [Table(title, whole.columns[1:], tuple(row[1:] for row in whole.rows if row[0] == title))
            for title in titles]


def describe(row: Row) -> str:
    """A row described in a few words."""
    whitening = "" if row.whitening == PLAIN else ", whitened"
    return (f"{row.arithmetic}, {row.width} x {row.height}, {POOLING_NAMES[row.pooling]}, "
            f"{CODE_NAMES[row.codes].format(row.dimension)}{whitening}")


def _other(comparison: Comparison) -> str:
    """The setting that differs, if it is only one; otherwise all settings."""
    this, other = comparison.this, comparison.other
    changed = [name for name in ("arithmetic", "pooling", "whitening", "codes")
               if getattr(this, name) != getattr(other, name)]
    if len(changed) != 1 or (this.height, this.width) != (other.height, other.width):
        return describe(other)
    return {"arithmetic": other.arithmetic, "pooling": POOLING_NAMES[other.pooling],
            "whitening": WHITENING_NAMES[other.whitening],
            "codes": CODE_NAMES[other.codes].format(other.dimension)}[changed[0]]


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count:,} bytes"


def _map(row: Row | None) -> str:
    return "" if row is None else f"{row.map:.4f}"


def as_payload(report: Report) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "network": report.network, "provenance": asdict(report.provenance),
        "activation_bits": report.activation_bits,
        "model_bytes": {"integer": report.weight_bytes, "float": report.float_bytes},
        "protocol": report.protocol, "split": report.split, "images": report.images,
        "queries": report.queries, "training_images": report.training_pictures,
        "quantiser": report.quantiser_source, "rotations": report.rotations,
        "rows": [asdict(row) for row in report.rows],
        "differences": [
            {"about": c.about, "this": _short(c.this), "other": _short(c.other), **asdict(c.gain)}
            for c in report.comparisons
        ],
    }  # fmt: skip


def _short(row: Row) -> dict[str, Any]:
    names = ("arithmetic", "height", "width", "pooling", "whitening", "codes", "map")
    return {name: getattr(row, name) for name in names}
