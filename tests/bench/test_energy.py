"""The bench of a frame's energy: its rows are those of the documentation, and what must hold between them."""

from pathlib import Path

import pytest

from kestrel.hw.spec.configurations import NAMED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(load_script):
    script = load_script("energy")
    embedded = script.networks()[1]
    return [row for name in ("nano", "edge") for row in script.measure(embedded, NAMED[name], 400.0)]


def by_what(rows, engine):
    return {row.what: row for row in rows if row.engine == engine}


def test_the_rows_of_the_documentation(rows):
    shown = 0
    for row in rows:
        line = next((line for line in PAGE.splitlines() if line.startswith(f"| `{row.engine}`, {row.what} | ")
                     and f" | {row.cycles / 1000:,.1f} | " in line), None)  # fmt: skip
        if line is None:
            continue
        cells = [cell.strip() for cell in line.split("|")]
        assert float(cells[3]) == pytest.approx(1000 * row.total, rel=0.01)  # uJ, three digits
        assert float(cells[10]) == pytest.approx(1000 * row.rom, rel=0.01)
        assert cells[11] == f"{100 * row.rom / row.total:.1f}%"
        shown += 1
    assert shown == 13


def test_depth_first_reads_more_weights_from_less_memory(rows):
    for engine in ("nano", "edge"):
        found = by_what(rows, engine)
        deep, whole = found["depth first, least memory"], found["layer by layer"]
        assert deep.feature_kb < whole.feature_kb
        assert deep.rom > whole.rom
        assert deep.features < whole.features


def test_a_batch_reads_less_of_the_rom_by_picture(rows):
    found = by_what(rows, "nano")
    shares = [found[f"layer by layer, {images} at once"].rom for images in (1, 2, 4, 8)]
    assert shares == sorted(shares, reverse=True)


def test_parts_are_less_than_the_whole(rows):
    for row in rows:
        assert row.low < row.total
        assert sum((row.kernels, row.logic, row.clock, row.features, row.partial_sums, row.rom)) < row.total
