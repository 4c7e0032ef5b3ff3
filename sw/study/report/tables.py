"""The tables of a study's report."""

from collections.abc import Iterable, Sequence

from kestrel.sw.retrieval.benchmark.bootstrap import Difference
from kestrel.sw.retrieval.report.tables import Table, megabytes
from kestrel.sw.study.grid import NO_WHITENING, Grid
from kestrel.sw.study.report.fronts import rivals
from kestrel.sw.study.report.published import GONG_TABLE_1, PARAMETERS, POSTER_TABLE, TABLE_3
from kestrel.sw.study.rows import DenseRow, Results, Row, interval
from kestrel.sw.zoo.networks import ARCHITECTURES, find_architecture
from kestrel.sw.zoo.parameters import outline

BITS_MAX = 3.0
"""Bits a weight up to which masks are held to the front."""


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str, str, str], list[Row]]:
    """Rows by network, data, pooling and whitening."""
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.network, row.data, row.pooling, row.whitening), []).append(row)
    return found


def deepest(rows: Sequence[Row], grid: Grid) -> list[Row]:
    """The rows at the cut with the best float mAP of each network, data set and pooling without whitening:
    the one that a user of the network would take."""
    best: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.network, row.data, row.pooling)
        if row.family == "float" and row.whitening == grid.whitenings[0] and (
                key not in best or row.map > best[key].map):
            best[key] = row
    return [row for row in rows if (known := best.get((row.network, row.data, row.pooling)))
            and row.cut == known.cut]


def parameter_table() -> Table:
    """Table 2: numbers of parameters."""
    rows = []
    for name, printed in PARAMETERS.items():
        found = outline(find_architecture(name))
        rows.append((name, printed, millions(found.count("convolution")), millions(learned(name))))
    return Table("Parameters (table 2 of Chandrasekhar et al.)",
                 ("Network", "Printed", "Convolutions", "Everything that is learned"), tuple(rows))


def learned(name: str) -> int:
    """Numbers that training finds: all but the statistics of batch norm."""
    found = outline(ARCHITECTURES[name])
    return found.count() - found.count("batch norm") // 2


def codec_tables(results: Results, grid: Grid) -> list[Table]:
    """For each network its codecs at its best cut: sizes, mAP, difference to float."""
    found = []
    rows = deepest(results.rows, grid)
    for (network, data, pooling), part in _by(rows, ("network", "data", "pooling")).items():
        lines = []
        for codec, group in _by(part, ("codec",)).items():
            first = group[0]
            cells = [f"{first.file_bytes:,}", f"{first.bits_per_weight:.2f}"]
            for whitening in grid.whitenings:
                row = next((row for row in group if row.whitening == whitening), None)
                drop = None if row is None else results.drop(row)
                cells += ["" if row is None else f"{row.map:.4f}",
                          "" if row is None or row.family == "float" else around(drop)]
            lines.append((first.file_bytes, (codec[0], *cells)))
        lines.sort(key=lambda line: -line[0])
        trained = "" if part[0].trained else ", seeded weights"
        columns = ["Codec", "File, bytes", "Bits a weight"]
        for whitening in grid.whitenings:
            name = "mAP" if whitening == NO_WHITENING else "mAP whitened"
            columns += [name, "to float"]
        found.append(Table(f"{network} at {part[0].cut}{trained}, {data}, {pooling}", tuple(columns),
                           tuple(line for _, line in lines)))
    return found


def cut_table(results: Results, grid: Grid) -> Table:
    """The float networks at every cut."""
    lines = []
    for (network, cut, data, pooling), group in _by(
            [row for row in results.rows if row.family == "float"],
            ("network", "cut", "data", "pooling")).items():
        cells = []
        for whitening in grid.whitenings:
            row = next((row for row in group if row.whitening == whitening), None)
            mean = None if row is None else interval(row.precisions)
            cells.append("" if mean is None else f"{mean.difference:.4f} ({mean.low:.4f} .. {mean.high:.4f})")
        lines.append((network, cut, data, pooling, f"{group[0].weights:,}", megabytes(group[0].file_bytes),
                      *cells))
    heads = ("mAP" if w == NO_WHITENING else "mAP whitened" for w in grid.whitenings)
    columns = ("Network", "Cut", "Data", "Pooling", "Weights", "File", *heads)
    return Table("Float networks", columns, tuple(lines))


def coding_table(results: Results, grid: Grid) -> Table:
    """Figure 3(c) as numbers: fixed against variable length at the best cut."""
    rows = [row for row in deepest(results.rows, grid) if row.whitening == grid.whitenings[0]]
    fixed = {(row.network, row.data, row.pooling, row.task): row for row in rows
             if row.options.get("coding") == "fixed"}
    lines = []
    for row in rows:
        plain = fixed.get((row.network, row.data, row.pooling, row.task))
        if row.options.get("coding") == "huffman" and plain is not None:
            bound = f"{1 - row.entropy_bytes / plain.weight_bytes:.1%}" if row.entropy_bytes else ""
            lines.append((row.network, plain.codec, f"{plain.file_bytes:,}", f"{row.file_bytes:,}",
                          f"{1 - row.file_bytes / plain.file_bytes:.1%}", bound))
    return Table("Fixed against variable length (figure 3c of Chandrasekhar et al.; published: 15 to 20%)",
                 ("Network", "Codec", "Fixed, bytes", "Huffman, bytes", "Saved",
                  "Bound by entropy (weights)"), tuple(lines))


def norm_table(results: Results, grid: Grid) -> Table:
    """Table 3: batch norm in few bits."""
    lines = [("ResNet-50 (published)", name, "", f"{value:.4f}", "") for name, value in TABLE_3.items()]
    for row in deepest(results.rows, grid):
        norm = row.options.get("batch_norm")
        if row.whitening != grid.whitenings[0] or row.family != "scalar" or row.options["coding"] != "fixed":
            continue
        same = [other for other in results.rows if other.place == row.place and other.family == "scalar"
                and other.options["batch_norm"] != 32 and other.options["bits"] == row.options["bits"]]
        if not same or find_norms(row.network, row.cut) == 0:
            continue
        coding = f"{row.options['bits']}-bit {row.options['method']}, {norm}-bit batch norm"
        lines.append((row.network, coding, f"{row.file_bytes:,}", f"{row.map:.4f}",
                      around(results.drop(row))))
    return Table("Batch norm in few bits (table 3 of Chandrasekhar et al.)",
                 ("Network", "Coding", "File, bytes", "mAP", "to float"), tuple(lines))


def find_norms(network: str, cut: str) -> int:
    """Numbers in batch norms up to a cut."""
    return outline(find_architecture(network)).count("batch norm", cut=cut)


def prune_table(results: Results, grid: Grid) -> Table:
    """The poster's table."""
    lines = [(f"{name} (published)", f"{threshold:g}", str(bits), f"{pruned:.1f}%",
              f"-{oxford:g}% / -{paris:g}%", f"{memory:g} MB")
             for name, threshold, bits, pruned, oxford, paris, memory in POSTER_TABLE]
    whitening = grid.whitenings[-1]
    for row in deepest(results.rows, grid):
        if row.family == "pruned" and row.whitening == whitening and row.options["coding"] == "fixed":
            drop = results.drop(row)
            lines.append((f"{row.network} at {row.cut}", f"{row.options['threshold']:g} s.d.",
                          str(row.options["bits"]), f"{row.zeros / row.weights:.1%}",
                          "" if drop is None else f"{100 * drop.difference:+.2f}%",
                          f"{row.file_bytes:,} bytes"))
    return Table("Pruning by threshold (the poster's table: drop on Oxford / Paris; here on our data, "
                 f"{'whitened' if whitening != NO_WHITENING else 'not whitened'})",
                 ("Network", "Threshold", "Bits", "Pruned", "Change of mAP", "Memory"), tuple(lines))


def front_tables(results: Results) -> list[Table]:
    """Whether masks lie on the Pareto front, up to BITS_MAX bits a weight."""
    lines = []
    for (network, data, pooling, whitening), rows in grouped(results.rows).items():
        by_cut = {id(found.row): found for part in _by(rows, ("cut",)).values()
                  for found in rivals(part, "masks")}
        for found in rivals(rows, "masks"):
            row, other, gain = found.row, found.rival, found.gain
            here = by_cut[id(row)]
            if row.bits_per_weight > BITS_MAX:
                continue
            lines.append((
                network, data, pooling, whitening, row.cut, row.codec, f"{row.file_bytes:,}",
                f"{row.bits_per_weight:.2f}", f"{row.map:.4f}", found.verdict,
                "" if other is None else
                f"{other.codec} at {other.cut}, {other.file_bytes:,}, {other.map:.4f}", around(gain),
                here.verdict, "" if here.rival is None else f"{here.rival.codec}, {here.rival.map:.4f}",
                around(here.gain)))
    title = f"Masks up to {BITS_MAX:g} bits a weight beside the best other codec of at most as many bytes"
    return [Table(title,
                  ("Network", "Data", "Pooling", "Whitening", "Cut", "Codec", "File, bytes", "Bits a weight",
                   "mAP", "Front of all cuts", "Best other", "Difference", "Front of this cut",
                   "Best other there", "Difference there"), tuple(lines))] if lines else []


def dense_tables(results: Results) -> list[Table]:
    """Gong's figures as numbers, and table 1."""
    found = []
    for (network,), part in _dense_by_network(results.dense).items():
        lines = tuple((row.method, row.codec, f"{row.rate:.2f}", f"{row.formula:.2f}",
                       f"{row.stream_bytes:,}", f"{row.at_1:.1%}", f"{row.at_5:.1%}", f"{100 * row.map:.2f}")
                      for row in part)
        title = f"Dense layer of {network} ({len(part[0].ranks)} photographs; figures 1 to 3 of Gong et al.)"
        found.append(Table(title, ("Method", "Codec", "Rate", "By the formula", "Bytes", "Accuracy@1",
                                   "Accuracy@5", "mAP of the output"), lines))
    if found:
        lines = tuple((name, f"{rate:g}", f"{value:.2f}") for name, rate, value in GONG_TABLE_1)
        found.append(Table("Published: table 1 of Gong et al., Holidays",
                           ("Method", "Rate as printed", "mAP"), lines))
    return found


def _dense_by_network(rows: Sequence[DenseRow]) -> dict[tuple[str], list[DenseRow]]:
    found: dict[tuple[str], list[DenseRow]] = {}
    for row in rows:
        found.setdefault((row.network,), []).append(row)
    return found


def _by(rows: Iterable[Row], names: tuple[str, ...]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    return found


def around(difference: Difference | None) -> str:
    """A difference with its interval."""
    if difference is None:
        return ""
    return f"{difference.difference:+.4f} ({difference.low:+.4f} .. {difference.high:+.4f})"


def millions(count: int) -> str:
    """With three digits behind the point."""
    return f"{count / 1e6:.3f}M"
